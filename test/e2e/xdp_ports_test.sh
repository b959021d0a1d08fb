#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A node with two uplinks: what comes in by one and leaves by the other does so at XDP while the
# driver of the other takes frames, both ways, and by the stack while it does not. Nothing is lost
# when that changes.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

readonly OUT4=203.0.113 OUT6=2001:db8:e:

open_cluster
cluster_serve b1 b2
usual_manifests b1 b2
for sender in client b1 b2; do
  cluster_as_wire "$sender" eth0
done

# The second uplink, by which node A reaches the pods of node B, and they answer it.
cluster_link node-a eth1 router node-a1
cluster_as_wire node-a eth1
cluster_as_wire router node-a1
cluster_address router node-a1 $OUT4.1/24 $OUT6:1/64
cluster_address node-a eth1 $OUT4.11/24 $OUT6:11/64
ip -n "$CLUSTER-node-a" route replace "$(cluster_pod_net4 node-b)" via $OUT4.1
ip -6 -n "$CLUSTER-node-a" route replace "$(cluster_pod_net6 node-b)" via $OUT6:1

# The other ends of wires, as those of network cards, take what comes; on a veth that is a program.
# Its pin is in the folder of a node without an agent, which goes with the cluster.
mkdir "$CLUSTER_BPFFS-node-b"
bpftool prog load "$CLUSTER_BIN/test/e2e/xdp_pass.bpf.o" "$CLUSTER_BPFFS-node-b/pass" type xdp
take() {
  cluster_in router bpftool net attach xdpdrv pinned "$CLUSTER_BPFFS-node-b/pass" dev "$1"
}
take node-a

# Frames that others have sent out of the interface at XDP.
taken_by() {
  cluster_in node-a ethtool -S "$1" | awk '/_xdp_xmit:/ { sum += $2 } END { print sum + 0 }'
}
is_port() {
  local ifindex
  ifindex=$(ip -n "$CLUSTER-node-a" -j link show dev "$1" | json 'd[0]["ifindex"]')
  bpftool -j map dump pinned "$CLUSTER_BPFFS-node-a/v1/xdp/sl_xdp_ports" |
    json "$ifindex in [int(row['key'][0], 16) for row in d]"
}
becomes() {
  [[ $(is_port "$1") == "$2" ]]
}
all_answer() {
  local family
  for family in 4 6; do
    declare -n at=CLUSTER_V$family
    spread client "${at[node-a]}" 30080 60 b1,b2
    spread client "${at[node-a]}" 30053 60 b1,b2 --protocol udp
  done
}

cluster_agent node-a "$MANIFESTS" --xdp native --uplinks eth0,eth1 \
  --snat-addresses "$OUT4.0/24,$OUT6:/64"
expect_equal 'backends see the address there' "$(probe client "${CLUSTER_V4[node-a]}" 30080 |
  cut -d' ' -f3)" $OUT4.11

step 'its driver takes no frames: by the stack'
expect_equal 'it is no port' "$(is_port eth1)" False
before=$(taken_by eth1)
all_answer
expect_equal 'none were sent there' "$(taken_by eth1)" "$before"

step 'it takes frames from now on'
take node-a1
eventually 'it is a port' becomes eth1 True
there=$(taken_by eth1) back=$(taken_by eth0)
all_answer
expect_equal 'questions left early' "$(($(taken_by eth1) >= there + 240))" 1
expect_equal 'answers left early' "$(($(taken_by eth0) >= back + 240))" 1
for reason in no_route rewrite_failed no_flow; do
  expect_equal "dropped: $reason" "$(dropped $reason)" 0
done

step 'and no longer, under load'
load_start outside client "${CLUSTER_V4[node-a]}:30080" "[${CLUSTER_V6[node-a]}]:30080" \
  --concurrency 4
load_some_more outside
cluster_in router bpftool net detach xdpdrv dev node-a1
eventually 'it is no port' becomes eth1 False
load_some_more outside
load_stop_without_failure outside
