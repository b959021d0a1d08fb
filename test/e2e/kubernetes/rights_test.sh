#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent needs nothing but the ClusterRole system:node-proxier, and without a part of it says
# which verb and resource it lacks, keeps the datapath as it was, and goes on when it has it again.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

open_api_cluster
cluster_serve a1 a2
api_nodes
usual_manifests a1 "$DUAL"
api_apply
api_agent node-a
in_force
spread a2 $WEB4 80 50 a1

step 'nothing was refused'
status_text() { cluster_ctl node-a status 2>&1 || true; }
expect_equal 'refusals in the log' "$(grep -ciE 'forbidden|not allowed|403' \
  "$CLUSTER_DIR/sluiced-node-a.log" || true)" 0
if [[ $API == fake ]]; then
  expect_equal 'refused requests' "$(api_control GET requests |
    json '[one["path"] for one in d if one["code"] in (401, 403)]')" '[]'
else
  expect_match 'it may read services' \
    "$(kubectl_out auth can-i list services --as $API_USER 2>&1 || true)" yes
  expect_match 'it may read no pods' \
    "$(kubectl_out auth can-i list pods --as $API_USER 2>&1 || true)" no
fi

step 'the right to read endpoint slices is taken away'
if [[ $API == fake ]]; then
  api_control POST 'forbid?verb=list&resource=endpointslices' >/dev/null
  api_control POST 'forbid?verb=watch&resource=endpointslices' >/dev/null
  api_control POST cut-watches >/dev/null
else
  kubectl delete clusterrolebinding sluice
  kubectl create clusterrole lesser --verb list,watch,get --resource services,nodes
  kubectl create clusterrolebinding lesser --clusterrole lesser \
    --serviceaccount kube-system:kube-proxy
  api_kill
  api_restart
fi
names_the_right() {
  status_text | grep -qE '(list|watch)[^.]*endpointslices'
}
eventually 'the status names verb and resource' names_the_right
spread a2 $WEB4 80 50 a1

step 'and given back'
if [[ $API == fake ]]; then
  api_control DELETE forbid >/dev/null
else
  kubectl create clusterrolebinding sluice --clusterrole system:node-proxier \
    --serviceaccount kube-system:kube-proxy
fi
web_on a2
api_apply
in_force
spread a1 $WEB4 80 50 a2
