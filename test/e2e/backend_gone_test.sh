#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A backend that is deleted: its established TCP connections get a RST at the client's next packet,
# its UDP flows move to another; while it only terminates, connections go on.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1

usual_manifests a1
cluster_agent node-a "$MANIFESTS"
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  for backend in a1 b1; do
    step "IPv$family, $backend"
    other=$([[ $backend == a1 ]] && echo b1 || echo a1)
    web_on $backend && echo_on $backend && in_force
    n=$family$backend
    hold "pod$n" a2 "$(cluster_host_port "$web" 80)"
    hold "out$n" client "$(cluster_host_port "${at[node-a]}" 30080)"
    hold "udp$n" a2 "$(cluster_host_port "$echo_at" 53)" --protocol udp
    hold "udpout$n" client "$(cluster_host_port "${at[node-a]}" 30053)" --protocol udp
    for name in pod out udp udpout; do
      expect_match "$name" "$(ask "$name$n")" "^answer $backend "
    done
    web_on $backend:terminating "$other" && echo_on $backend:terminating "$other" && in_force
    for name in pod out; do
      expect_match "$name while the backend terminates" "$(ask "$name$n")" "^answer $backend "
    done
    web_on "$other" && echo_on "$other" && in_force
    for name in pod out; do
      expect_equal "$name, its backend is gone" "$(ask "$name$n")" reset
    done
    for name in udp udpout; do
      expect_match "$name moves on" "$(ask "$name$n")" "^answer $other "
    done
  done
done
expect_equal 'counted' "$(($(dropped backend_gone) >= 8))" 1

step 'an endpoint that leaves one of two services'
echo_on a1 && web_on a1
{ service second ClusterIP UDP 53 - 10.96.0.54 fd00:10:96::54 && slices second UDP 5353 a1; } |
  manifest second.yaml
in_force
hold leaves a2 "$ECHO4:53" --protocol udp
hold stays a2 10.96.0.54:53 --protocol udp
for name in leaves stays; do
  expect_match "$name at first" "$(ask $name)" '^answer a1 '
done
echo_on a1:notready b1 && in_force
expect_match 'moves on with the service that it left' "$(ask leaves)" '^answer b1 '
expect_match 'stays with the other' "$(ask stays)" '^answer a1 '

step 'a service that goes, or whose port gets a name, keeps connections to pods that stay'
web_on a1 && in_force
{ service alias ClusterIP TCP 80 - 10.96.0.55 fd00:10:96::55 && slices alias TCP 8080 a1; } |
  manifest alias.yaml
{ service plain ClusterIP TCP 80 - 10.96.0.56 fd00:10:96::56 && slices plain TCP 8080 a1; } |
  sed 's/name: main, //' | manifest plain.yaml
in_force
hold deleted a2 10.96.0.55:80
hold renamed a2 10.96.0.56:80
for name in deleted renamed; do
  expect_match "$name at first" "$(ask $name)" '^answer a1 '
done
rm "$MANIFESTS/alias.yaml"
{ service plain ClusterIP TCP 80 - 10.96.0.56 fd00:10:96::56 && slices plain TCP 8080 a1; } |
  manifest plain.yaml
in_force
for name in deleted renamed; do
  expect_match "$name goes on" "$(ask $name)" '^answer a1 '
done
expect_equal 'nobody new' "$(probe a2 10.96.0.55 80 --timeout 1)" timeout
web_on b1 && slices plain TCP 8080 b1 >"$CLUSTER_DIR/plain-slices" && {
  service plain ClusterIP TCP 80 - 10.96.0.56 fd00:10:96::56 && cat "$CLUSTER_DIR/plain-slices"
} | manifest plain.yaml
in_force
for name in deleted renamed; do
  expect_equal "$name, its pod has gone from all" "$(ask $name)" reset
done
