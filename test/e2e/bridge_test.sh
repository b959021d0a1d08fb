#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pods on a bridge, as flannel has them: ClusterIP, NodePort and hairpin, both families.
CLUSTER_CNI=bridge
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"

for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  web_on a1 a2 b1 b2
  in_force
  step "IPv$family"
  spread a1 "$web" 80 1000 a1,a2,b1,b2
  spread client "${at[node-a]}" 30080 1000 a1,a2,b1,b2
  spread a1 "$echo_at" 53 500 a1,a2,b1,b2 --protocol udp
  spread client "${at[node-a]}" 30053 500 a1,a2,b1,b2 --protocol udp
  web_on a2
  in_force
  expect_equal 'a pod on the same bridge' "$(probe a1 "$web" 80)" "answer a2 ${at[a1]}"
  expect_equal 'outside' "$(probe client "${at[node-a]}" 30080)" "answer a2 ${at[client]}"
  expect_match 'hairpin' "$(probe a2 "$web" 80)" '^answer a2 '
done
