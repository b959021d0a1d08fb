#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# UDP port 6080 of a node is where packets end that nodes pass on to each other (GUE), so SNAT gives
# it to no datagram: the pod's answer to it would be taken for such a packet, which no pod may send.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve b1
usual_manifests b1
cluster_agent node-a "$MANIFESTS" --snat-ports 6050-6099
cluster_agent node-b "$MANIFESTS"

step 'as many clients as there are ports but that one'
for family in 4 6; do
  declare -n at=CLUSTER_V$family
  spread client "${at[node-a]}" 30053 49 b1 --protocol udp --timeout 3
done
expect_equal 'dropped on the other node' "$(dropped tunnel_denied node-b)" 0
