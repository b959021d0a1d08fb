#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What comes from the network to a ClusterIP is dropped and counted; --allow-external-cluster-ip
# lets it in, masqueraded.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"

expect_equal 'drops before' "$(dropped external_denied)" 0
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family
  expect_equal "IPv$family TCP" "$(probe client "$web" 80 --timeout 1.5)" timeout
  expect_equal "IPv$family UDP" \
    "$(probe client "$echo_at" 53 --protocol udp --timeout 1.5)" timeout
done
counted=$(dropped external_denied)
expect_equal 'every one is counted' "$((counted >= 4))" 1
expect_equal 'and belongs to a service' \
  "$(cluster_ctl node-a -o json drops | json "sorted({one['service'] for one in d['drops']})")" \
  "['default/echo:main', 'default/web:main']"
expect_match 'a pod still gets through' "$(probe a1 $WEB4 80)" '^answer'

step 'with --allow-external-cluster-ip'
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --allow-external-cluster-ip
for family in 4 6; do
  declare -n web=WEB$family
  spread client "$web" 80 200 a1,b1
done
expect_match 'masqueraded' "$(probe client $WEB4 80)" "^answer [ab]1 ${CLUSTER_V4[node-a]}$"
expect_equal 'no more drops' "$(dropped external_denied)" "$counted"
