#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Direct server return while things change: the network's ways, endpoints, nodes, and whether it is
# asked for at all.
# shellcheck source=three_nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/three_nodes.sh"

open_three_nodes
pods_on a1 b1 b2 c1
agents --xdp off

step 'Maglev: one flow to three nodes in turn, which share no state'
write_services "$dsr, $maglev"
everywhere
route_to node-a
crowd held client 30 $LB4:80 "[$LB6]:80"
held=$(ask held)
for node in node-b node-c node-a node-c node-b; do
  route_to "$node"
  expect_equal "by $node" "$(ask held)" "$held"
done

step 'and with random, as nodes find the same backend by the hash'
write_services "$dsr"
everywhere
route_to node-a
crowd again client 30 $LB4:80 "[$LB6]:80"
again=$(ask again)
for node in node-b node-c node-a; do
  route_to "$node"
  expect_equal "by $node" "$(ask again)" "$again"
done

step 'endpoints come and go: open connections stay with theirs'
web_on a1 b1 b2 c1 c2
everywhere
expect_equal 'one more' "$(ask again)" "$again"
web_on a1 b1 b2 c1
everywhere
expect_equal 'one less' "$(ask again)" "$again"

step 'what no node knows any more is reset, wherever it is passed on to'
for node in "${NODES[@]}"; do
  cluster_kill "sluiced-$node"
  "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-$node" \
    --state-dir "$CLUSTER_DIR/state-$node" >/dev/null
done
agents --xdp off
expect_equal 'all of them' "$(ask again)" '{"reset": 30}'

step 'from snat to dsr and back under traffic'
cluster_kill held
cluster_kill again
route_to "${NODES[@]}"
load_start lb client $LB4:80 "[$LB6]:80" --concurrency 4
for annotation in '"sluice.io/forwarding": snat' "$dsr" '"sluice.io/forwarding": hybrid' "$dsr"; do
  write_services "$annotation"
  everywhere
  load_some_more lb
done

step 'a node without sluice is reached by its address, and may come back'
tunnel_nodes node-a node-b | manifest sluice.yaml
everywhere
load_some_more lb
tunnel_nodes "${NODES[@]}" | manifest sluice.yaml
everywhere
load_some_more lb

step 'a node is drained under traffic, and comes back'
drained route_to lb
load_stop_without_failure lb
