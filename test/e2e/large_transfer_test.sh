#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 100 MB each way arrive as they were sent, through ClusterIP and NodePort, with a backend on the
# node and with one on another, in both families.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a2 b1
usual_manifests a2
cluster_agent node-a "$MANIFESTS"
head -c 104857600 /dev/urandom >"$CLUSTER_DIR/files/big"
sum=$(sha256sum "$CLUSTER_DIR/files/big" | cut -d' ' -f1)

for backend in a2 b1; do
  web_on $backend
  in_force
  for family in 4 6; do
    declare -n web=WEB$family nodes_at=CLUSTER_V$family
    for way in "a1 $web 80" "client ${nodes_at[node-a]} 30080"; do
      read -r from address port <<<"$way"
      step "$from -> $address:$port -> $backend"
      target=$(cluster_host_port "$address" "$port")
      got=$(traffic "$from" fetch "$target" --path /files/big --timeout 60)
      expect_equal 'size' "$(json 'd["size"]' <<<"$got")" 104857600
      expect_equal 'SHA-256' "$(json 'd["sha256"]' <<<"$got")" "$sum"
      rm -f "$CLUSTER_DIR/files/sent"
      traffic "$from" put "$target" --path /files/sent --file "$CLUSTER_DIR/files/big" --timeout 60
      cmp "$CLUSTER_DIR/files/big" "$CLUSTER_DIR/files/sent" || fail 'the upload differs'
    done
  done
done
