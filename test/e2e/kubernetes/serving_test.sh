#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the agent tells others when the API is its source: Events about the Node and a Service, the
# Node's eligibility, metrics of the watches; and a keeper that runs beside the agent, as in the
# DaemonSet, answers health checks while it restarts.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

# events <reason>: what the API was told, one JSON object a line.
events() {
  if [[ $API == fake ]]; then
    api_control GET requests | python3 -c '
import json, sys
for request in json.load(sys.stdin):
    if request["verb"] == "create" and request["resource"] == "events" and request["code"] == 201:
        event = json.loads(request["body"])
        if event["reason"] == sys.argv[1]:
            print(json.dumps(event))' "$1"
  else
    api_get /apis/events.k8s.io/v1/events | python3 -c '
import json, sys
for event in json.load(sys.stdin)["items"]:
    if event["reason"] == sys.argv[1] and event["reportingController"] == "sluiced":
        print(json.dumps(event))' "$1"
  fi
}

told() {
  [[ -n $(events "$1") ]]
}

answer() {
  cluster_in node-a curl -s -m 5 -o "$CLUSTER_DIR/answer" -D "$CLUSTER_DIR/head" \
    -w '%{http_code}' "http://127.0.0.1:$1"
}

answers() {
  [[ $(answer "$1") == "$2" ]]
}

kept() {
  answer 10256/healthz >/dev/null && grep -qi '^age:' "$CLUSTER_DIR/head"
}

not_kept() {
  answers 10256/healthz 200 && ! grep -qi '^age:' "$CLUSTER_DIR/head"
}

taints() {
  nodes | sed "s/^metadata: {name: node-a}/&\nspec: {taints: [$1]}/" | manifest nodes.yaml
  api_apply
}

open_api_cluster
cluster_serve a1
api_nodes
usual_manifests a1 "$DUAL"
api_apply
cluster_spawn keeper node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --keep-health=forever \
  --state-dir "$CLUSTER_DIR/state-node-a"
keeper_listens() {
  [[ -S $CLUSTER_DIR/state-node-a/health-keeper.sock ]]
}
eventually 'the keeper listens' keeper_listens
api_agent node-a --health-keeper=beside

step 'the Node is told of the start'
eventually 'an Event' told Starting
event=$(events Starting | head -n 1)
expect_equal 'about' "$(json 'd["regarding"]["kind"] + " " + d["regarding"]["name"]' <<<"$event")" \
  'Node node-a'
expect_equal 'action' "$(json 'd["action"]' <<<"$event")" StartKubeProxy

step 'and a Service of a port that cannot be opened'
cluster_spawn busy node-a python3 -u -c '
import socket, time
server = socket.create_server(("0.0.0.0", 30998))
print("busy")
time.sleep(1000)'
cluster_await_log busy busy
service lb LoadBalancer TCP 80 30081 10.96.0.81 fd00:10:96::81 "$DUAL" \
  'externalTrafficPolicy: Local' 'healthCheckNodePort: 30998' | manifest lb.yaml
slices lb TCP 8080 a1 | manifest lb-endpoints.yaml
api_apply
eventually 'an Event' told FailedToStartServiceHealthcheck
event=$(events FailedToStartServiceHealthcheck | head -n 1)
expect_equal 'about' \
  "$(json '" ".join(d["regarding"][key] for key in ("kind", "namespace", "name"))' <<<"$event")" \
  'Service default lb'
expect_match 'note' "$(json 'd["note"]' <<<"$event")" \
  'node node-a failed to start healthcheck "default/lb" on port 30998: .*in use'
cluster_kill busy
eventually 'the port is opened when it is free' answers 30998/ 200

step 'metrics of the watches'
answers 10249/metrics 200 || fail 'no metrics'
found=$(promtool check metrics <"$CLUSTER_DIR/answer" 2>&1) || fail "promtool: $found"
for metric in 'sluice_watch_connected{resource="services"} 1' \
  'sluice_watch_lists_total{resource="endpointslices"} 1' \
  'sluice_watch_restarts_total{resource="nodes"} 0'; do
  grep -qF "$metric" "$CLUSTER_DIR/answer" || fail "no $metric"
done
grep -q '^sluice_watch_lag_seconds{resource="nodes"} [0-9]' "$CLUSTER_DIR/answer" || fail 'no lag'

step 'a node that is to be removed'
taints '{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}'
eventually 'is not healthy' answers 10256/healthz 503
expect_equal 'its proxy is' "$(answer 10256/livez)" 200
taints ''
eventually 'stays' answers 10256/healthz 200

step 'the keeper beside'
cluster_kill sluiced-node-a KILL
expect_equal 'answers' "$(answer 10256/healthz)" 200
kept || fail 'who answers?'
expect_equal 'for Services too' "$(answer 30998/)" 200
api_agent node-a --health-keeper=beside
eventually 'the agent answers itself' not_kept
cluster_alive keeper || fail 'the keeper ended'
