#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A backend on the node sees the client's own address; one on another node sees this node's, in its
# own family. Pods are always seen as themselves.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests a2
cluster_agent node-a "$MANIFESTS"

for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  for protocol in tcp udp; do
    cluster=("$web" 80) port=30080
    [[ $protocol == tcp ]] || cluster=("$echo_at" 53) port=30053
    flags=(--protocol "$protocol")
    web_on a2 && echo_on a2 && in_force
    step "IPv$family $protocol, backend on the node"
    expect_equal 'outside' "$(probe client "${at[node-a]}" $port "${flags[@]}")" \
      "answer a2 ${at[client]}"
    expect_equal 'pod' "$(probe a1 "${cluster[@]}" "${flags[@]}")" "answer a2 ${at[a1]}"
    web_on b1 && echo_on b1 && in_force
    step "IPv$family $protocol, backend on another node"
    expect_equal 'outside' "$(probe client "${at[node-a]}" $port "${flags[@]}")" \
      "answer b1 ${at[node-a]}"
    expect_equal 'pod' "$(probe a1 "${cluster[@]}" "${flags[@]}")" "answer b1 ${at[a1]}"
    expect_equal 'pod to the NodePort' "$(probe a1 "${at[node-a]}" $port "${flags[@]}")" \
      "answer b1 ${at[a1]}"
  done
done
