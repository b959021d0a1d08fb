#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real API server takes all of deploy/, field by field, and the ServiceAccount may then do what
# sluice does and nothing else. Needs a kube-apiserver with etcd: the folder $KUBEBUILDER_ASSETS.
for file in etcd kube-apiserver kubectl; do
  if [[ ! -x ${KUBEBUILDER_ASSETS:-/nonexistent}/$file ]]; then
    echo 'skipped: KUBEBUILDER_ASSETS names no folder with etcd, kube-apiserver and kubectl'
    exit 77
  fi
done
export API=real
# shellcheck source=../e2e/kubernetes/api.sh
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/kubernetes/api.sh"

open_api_cluster
for folder in base kubeadm once/cleanup-kube-proxy once/drain once/cleanup; do
  step "deploy/$folder"
  kubectl apply --dry-run=server --validate=strict -k "$CLUSTER_ROOT/deploy/$folder"
  expect_match 'what it said' "$(cat "$CLUSTER_DIR/kubectl.log")" 'daemonset.apps/sluice.* created'
  if grep -i warning "$CLUSTER_DIR/kubectl.log" >&2; then fail 'the API server has doubts'; fi
done

step 'a field that is not there is refused'
sed 's/priorityClassName/priorityClass/' "$CLUSTER_ROOT/deploy/base/daemonset.yaml" \
  >"$CLUSTER_DIR/wrong.yaml"
if kubectl_try apply --dry-run=server --validate=strict -f "$CLUSTER_DIR/wrong.yaml"; then
  fail 'priorityClass was taken'
fi

step 'what the ServiceAccount may do'
kubectl apply -f "$CLUSTER_ROOT/deploy/base/rbac.yaml"
may() {
  kubectl_out auth can-i "$1" "$2" --as system:serviceaccount:kube-system:sluice 2>/dev/null || true
}
for right in list:services watch:endpointslices.discovery.k8s.io get:nodes create:events; do
  expect_equal "$right" "$(may "${right%%:*}" "${right#*:}")" yes
done
for right in list:pods get:secrets update:services patch:nodes; do
  expect_equal "$right" "$(may "${right%%:*}" "${right#*:}")" no
done
