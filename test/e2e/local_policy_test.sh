#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# externalTrafficPolicy: Local keeps outside traffic on the node's own endpoints, with the client's
# address, and drops it when there are none here; pods still reach everything.
# internalTrafficPolicy: Local does the same for the ClusterIP.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests a1 b1 'externalTrafficPolicy: Local'
cluster_agent node-a "$MANIFESTS"

for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  step "IPv$family: outside, endpoints here and elsewhere"
  spread client "${at[node-a]}" 30080 200 a1
  expect_equal 'source kept' "$(probe client "${at[node-a]}" 30080)" "answer a1 ${at[client]}"
  spread a2 "$web" 80 500 a1,b1
  spread a2 "${at[node-a]}" 30080 500 a1,b1
done

web_on b1
in_force
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  step "IPv$family: outside, endpoints elsewhere only"
  before=$(dropped no_local_backend)
  expect_equal 'dropped' "$(probe client "${at[node-a]}" 30080 --timeout 1.5)" timeout
  expect_equal 'counted' "$(($(dropped no_local_backend) > before))" 1
  expect_equal 'a pod is let through' "$(probe a2 "${at[node-a]}" 30080)" "answer b1 ${at[a2]}"
done
web_on
in_force
expect_equal 'no endpoint anywhere: refused' \
  "$(probe client "${CLUSTER_V4[node-a]}" 30080 --timeout 3)" refused

step 'internalTrafficPolicy: Local'
usual_manifests a1 b1 'internalTrafficPolicy: Local'
in_force
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  spread a2 "$web" 80 200 a1
  spread client "${at[node-a]}" 30080 500 a1,b1
done
web_on b1
in_force
expect_equal 'none here: dropped' "$(probe a2 $WEB4 80 --timeout 1.5)" timeout
expect_match 'the NodePort is not governed by it' \
  "$(probe a2 "${CLUSTER_V4[node-a]}" 30080)" '^answer b1'
