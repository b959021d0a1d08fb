#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Datagrams of 4,000 octets, which travel in fragments both ways, get through the service and come
# back whole: both families, a backend on the node and one on another, from a pod and from outside.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a2 b1
usual_manifests a2
cluster_agent node-a "$MANIFESTS"

for backend in a2 b1; do
  echo_on $backend
  in_force
  for family in 4 6; do
    declare -n echo_at=ECHO$family at=CLUSTER_V$family
    step "IPv$family, $backend"
    spread a1 "$echo_at" 53 200 $backend --protocol udp --size 4000
    spread client "${at[node-a]}" 30053 200 $backend --protocol udp --size 4000
  done
done
fragments=$(cluster_in router nstat -asz IpReasmReqds IpForwDatagrams | awk '/Forw/ {print $2}')
expect_equal 'the router forwarded fragments' "$((fragments > 1000))" 1
expect_equal 'dropped' "$(dropped fragment_unknown)" 0
