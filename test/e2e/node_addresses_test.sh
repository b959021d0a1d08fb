#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --nodeport-addresses with CIDRs: NodePorts are on the node's addresses inside them and follow
# those that come and go while the agent runs; the other family is not limited by them.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS" --nodeport-addresses 198.51.100.64/26

answers() {
  [[ $(probe client "$1" 30080 --timeout 1) == answer* ]]
}

silent() {
  ! answers "$1"
}

silent "${CLUSTER_V4[node-a]}" || fail 'a NodePort on an address outside of the CIDR'
answers "${CLUSTER_V6[node-a]}" || fail 'no NodePort in the family that no CIDR names'
step 'an address comes'
cluster_address node-a eth0 198.51.100.99/24
eventually 'a NodePort on it' answers 198.51.100.99
spread client 198.51.100.99 30080 300 a1,b1
step 'and goes'
ip -n "$CLUSTER-node-a" addr del 198.51.100.99/24 dev eth0
gone() {
  [[ $(cluster_ctl node-a -o json service list) != *198.51.100.99* ]]
}
eventually 'none listed' gone
