#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# least-connection by annotation: the backend with fewer live connections is chosen, whether those
# came by packet or of sockets, and what nobody tells the end of is counted off by the sweep.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'

# by_packet, by_socket: whether what pods run from here on is in the cgroup of the agent.
by_packet() { CLUSTER_GROUPED=; }
by_socket() { CLUSTER_GROUPED=1; }

annotated() {
  sed "s|^metadata: {|&annotations: {sluice.io/algorithm: $1}, |"
}

nodes | manifest nodes.yaml
service web NodePort TCP 80 30080 $WEB4 $WEB6 | annotated least-connection | manifest web.yaml
service echo NodePort UDP 53 30053 $ECHO4 $ECHO6 | annotated least-connection | manifest echo.yaml
echo_on
web_on a1 b1
cluster_agent node-a "$MANIFESTS" --max-backends 1024

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
step '40 connections each, by packet and of sockets'
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

step 'to random and back: what was open is counted once, what has ended meanwhile not at all'
crowd kept a2 6 "$WEB4:80"
crowd ending a2 4 "$WEB4:80"
by_socket
crowd sockets a1 6 "$WEB4:80"
crowd leaving a1 4 "$WEB4:80"
expect_equal 'counted' "$(loads)" '10 10'
service web NodePort TCP 80 30080 $WEB4 $WEB6 | annotated random | manifest web.yaml
in_force
for name in ending leaving; do
  expect_equal 'closed' "$(tell $name close)" ended
done
service web NodePort TCP 80 30080 $WEB4 $WEB6 | annotated least-connection | manifest web.yaml
in_force
EVENTUALLY=60 eventually 'counted right' loads_are '6 6'
for name in kept sockets; do
  expect_equal 'closed' "$(tell $name close)" ended
done
EVENTUALLY=40 eventually 'all are counted off' loads_are '0 0'
