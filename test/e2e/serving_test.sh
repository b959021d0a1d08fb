#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What monitors and load balancers ask of a node: health as kube-proxy answers it, also while the
# agent is restarted; the ports of Services with healthCheckNodePort; metrics that Prometheus takes.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

# ask <address:port> <path>: "<code> <weight> <body in one line>", or "refused".
ask() {
  cluster_in node-a python3 -c '
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen("http://" + sys.argv[1] + sys.argv[2], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except OSError:
    print("refused")
    sys.exit()
weight = answer.headers.get("X-Load-Balancing-Endpoint-Weight", "-")
print(answer.status, weight, " ".join(answer.read().decode().split()))' "$1" "$2"
}

# answers <address:port> <path> <extended regular expression>
answers() {
  [[ $(ask "$1" "$2") =~ $3 ]]
}

# Asks for as long as it runs, and counts what was not 200.
probe_start() {
  cluster_spawn probe node-a python3 -u -c '
import os, signal, sys, urllib.request
asked = failed = kept = 0
def end(*_):
    print("{\"asked\": %d, \"failed\": %d, \"kept\": %d}" % (asked, failed, kept))
    os._exit(0)  # an exception that comes in the middle of a destructor would be lost
signal.signal(signal.SIGTERM, end)
print("running")
while True:
    for target in sys.argv[1:]:
        asked += 1
        try:
            kept += "Age" in urllib.request.urlopen("http://" + target, timeout=5).headers
        except OSError as error:
            failed += 1
            print(target, error)' "$@"
  cluster_await_log probe running
}

# The agent and not its keeper.
answers_itself() {
  cluster_in node-a python3 -c '
import urllib.request
assert "Age" not in urllib.request.urlopen("http://127.0.0.1:10256/healthz").headers' 2>/dev/null
}

metric() {
  ask 127.0.0.1:10249 /metrics >/dev/null
  cluster_in node-a python3 -c '
import sys, urllib.request
for line in urllib.request.urlopen("http://127.0.0.1:10249/metrics"):
    name, _, value = line.decode().rpartition(" ")
    if name == sys.argv[1]:
        print(value.strip())' "$1"
}

metric_is() {
  [[ $(metric "$1") == "$2" ]]
}

lb() {
  service lb LoadBalancer TCP 80 30081 10.96.0.81 fd00:10:96::81 \
    'externalTrafficPolicy: Local' "healthCheckNodePort: $1" | manifest lb.yaml
}

open_cluster
cluster_serve a1
usual_manifests a1
lb 30999
slices lb TCP 8080 a1 b1 | manifest lb-endpoints.yaml
cluster_agent node-a "$MANIFESTS" --metrics-backends 3

step 'health, as kube-proxy says it'
expect_match /healthz "$(ask 127.0.0.1:10256 /healthz)" \
  '^200 .*"nodeEligible": true.*"healthy": true'
expect_match 'over IPv6' "$(ask '[::1]:10256' /livez)" '^200 .*"IPv6": \{ "lastUpdated"'
expect_match 'another path' "$(ask 127.0.0.1:10256 /other)" '^404'
expect_equal 'of the metrics server' "$(ask 127.0.0.1:10249 /healthz)" '200 - ok'
expect_equal 'the mode' "$(ask 127.0.0.1:10249 /proxyMode)" '200 - ebpf'
expect_match 'the configuration' "$(ask 127.0.0.1:10249 /configz)" \
  '"kubeproxy.config.k8s.io":\{.*"MetricsBindAddress":"127.0.0.1:10249"'

step 'a health check port'
body='\{ "service": \{ "namespace": "default", "name": "lb" \}, "localEndpoints": 1,'
expect_match 'one of two endpoints is here' "$(ask "${CLUSTER_V4[node-a]}:30999" /)" \
  "^200 1 $body \"serviceProxyHealthy\": true \}\$"
slices lb TCP 8080 a1:terminating b1 | manifest lb-endpoints.yaml
eventually 'a terminating endpoint does not count' answers 127.0.0.1:30999 / '^503 0 '
slices lb TCP 8080 a1 a2 b1 | manifest lb-endpoints.yaml
eventually 'two endpoints' answers 127.0.0.1:30999 / '^200 2 '
cluster_spawn busy node-a python3 -u -c '
import socket, time
server = socket.create_server(("0.0.0.0", 30998))
print("busy")
time.sleep(1000)'
cluster_await_log busy busy
lb 30998
cluster_await_log sluiced-node-a 'failed to start healthcheck "default/lb" on port 30998'
eventually 'the old port is closed' answers 127.0.0.1:30999 / refused
lb 30997
eventually 'the new port' answers 127.0.0.1:30997 / '^200 2 '

step 'metrics'
cluster_in node-a python3 -c '
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:10249/metrics").read().decode())' \
  >"$CLUSTER_DIR/metrics"
found=$(promtool check metrics <"$CLUSTER_DIR/metrics" 2>&1) || fail "promtool: $found"
expect_match 'a request was counted' "$(probe a2 $WEB4 80)" '^answer'
labels='namespace="default",service="web",port="main",protocol="TCP"'
opened=$(metric "sluice_service_opened_total{$labels}")
expect_equal 'opened' "$((opened > 0))" 1
series=$(grep -c '^sluice_backend_opened_total{' "$CLUSTER_DIR/metrics")
expect_equal 'series of backends' "$series" 3
trigger=endpoints.kubernetes.io/last-change-trigger-time
now=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
programmed='kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}'
expect_equal 'none without the annotation' "$(metric "$programmed")" 0
slices lb TCP 8080 a1 b1 |
  sed "s|^  labels:|  annotations: {$trigger: \"$now\"}\n&|" |
  manifest lb-endpoints.yaml
eventually 'programming latency' metric_is "$programmed" 1
expect_equal 'nothing waits' "$(metric kubeproxy_sync_proxy_rules_endpoint_changes_pending)" 0

step 'a POST without a body'
answer=$(python3 -c '
import socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
agent.sendall(b"POST /v1/sync?timeoutMs=5000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
print(agent.recv(1000).decode().split("\r\n")[0])' "$CLUSTER_DIR/state-node-a/sluiced.sock")
expect_match 'is taken' "$answer" '^HTTP/1.1 200 '

step 'a node that the autoscaler is about to remove'
taint='{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}'
nodes | sed "s/^metadata: {name: node-a}/&\nspec: {taints: [$taint]}/" | manifest nodes.yaml
eventually 'is not healthy' answers 127.0.0.1:10256 /healthz '^503 .*"nodeEligible": false'
expect_match 'its proxy is' "$(ask 127.0.0.1:10256 /livez)" '^200'
nodes | manifest nodes.yaml
eventually 'stays' answers 127.0.0.1:10256 /healthz '^200'

step 'answers go on while the agent is killed and restarted'
for signal in KILL TERM; do
  probe_start 127.0.0.1:10256/healthz 127.0.0.1:30997/
  cluster_kill sluiced-node-a "$signal"
  expect_match 'the last state' "$(ask 127.0.0.1:10256 /healthz)" '^200'
  cluster_agent node-a "$MANIFESTS"
  cluster_kill probe
  counts=$(tail -n 1 "$CLUSTER_DIR/probe.log")
  printf '   SIG%s: %s\n' "$signal" "$counts"
  [[ $signal == KILL ]] || expect_equal 'failed' "$(json 'd["failed"]' <<<"$counts")" 0
  # A check that was being answered when the process was killed is lost; none is refused.
  expect_equal 'refused' "$(grep -c 'Connection refused' "$CLUSTER_DIR/probe.log" || true)" 0
  expect_equal 'some were the keeper'\''s' "$(json 'd["kept"] > 0' <<<"$counts")" True
  eventually 'the agent answers itself' answers_itself
done

step 'and end when none comes back'
cluster_kill sluiced-node-a
expect_match 'at first' "$(ask 127.0.0.1:10256 /healthz)" '^200'
silent() {
  answers 127.0.0.1:10256 /healthz refused
}
eventually 'after ten seconds' silent
