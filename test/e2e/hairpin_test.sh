#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A pod that reaches itself through its service gets through, and sees a node address as its client.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1
usual_manifests a1
cluster_agent node-a "$MANIFESTS"

for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  step "IPv$family"
  expect_equal 'TCP to the ClusterIP' "$(probe a1 "$web" 80)" "answer a1 ${at[node-a]}"
  expect_equal 'UDP to the ClusterIP' "$(probe a1 "$echo_at" 53 --protocol udp)" \
    "answer a1 ${at[node-a]}"
  expect_equal 'TCP to the NodePort' "$(probe a1 "${at[node-a]}" 30080)" "answer a1 ${at[node-a]}"
  expect_equal 'another pod is seen as itself' "$(probe a2 "$web" 80)" "answer a1 ${at[a2]}"
done
head -c 10000000 /dev/urandom >"$CLUSTER_DIR/files/some"
got=$(traffic a1 fetch "$WEB4:80" --path /files/some)
expect_equal 'SHA-256' "$(json 'd["sha256"]' <<<"$got")" \
  "$(sha256sum "$CLUSTER_DIR/files/some" | cut -d' ' -f1)"
spread a1 $WEB4 80 500 a1
