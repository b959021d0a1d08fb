#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Annotations choose how a Service's backends are chosen. By Maglev of the client's address a client
# stays with its backend, at both hooks and on both nodes; by the whole flow every node chooses the
# same. The algorithm changes while connections are open.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB4=203.0.113.80 LB6=2001:db8:1b::80
CLIENTS=8

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'

# by_packet, by_socket: whether what pods run from here on is in the cgroup of the agent.
by_packet() { CLUSTER_GROUPED=; }
by_socket() { CLUSTER_GROUPED=1; }

# algorithm <annotations, as YAML within braces>: of `web`.
algorithm() {
  {
    service web LoadBalancer TCP 80 30080 $WEB4 $WEB6
    printf 'status:\n  loadBalancer: {ingress: [{ip: %s}, {ip: "%s"}]}\n' $LB4 $LB6
  } | sed "s|^metadata: {|&annotations: {$1}, |" | manifest web.yaml
}

# answers <from> <address> <port> <count> [flags]: the backends that answered, or what failed.
answers() {
  traffic "$1" spread "$(cluster_host_port "$2" "$3")" --count "$4" "${@:5}" |
    json '" ".join(d["backends"]) if not d["failed"] else d["errors"]'
}

# SYNs sent again, as the nodes have counted them: such a connection is given another backend.
sent_again() {
  local node
  for node in node-a node-b; do
    cluster_ctl "$node" -o json service show default/web | json 'd[0]["stats"]["failed"]'
  done
}

# stays <what> <as answers()...>: one backend only, in STAYS. A machine so slow that a SYN had to be
# sent again, or that had to look for a neighbour first, is asked again.
stays() {
  local what=$1 before tries=5
  shift
  while
    before=$(sent_again)
    STAYS=$(answers "$@")
    [[ $STAYS == *' '* && $(sent_again) != "$before" ]] && ((--tries > 0))
  do :; done
  expect_match "$what" "$STAYS" '^[ab][12]$'
}

by_packet
nodes | manifest nodes.yaml
algorithm 'sluice.io/algorithm: maglev, sluice.io/hash: source'
web_on b2
# Two agents of different pasts: ids and slots are not the same.
cluster_agent node-b "$MANIFESTS"
web_on b1 a2
in_force_on node-b
web_on a1 a2 b1 b2
in_force_on node-b
cluster_agent node-a "$MANIFESTS"
for client in $(seq $CLIENTS); do
  cluster_address client eth0 "192.0.2.$((client + 100))/24" "2001:db8:c::1:$client/64"
done

for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  step "maglev by source, IPv$family"
  stays 'a pod' a1 "$web" 80 20
  bound=$STAYS
  stays 'by node port' a1 "${at[node-a]}" 30080 20
  expect_equal 'the same' "$STAYS" "$bound"
  by_socket
  stays 'in the cgroup' a1 "$web" 80 20
  expect_equal 'the same' "$STAYS" "$bound"
  by_packet
  used=()
  for client in $(seq $CLIENTS); do
    source=192.0.2.$((client + 100))
    [[ $family == 4 ]] || source=2001:db8:c::1:$client
    stays "$source" client "${at[node-a]}" 30080 2 --source "$source"
    used+=("$STAYS")
  done
  for node in node-a node-b; do
    stays "$source" client "${at[$node]}" 30080 30 --source "$source"
    expect_equal "the same at $node" "$STAYS" "${used[-1]}"
  done
  distinct=$(printf '%s\n' "${used[@]}" | sort -u | wc -l)
  expect_match 'backends of eight clients' "$distinct" '^[34]$'
done

step 'maglev by the whole flow: two nodes agree on each of 40'
algorithm 'sluice.io/algorithm: maglev, sluice.io/hash: 5-tuple'
in_force
in_force_on node-b
# chosen_at <node> <source> <destination>: the backends of 20 source ports.
chosen_at() {
  local port
  for port in $(seq 40001 40020); do
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
  expect_equal 'all are there' "$(grep -c ':8080$' "$CLUSTER_DIR/chosen-node-a")" 20
  expect_equal 'all four are chosen' "$(sort -u "$CLUSTER_DIR/chosen-node-a" | wc -l)" 4
  cmp "$CLUSTER_DIR/chosen-node-a" "$CLUSTER_DIR/chosen-node-b" || fail 'the nodes do not agree'
done
cluster_kill sluiced-node-b

step 'another algorithm while 20 connections are open and more come'
web_on a1 a2 b1 b2
algorithm 'sluice.io/algorithm: random'
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
  algorithm "sluice.io/algorithm: $to"
  in_force
  load_some_more short outside
  expect_equal "open ones, now $to" "$(ask packets)" "$packets"
  expect_equal "of sockets, now $to" "$(ask sockets)" "$sockets"
done
load_stop_without_failure short
load_stop_without_failure outside
