#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What Kubernetes would fill in is filled in: a NodePort from 30000-32767, a ClusterIP from
# --service-cidr; both stay over restarts, also kill -9. Two Services that claim one port: the older
# keeps it, the other is reported with both names.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
nodes | manifest nodes.yaml
unnumbered() {
  cat <<YAML
---
apiVersion: v1
kind: Service
metadata: {name: $1, namespace: default}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  ports: [{name: main, protocol: TCP, port: 80}]
YAML
}
{ unnumbered one && unnumbered two; } | manifest services.yaml
{ slices one TCP 8080 a1 && slices two TCP 8080 b1; } | manifest endpoints.yaml
cidr=(--service-cidr "10.96.0.0/16,fd00:10:96::/112")
cluster_agent node-a "$MANIFESTS" "${cidr[@]}"

frontends() {
  cluster_ctl node-a -o json service list |
    json 'sorted((one["name"], f["kind"], f["address"], f["port"])
                 for one in d for f in one["frontends"])'
}
given=$(frontends)
printf '   %s\n' "$given"
pick() {
  python3 -c '
import sys
given, name, kind, family = sys.argv[1:]
print(*next(f[2:] for f in eval(given)
            if f[:2] == (name, kind) and (":" in f[2]) == (family == "6")))' "$given" "$@"
}
for name in one two; do
  for family in 4 6; do
    read -r address port < <(pick $name ClusterIP $family)
    expect_match 'ClusterIP' "$address" '^(10\.96\.|fd00:10:96::)'
    expect_match "$name by ClusterIP" "$(probe a2 "$address" "$port")" '^answer'
    read -r address port < <(pick $name NodePort $family)
    [[ $port -ge 30000 && $port -le 32767 ]] || fail "NodePort $port"
    expect_match "$name by NodePort" "$(probe client "$address" "$port")" '^answer'
  done
done

for signal in TERM KILL; do
  step "the same after SIG$signal"
  cluster_kill sluiced-node-a $signal
  cluster_agent node-a "$MANIFESTS" "${cidr[@]}"
  expect_equal 'frontends' "$(frontends)" "$given"
done

step 'two claim one NodePort and one ClusterIP'
claim() {
  service "$1" NodePort TCP 80 31234 10.96.0.99 fd00:10:96::99 |
    sed "s/namespace: default}/namespace: default, creationTimestamp: \"$2\"}/"
}
claim younger 2026-02-02T00:00:00Z | manifest younger.yaml
slices younger TCP 8080 b1 | manifest younger-endpoints.yaml
in_force
claim older 2026-01-01T00:00:00Z | manifest older.yaml
slices older TCP 8080 a1 | manifest older-endpoints.yaml
in_force
expect_match 'the older has the NodePort' \
  "$(probe client "${CLUSTER_V4[node-a]}" 31234)" '^answer a1'
expect_match 'and the ClusterIP' "$(probe a2 10.96.0.99 80)" '^answer a1'
status=$(cluster_ctl node-a -o json status || true)
expect_match 'both are named' "$(json 'str(d["problems"]) + str(d["conflicts"])' <<<"$status")" \
  'younger.*older|older.*younger'
rm "$MANIFESTS"/older*.yaml
in_force
expect_match 'when the older goes, the other has them' \
  "$(probe client "${CLUSTER_V4[node-a]}" 31234)" '^answer b1'
