#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Annotations choose how a Service's backends are chosen. Maglev: by the client's address a client
# stays with its backend, by the whole flow every node chooses the same. least-connection: the one
# with fewer connections, of packets and of sockets, and what nobody tells of is counted off by the
# sweep. All of it changes while connections are open.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB4=203.0.113.80 LB6=2001:db8:1b::80
CLIENTS=16

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'

# by_packet, by_socket: whether what pods run from here on is in the cgroup of the agent.
by_packet() { CLUSTER_GROUPED=; }
by_socket() { CLUSTER_GROUPED=1; }

# algorithm <service> <annotations, as YAML within braces>: of `web` or `echo`.
algorithm() {
  if [[ $1 == web ]]; then
    service web LoadBalancer TCP 80 30080 $WEB4 $WEB6
    printf 'status:\n  loadBalancer: {ingress: [{ip: %s}, {ip: "%s"}]}\n' $LB4 $LB6
  else
    service echo NodePort UDP 53 30053 $ECHO4 $ECHO6
  fi | sed "s|^metadata: {|&annotations: {$2}, |" | manifest "$1.yaml"
}

# answers <from> <address> <port> <count> [flags]: the backends that answered, or what failed.
answers() {
  traffic "$1" spread "$(cluster_host_port "$2" "$3")" --count "$4" "${@:5}" |
    json '" ".join(d["backends"]) if not d["failed"] else d["errors"]'
}

# SYNs sent again, as node-a has counted them: such a connection is given another backend.
sent_again() {
  cluster_ctl node-a -o json service show default/web | json 'd[0]["stats"]["failed"]'
}

# stays <what> <as answers()...>: one backend only, in STAYS; a machine that was so slow that a SYN
# had to be sent again is asked a second time.
stays() {
  local what=$1 before
  shift
  before=$(sent_again)
  STAYS=$(answers "$@")
  if [[ $STAYS == *' '* && $(sent_again) != "$before" ]]; then
    STAYS=$(answers "$@")
  fi
  expect_match "$what" "$STAYS" '^[ab][12]$'
}

by_packet
nodes | manifest nodes.yaml
algorithm web 'sluice.io/algorithm: maglev, sluice.io/hash: source'
algorithm echo 'sluice.io/algorithm: least-connection'
echo_on
web_on b2
# Two agents of different pasts: ids and slots are not the same.
cluster_agent node-b "$MANIFESTS"
web_on b1 a2
in_force_on node-b
web_on a1 a2 b1 b2
in_force_on node-b
cluster_agent node-a "$MANIFESTS" --max-backends 1024
for client in $(seq $CLIENTS); do
  cluster_address client eth0 "192.0.2.$((client + 100))/24" "2001:db8:c::1:$client/64"
done

for family in 4 6; do
  declare -n web=WEB$family balancer=LB$family at=CLUSTER_V$family
  step "maglev by source, IPv$family"
  stays 'a pod' a1 "$web" 80 60
  bound=$STAYS
  stays 'by node port' a1 "${at[node-a]}" 30080 40
  expect_equal 'the same' "$STAYS" "$bound"
  by_socket
  stays 'in the cgroup' a1 "$web" 80 40
  expect_equal 'the same' "$STAYS" "$bound"
  by_packet
  used=()
  for client in $(seq $CLIENTS); do
    source=192.0.2.$((client + 100))
    [[ $family == 4 ]] || source=2001:db8:c::1:$client
    stays "$source" client "${at[node-a]}" 30080 3 --source "$source"
    used+=("$STAYS")
  done
  for node in node-a node-b; do
    stays "$source" client "${at[$node]}" 30080 60 --source "$source"
    expect_equal "the same at $node" "$STAYS" "${used[-1]}"
  done
  expect_equal 'clients are spread over all' \
    "$(printf '%s\n' "${used[@]}" | sort -u | tr '\n' ' ')" 'a1 a2 b1 b2 '
done

step 'maglev by the whole flow: two nodes agree on each of 100'
algorithm web 'sluice.io/algorithm: maglev, sluice.io/hash: 5-tuple'
in_force
in_force_on node-b
# chosen_at <node> <source> <destination>: the backends of 50 source ports.
chosen_at() {
  local port
  for port in $(seq 40001 40050); do
    cluster_ctl "$1" -o json trace --hook net --src "$(cluster_host_port "$2" "$port")" \
      --dst "$(cluster_host_port "$3" 80)" --protocol tcp |
      tr -d ' \n' | sed 's/.*"backend":"\([^"]*\)".*/\1\n/'
  done
}
for family in 4 6; do
  declare -n balancer=LB$family at=CLUSTER_V$family
  for node in node-a node-b; do
    chosen_at "$node" "${at[client]}" "$balancer" >"$CLUSTER_DIR/chosen-$node"
  done
  expect_equal 'all are there' "$(grep -c ':8080$' "$CLUSTER_DIR/chosen-node-a")" 50
  expect_equal 'all four are chosen' "$(sort -u "$CLUSTER_DIR/chosen-node-a" | wc -l)" 4
  cmp "$CLUSTER_DIR/chosen-node-a" "$CLUSTER_DIR/chosen-node-b" || fail 'the nodes do not agree'
