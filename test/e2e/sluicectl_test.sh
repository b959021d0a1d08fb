#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What scripts rely on: exit codes, and the JSON fields of each command, with and without an agent.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"
for _ in {1..3}; do
  expect_match 'traffic' "$(probe a2 $WEB4 80)" '^answer'
done

# code <wanted> <arguments...>
code() {
  local wanted=$1 got=0
  shift
  cluster_ctl node-a "$@" >"$CLUSTER_DIR/out" 2>&1 || got=$?
  [[ $got == "$wanted" ]] ||
    fail "sluicectl $*: exit code $got, not $wanted: $(cat "$CLUSTER_DIR/out")"
}

# fields <wanted, sorted> <expression> <arguments...>
fields() {
  local wanted=$1 expression=$2
  shift 2
  expect_equal "fields of $*: $expression" \
    "$(cluster_ctl node-a -o json "$@" | json "' '.join(sorted($expression))")" "$wanted"
}

step 'fields'
fields 'backends frontends name namespace portName protocol stats type' 'd[0]' service list
fields 'address kind port' 'd[0]["frontends"][0]' service list
fields 'address connections node port state' 'd[0]["backends"][0]' service list
fields 'bytesIn bytesOut dropped opened packetsIn packetsOut rejected' \
  'set(d[0]["stats"]) - {"failed"}' service list
fields 'backends frontends name namespace notes portName problems protocol stats type' 'd[0]' \
  service show default/web
fields 'backend frontendKind reason service source verdict' 'd[0]' \
  trace --hook pod --src "${CLUSTER_V4[a2]}" --dst "$WEB4:80" --protocol tcp

step 'values'
web=$(cluster_ctl node-a -o json service list |
  json '[one for one in d if one["name"] == "web"][0]')
value() {
  python3 -c 'import sys; d = eval(sys.argv[1]); print(eval(sys.argv[2]))' "$web" "$1"
}
expect_equal 'identity' \
  "$(value '[d[key] for key in ("namespace", "name", "portName", "protocol", "type")]')" \
  "['default', 'web', 'main', 'TCP', 'NodePort']"
expect_equal 'ClusterIPs' \
  "$(value 'sorted(f["address"] for f in d["frontends"] if f["kind"] == "ClusterIP")')" \
  "['$WEB4', '$WEB6']"
expect_equal 'NodePorts' "$(value \
  'sorted((f["address"], f["port"]) for f in d["frontends"] if f["kind"] == "NodePort")')" \
  "[('${CLUSTER_V4[node-a]}', 30080), ('${CLUSTER_V6[node-a]}', 30080)]"
wanted=$(python3 -c '
import sys
print(sorted((address, 8080, node, "ready")
             for address, node in zip(sys.argv[1::2], sys.argv[2::2])))' \
  "${CLUSTER_V4[a1]}" node-a "${CLUSTER_V4[b1]}" node-b \
  "${CLUSTER_V6[a1]}" node-a "${CLUSTER_V6[b1]}" node-b)
expect_equal 'backends' \
  "$(value 'sorted((b["address"], b["port"], b["node"], b["state"]) for b in d["backends"])')" \
  "$wanted"
expect_equal 'opened' "$(value 'd["stats"]["opened"]')" 3
expect_equal 'bytes both ways' \
  "$(value 'd["stats"]["bytesIn"] > 0 and d["stats"]["bytesOut"] > 0')" True

step 'every command in every format'
expect_match 'traffic' "$(probe a2 $WEB4 80)" '^answer'
expect_match 'connections' "$(cluster_ctl node-a conntrack list)" "${CLUSTER_V4[a2]}"
for command in status 'service list' 'backend list' 'conntrack list' drops maps interfaces \
  'service show default/web'; do
  read -ra words <<<"$command"
  for format in table json yaml; do
    code 0 -o $format "${words[@]}"
    [[ -s $CLUSTER_DIR/out ]] || fail "sluicectl -o $format $command says nothing"
  done
  cluster_ctl node-a -o json "${words[@]}" | json 'd is not None' >/dev/null ||
    fail "$command: no JSON"
done

step 'exit codes'
code 0 sync --timeout 10s
code 2 no-such-command
code 2 -o xml status
code 2 trace --hook pod --src nonsense --dst "$WEB4:80" --protocol tcp
code 1 service show default/nobody
code 0 conntrack flush
expect_equal 'flushed' "$(cluster_ctl node-a -o json service list |
  json 'sum(b["connections"] for one in d for b in one["backends"])')" 0

step 'without an agent'
cluster_kill sluiced-node-a
code 2 status
expect_match 'status says so' "$(cat "$CLUSTER_DIR/out")" 'not running'
code 1 sync --timeout 1s
for command in maps drops 'service list' 'backend list'; do
  read -ra words <<<"$command"
  code 0 "${words[@]}"
  expect_match "$command says so" "$(cat "$CLUSTER_DIR/out")" '[Nn]o agent|not running'
done
expect_equal 'counters are still there' "$(cluster_ctl node-a -o json service list 2>/dev/null |
  json 'sum(one["stats"]["opened"] for one in d)')" 4
expect_match 'and answers still come' "$(probe a2 $WEB4 80)" '^answer'
