#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects of the API are in the datapath as they are created, changed and deleted; on both nodes.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

open_api_cluster
cluster_serve a1 a2 b1 b2
api_nodes
for node in node-a node-b; do
  api_agent $node
done

step 'services and endpoints appear'
usual_manifests a1 b1 "$DUAL"
api_apply
in_force
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  spread a2 "$web" 80 200 a1,b1
  spread a2 "$echo_at" 53 200 a1,b1 --protocol udp
  spread client "${at[node-a]}" 30080 200 a1,b1
done

step 'endpoints change'
web_on a2 b2 b1:notready
api_apply
in_force
spread a1 $WEB4 80 200 a2,b2
eventually 'node-b knows it too' api_truth_holds node-b
spread b1 $WEB6 80 200 a2,b2

step 'a service changes its port'
service web NodePort TCP 81 30081 $WEB4 $WEB6 "$DUAL" | manifest web.yaml
api_apply
in_force
spread a1 $WEB4 81 200 a2,b2
spread client "${CLUSTER_V4[node-a]}" 30081 200 a2,b2
expect_match 'the old node port' "$(probe client "${CLUSTER_V4[node-a]}" 30080)" '^refused'

step 'a label hides it from us'
label='labels: {service.kubernetes.io/service-proxy-name: x}'
service web NodePort TCP 81 30081 $WEB4 $WEB6 "$DUAL" |
  sed "s|namespace: default}|namespace: default, $label}|" | manifest web.yaml
api_apply
in_force
expect_equal 'services' "$(cluster_ctl node-a -o json service list |
  json '[one["name"] for one in d if one["namespace"] == "default"]' |
  tr -d "' " | sed 's/,kubernetes//')" '[echo]'

step 'deletion'
rm "$MANIFESTS/echo.yaml" "$MANIFESTS/echo-endpoints.yaml"
api_apply
in_force
