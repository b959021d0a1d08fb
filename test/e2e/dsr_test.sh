#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Direct server return between three nodes behind a router: what a node passes on reaches the
# backend's node as the client has sent it, and the answer goes straight to the client. By both ways
# to wrap, in both families, over TCP and UDP, with sl_xdp and without.
# shellcheck source=three_nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/three_nodes.sh"

# Packets of all nodes for the reason.
dropped_anywhere() {
  local node sum=0
  for node in "${NODES[@]}"; do
    sum=$((sum + $(dropped "$1" "$node")))
  done
  echo "$sum"
}

# answers <pod> <family>: TCP and UDP, at the load balancer's address and at each node's.
answers() {
  local pod=$1 family=$2 node at me lb=LB$2
  declare -n nodes=CLUSTER_V$family clients=CLUSTER_V$family
  me=${clients[client]}
  for at in "${!lb}"; do
    expect_equal "TCP to $at" "$(probe client "$at" 80)" "answer $pod $me"
    expect_match "UDP to $at" "$(probe client "$at" 53 --protocol udp)" "^answer $pod"
  done
  for node in "${NODES[@]}"; do
    at=${nodes[$node]}
    expect_equal "TCP to $node" "$(probe client "$at" 30080)" "answer $pod $me"
    expect_match "UDP to $node" "$(probe client "$at" 30053 --protocol udp)" "^answer $pod"
  done
}

open_three_nodes
web_on b1
echo_on b1
for node in "${NODES[@]}"; do # the other ends of wires, for XDP_TX
  bpftool prog load "$CLUSTER_BIN/test/e2e/xdp_pass.bpf.o" "$CLUSTER_BPFFS-pass" type xdp
  cluster_in router bpftool net attach xdpdrv pinned "$CLUSTER_BPFFS-pass" dev "$node"
  rm "$CLUSTER_BPFFS-pass"
done
head -c 3000000 /dev/urandom >"$CLUSTER_DIR/files/down"
head -c 3000000 /dev/urandom >"$CLUSTER_DIR/up"

# Bytes there and back, of packets as large as they get.
large() {
  local at=$1 port=$2
  cmp <(cluster_in client curl -sS --max-time 20 "http://$at:$port/files/down") \
    "$CLUSTER_DIR/files/down" || fail "down from $at"
  rm -f "$CLUSTER_DIR/files/up"
  cluster_in client curl -sS --max-time 20 -T "$CLUSTER_DIR/up" "http://$at:$port/files/up" ||
    fail "up to $at"
  cmp "$CLUSTER_DIR/files/up" "$CLUSTER_DIR/up" || fail "up to $at"
}

for xdp in off native; do
  for encapsulation in ipip gue; do
    step "$encapsulation, XDP $xdp: every node, both families, TCP and UDP"
    agents --dsr-encapsulation "$encapsulation" --xdp "$xdp"
    for family in 4 6; do
      for node in "${NODES[@]}"; do
        route_to "$node"
        answers b1 "$family"
      done
    done
    route_to node-a
    large $LB4 80
    large "[$LB6]" 80
    large "${CLUSTER_V4[node-c]}" 30080
    for reason in no_flow rewrite_failed no_backend too_big; do
      expect_equal "dropped: $reason" "$(dropped_anywhere $reason)" 0
    done
  done
done

step 'on the wire: the packet as it was sent, wrapped from node to node; the answer goes straight'
# seen <node> <extended regular expression>: of what went over the node's wire, header lines joined.
seen() {
  sed -z 's/\n \+/ /g' "$CLUSTER_DIR/wire-$1.log" | grep -cE -- "$2" || true
}
is_seen() {
  [[ $(seen "$@") -gt 0 ]]
}
client4=${CLUSTER_V4[client]} a4=${CLUSTER_V4[node-a]} b4=${CLUSTER_V4[node-b]}
for encapsulation in gue ipip; do
  agents --dsr-encapsulation "$encapsulation"
  for node in node-a node-b; do
    rm -f "$CLUSTER_DIR/wire-$node.log"
    cluster_spawn "wire-$node" "$node" tcpdump -i eth0 -Z root -n -l \
      --immediate-mode -vv 'ip'
    cluster_await_log "wire-$node" 'listening on'
  done
  expect_equal 'TCP' "$(probe client $LB4 80)" "answer b1 $client4"
  for node in node-a node-b; do
    eventually "the end is on the wire of $node" \
      grep -q 'Flags \[F' "$CLUSTER_DIR/wire-$node.log"
  done
  # The client is two hops from the node that passes on: the router's, and its own.
  case $encapsulation in
    ipip)
      wrapped="ttl 64.*$a4 > $b4: .*ttl 62.*$client4\.[0-9]+ > $LB4\.80: Flags \[S\]"
      ;;
    gue) wrapped="ttl 64.*$a4\.[0-9]+ > $b4\.6080: .*UDP" ;;
  esac
  for node in node-a node-b; do
    eventually "passed on, $node" is_seen $node "$wrapped"
    cluster_kill "wire-$node" INT
    expect_equal "wrong checksums, $node" "$(seen $node 'incorrect|bad (udp )?cksum')" 0
  done
  mss=$((1500 - 60))
  [[ $encapsulation == ipip ]] || mss=$((mss - 8))
  answered="$LB4\.80 > $client4\.[0-9]+: Flags \[S\.\].*mss $mss,"
  expect_equal 'answered by its own node' "$(seen node-b "$answered")" 1
  expect_equal 'and not by the other' "$(seen node-a "$LB4\.80 > $client4")" 0
done

step 'by random too, evenly over pods of every node'
web_on a1 b1 b2 c1
echo_on a1 b1 b2 c1
everywhere
route_to "${NODES[@]}"
for at in $LB4 $LB6; do
  spread client "$at" 80 400 a1,b1,b2,c1
  spread client "$at" 53 400 a1,b1,b2,c1 --protocol udp
done
