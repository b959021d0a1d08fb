#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An agent on each node, each in its own network namespace with its own pins and state, on one
# machine: a NodePort works on every node, and what one forwards to the other gets there.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"
cluster_agent node-b "$MANIFESTS"

for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  for node in node-a node-b; do
    spread client "${at[$node]}" 30080 1000 a1,a2,b1,b2
    spread client "${at[$node]}" 30053 1000 a1,a2,b1,b2 --protocol udp
  done
  spread a1 "$web" 80 1000 a1,a2,b1,b2
  spread b1 "$web" 80 1000 a1,a2,b1,b2
  spread b2 "$echo_at" 53 1000 a1,a2,b1,b2 --protocol udp
  expect_match "a pod asks the other node's NodePort" "$(probe a1 "${at[node-b]}" 30080)" '^answer'
done

step 'one agent is cleaned up, the other goes on'
cluster_kill sluiced-node-a
cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a" >>"$CLUSTER_DIR/sluiced-cleanup.log" 2>&1
spread b1 $WEB4 80 500 a1,a2,b1,b2
