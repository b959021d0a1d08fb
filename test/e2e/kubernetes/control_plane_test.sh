#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests of this folder that do not need the API server to go wrong, against a real one: a
# kube-apiserver with etcd, out of the folder $KUBEBUILDER_ASSETS (as envtest has it).
set -euo pipefail

for file in etcd kube-apiserver kubectl; do
  if [[ ! -x ${KUBEBUILDER_ASSETS:-/nonexistent}/$file ]]; then
    echo 'skipped: KUBEBUILDER_ASSETS names no folder with etcd, kube-apiserver and kubectl'
    exit 77
  fi
done
for behaviour in answers objects api_restart churn rights serving; do
  echo "== $behaviour"
  API=real bash "$(dirname "${BASH_SOURCE[0]}")/${behaviour}_test.sh"
done