done
cluster_kill sluiced-node-b

# loads: the live connections that the programs have counted, by packet and of sockets.
loads() {
  bpftool -j map dump pinned "$CLUSTER_BPFFS-node-a/v1/sl_loads" | python3 -c '
import json, sys
rows = [row["formatted"]["value"] for row in json.load(sys.stdin)]
print(sum(abs(row["flows"]) for row in rows), sum(abs(row["sockets"]) for row in rows))'
}
loads_are() {
  [[ $(loads) == "$1" ]]
}
# even <what> <counts as JSON> <total>: a1 and b1 have as many, to a difference of two.
even() {
  expect_equal "$1: $2" "$(json "(sum(d.values()),
    abs(d.get('a1', 0) - d.get('b1', 0)) <= 2)" <<<"$2")" "($3, True)"
}
step 'least-connection: 40 connections each, by packet and of sockets'
algorithm web 'sluice.io/algorithm: least-connection'
web_on a1 b1
in_force
expect_equal 'none yet' "$(loads)" '0 0'
# From two pods: the kernel may give a connection by packet and one of a socket the same port.
for pair in 'by_packet a2' 'by_socket a1'; do
  read -r how from <<<"$pair"
  $how
  crowd "$how" "$from" 40 "$WEB4:80" "[$WEB6]:80"
  even "$how" "$(ask "$how")" 40
done
expect_equal 'counted' "$(loads)" '40 40'
for how in by_packet by_socket; do
  expect_equal 'closed' "$(tell $how close)" ended
done
eventually 'all are counted off' loads_are '0 0'

step 'who comes back is given connections until it has as many'
web_on a1 b1:notready
in_force
by_packet
crowd held a2 30 "$WEB4:80"
expect_equal 'all on one' "$(ask held)" '{"a1": 30}'
web_on a1 b1
in_force
expect_equal 'and still are' "$(ask held)" '{"a1": 30}'
by_socket
crowd new a1 0 "$WEB4:80"
expect_equal 'of sockets, where packets are counted' "$(tell new 'more 15')" '{"b1": 15}'
expect_equal 'by packet, where sockets are counted' "$(tell held 'more 15')" '{"b1": 15}'
even 'in turns from here on' "$(tell new 'more 20')" 20
expect_equal 'counted' "$(loads)" '45 35'
for name in held new; do
  expect_equal 'closed' "$(tell $name close)" ended
done
eventually 'all are counted off' loads_are '0 0'

step 'datagrams, openings without an answer and clients that vanish are counted off by the sweep'
cluster_kill sluiced-node-a
echo_on a1 b1
cluster_agent node-a "$MANIFESTS" --max-backends 1024 --udp-timeout 2s \
  --tcp-established-timeout 2s
eventually 'none' loads_are '0 0'
by_packet
crowd gone a2 20 "$WEB4:80"
even 'clients' "$(ask gone)" 20
for pod in a1 b1; do
  cluster_in $pod iptables -I INPUT -p tcp --syn -j DROP
done
expect_equal 'no answer' "$(probe a2 $WEB4 80 --timeout 0.5)" timeout
crowd datagrams a2 20 "$ECHO4:53" --protocol udp
even 'UDP flows' "$(ask datagrams)" 20
expect_equal 'counted from the choice on' "$(loads)" '41 0'
expect_equal 'without a word' "$(tell gone vanish)" ended
expect_equal 'nobody knows yet' "$(loads)" '41 0'
# Two sweeps of five seconds each have to see it.
EVENTUALLY=40 eventually 'found out' loads_are '0 0'
for pod in a1 b1; do
  cluster_in $pod iptables -D INPUT -p tcp --syn -j DROP
done
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --max-backends 1024

step 'another algorithm while 20 connections are open and more come'
web_on a1 a2 b1 b2
algorithm web 'sluice.io/algorithm: random'
in_force
crowd packets a2 20 "$WEB4:80"
by_socket
crowd sockets a1 20 "[$WEB6]:80"
by_packet
packets=$(ask packets) sockets=$(ask sockets)
expect_equal 'all answer' "$(json 'sum(d.values())' <<<"$packets") $(
  json 'sum(d.values())' <<<"$sockets")" '20 20'
load_start short a2 "$WEB4:80" "[$WEB6]:80" --concurrency 4
load_start outside client "${CLUSTER_V4[node-a]}:30080" --concurrency 4
for to in maglev least-connection random; do
  algorithm web "sluice.io/algorithm: $to"
  in_force
  load_some_more short outside
  expect_equal "open ones, now $to" "$(ask packets)" "$packets"
  expect_equal "of sockets, now $to" "$(ask sockets)" "$sockets"
done
load_stop_without_failure short
load_stop_without_failure outside
