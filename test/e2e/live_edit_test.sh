#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A change of the manifests is live at once, without being asked for: files rewritten in place,
# renamed over, added to, deleted, kind: List, JSON; a single file as well as a folder.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests a1
cluster_agent node-a "$MANIFESTS"

# answered_by <backend...>: exactly these answer now; asked without `sluicectl sync`.
answered_by() {
  local now
  now=$(traffic a2 spread "$WEB4:80" --count 40 --timeout 1 | json '" ".join(d["backends"])')
  [[ $now == "$*" ]]
}

step 'renamed over'
web_on b1
eventually 'b1 alone' answered_by b1
step 'in place'
slices web TCP 8080 a1 a2 >"$MANIFESTS/web-endpoints.yaml"
eventually 'a1 and a2' answered_by a1 a2
step 'appended to'
slices extra TCP 8080 b1 | sed 's/service-name: extra/service-name: web/' \
  >>"$MANIFESTS/web-endpoints.yaml"
eventually 'a second slice' answered_by a1 a2 b1
step 'deleted'
rm "$MANIFESTS/web-endpoints.yaml"
eventually 'nobody' answered_by
step 'kind: List, in JSON'
python3 - "${CLUSTER_V4[a2]}" <<'PY' | manifest web-endpoints.json
import json, sys
print(json.dumps({"apiVersion": "v1", "kind": "List", "items": [{
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": "web-json", "namespace": "default",
                 "labels": {"kubernetes.io/service-name": "web"}},
    "ports": [{"name": "main", "port": 8080, "protocol": "TCP"}],
    "endpoints": [{"addresses": [sys.argv[1]], "nodeName": "node-a"}]}]}))
PY
eventually 'a2 alone' answered_by a2
step 'an editor that keeps a backup'
cp "$MANIFESTS/web-endpoints.json" "$MANIFESTS/web-endpoints.json~"
sed "s/${CLUSTER_V4[a2]}/${CLUSTER_V4[a1]}/" "$MANIFESTS/web-endpoints.json~" >"$MANIFESTS/.web.swp"
mv "$MANIFESTS/.web.swp" "$MANIFESTS/web-endpoints.json"
eventually 'a1 alone' answered_by a1

step 'a single file instead of a folder'
# one_file <pod>: everything, with that backend.
one_file() {
  cat "$MANIFESTS/nodes.yaml"
  echo ---
  cat "$MANIFESTS/web.yaml"
  slices web TCP 8080 "$1"
}
one_file b1 >"$CLUSTER_DIR/one.yaml"
cluster_kill sluiced-node-a
cluster_agent node-a "$CLUSTER_DIR/one.yaml"
eventually 'b1 alone' answered_by b1
one_file a2 >"$CLUSTER_DIR/one.new"
mv "$CLUSTER_DIR/one.new" "$CLUSTER_DIR/one.yaml"
eventually 'a2 alone' answered_by a2
