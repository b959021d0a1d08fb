#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sl_xdp on the uplink: what comes from outside for a backend of another node leaves before the
# stack sees it, and so do the answers; what is for this node's pods does not. Connections live
# through its coming and going, and another's program is left alone.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1 b2
usual_manifests b1 b2
# What comes from a wire has its checksums.
for sender in client b1 b2; do
  cluster_in "$sender" ethtool -K eth0 tx off >/dev/null
done

pass_on router node-a # as the other end of a wire

# agent <mode>: another agent in place of the one before, if there is one.
agent() {
  cluster_kill sluiced-node-a
  cluster_agent node-a "$MANIFESTS" --xdp "$1"
}

hooks() {
  cluster_ctl node-a -o json interfaces |
    json '[one["hooks"] for one in d["interfaces"] if one["name"] == "eth0"][0]'
}

agent off
crowd open client 10 "${CLUSTER_V4[node-a]}:30080" "[${CLUSTER_V6[node-a]}]:30080"
open=$(ask open)
expect_equal 'nothing leaves early' "$(sent_early)" 0

step 'native: connections that were there go on, new ones come'
agent native
expect_equal 'hooks' "$(hooks)" "['from_net', 'to_net', 'xdp']"
for _ in 1 2 3; do
  expect_equal 'open ones' "$(ask open)" "$open"
done
early=$(sent_early)
expect_equal 'questions and answers left early' "$((early >= 60))" 1
for family in 4 6; do
  declare -n at=CLUSTER_V$family
  spread client "${at[node-a]}" 30080 60 b1,b2
  spread client "${at[node-a]}" 30053 60 b1,b2 --protocol udp
done
expect_equal 'of new ones too' "$(($(sent_early) >= early + 200))" 1

step 'pods of this node are behind the stack'
echo_on a1
in_force
early=$(sent_early)
spread client "${CLUSTER_V4[node-a]}" 30053 20 a1 --protocol udp
expect_equal 'nothing leaves early' "$(sent_early)" "$early"

step 'under traffic, off, by the stack, and by the driver again'
load_start outside client "${CLUSTER_V4[node-a]}:30080" "[${CLUSTER_V6[node-a]}]:30080" \
  --concurrency 4
for mode in off generic native; do
  agent "$mode"
  case $mode in
    off) wanted="['from_net', 'to_net']" ;;
    generic) wanted="['from_net', 'to_net', 'xdp (generic)']" ;;
    native) wanted="['from_net', 'to_net', 'xdp']" ;;
  esac
  expect_equal "hooks, $mode" "$(hooks)" "$wanted"
  load_some_more outside
  expect_equal "open ones, $mode" "$(ask open)" "$open"
done
load_stop_without_failure outside

step 'without an agent it stays, and the next one has it again'
cluster_kill sluiced-node-a
expect_equal 'open ones' "$(ask open)" "$open"
early=$(sent_early)
expect_equal 'open ones' "$(ask open)" "$open"
expect_equal 'left early' "$(($(sent_early) > early))" 1
agent native
expect_equal 'hooks' "$(hooks)" "['from_net', 'to_net', 'xdp']"

step "another's program is left alone, and named"
agent off
pass_on node-a eth0
for mode in native auto; do
  agent "$mode"
  expect_equal "hooks, $mode" "$(hooks)" "['from_net', 'to_net']"
  expect_match "said, $mode" \
    "$( (cluster_ctl node-a -o json status || true) | json '" ".join(d["degraded"])')" \
    'another XDP program has eth0 \(id [0-9]+'
  spread client "${CLUSTER_V4[node-a]}" 30080 20 b1,b2
done
cluster_in node-a bpftool net detach xdpdrv dev eth0
agent auto
expect_equal 'hooks, auto' "$(hooks)" "['from_net', 'to_net', 'xdp']"

step 'cleaned up'
cluster_kill sluiced-node-a
"$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a" >/dev/null
expect_equal 'nobody has the interface' \
  "$(ip -n "$CLUSTER-node-a" -d link show eth0 | grep -c xdp)" 0
