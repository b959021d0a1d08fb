#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The node's uplink is a VLAN sub-interface: services work as on any other.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
ip -n "$CLUSTER-node-a" link add link eth0 name eth0.5 type vlan id 5 2>/dev/null ||
  skip 'this kernel has no 802.1Q sub-interfaces'
cluster_serve a1 a2 b1
usual_manifests a1 b1

# The router's end of the segment carries node A's traffic in VLAN 5 only.
ip -n "$CLUSTER-router" link set node-a nomaster
ip -n "$CLUSTER-router" link add link node-a name node-a.5 type vlan id 5
ip -n "$CLUSTER-router" link set node-a.5 up master segment
ip -n "$CLUSTER-node-a" addr flush dev eth0 scope global
ip -n "$CLUSTER-node-a" link set eth0.5 up
cluster_address node-a eth0.5 "${CLUSTER_V4[node-a]}/24" "${CLUSTER_V6[node-a]}/64"
cluster_route node-a default via 198.51.100.1
cluster_route node-a default via 2001:db8:a::1
ip -n "$CLUSTER-node-a" route replace 10.244.2.0/24 via "${CLUSTER_V4[node-b]}"
ip -6 -n "$CLUSTER-node-a" route replace fd00:10:244:2::/64 via "${CLUSTER_V6[node-b]}"

cluster_agent node-a "$MANIFESTS"
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  spread a2 "$web" 80 500 a1,b1
  spread client "${at[node-a]}" 30080 500 a1,b1
done
