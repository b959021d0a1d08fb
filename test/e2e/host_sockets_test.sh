#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The node's own processes reach services (--socket-lb host): TCP and UDP, in both families, by
# ClusterIP and NodePort, also on loopback; sockets of pods are left to the programs on interfaces.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'
sockets() {
  local from=$1
  shift
  cluster_in "$from" python3 "$CLUSTER_E2E/sockets.py" "$@"
}
opened() {
  cluster_ctl node-a -o json service show "default/$1" | json 'sum(s["stats"]["opened"] for s in d)'
}

usual_manifests a1 a2 b1 b2
# An endpoint of its own: answers of one that two services share tell not for which it was asked.
{ service second ClusterIP UDP 53 - 10.96.0.54 fd00:10:96::54 && slices second UDP 5353 b2; } |
  manifest second.yaml
service empty ClusterIP TCP 80 - 10.96.0.90 fd00:10:96::90 | manifest empty.yaml
{ service near ClusterIP TCP 80 - 10.96.0.91 fd00:10:96::91 'internalTrafficPolicy: Local' &&
  slices near TCP 8080 b1; } | manifest near.yaml
agent() {
  cluster_agent node-a "$MANIFESTS" "$@"  # of two flags, the last counts
}

step 'without the programs they reach nothing'
agent --socket-lb off
expect_equal 'connect()' "$(probe node-a $WEB4 80 --timeout 1)" timeout
expect_match 'trace says why' "$(cluster_ctl node-a trace --hook host --src 127.0.0.1 \
  --dst $WEB4:80 --protocol tcp 2>&1 || true)" 'sluiced --socket-lb host'
cluster_kill sluiced-node-a

step 'TCP to a ClusterIP'
agent --socket-lb host
expect_equal 'said by status' \
  "$(cluster_ctl node-a -o json status | json 'd["features"]["hostSockets"]')" True
before=$(opened web)
for web in $WEB4 $WEB6; do
  spread node-a "$web" 80 1000 a1,a2,b1,b2
  expect_equal 'getpeername() tells the service' \
    "$(sockets node-a peer "$web" 80 | json 'd["peer"]')" "$web 80"
done
expect_equal 'counted' "$(($(opened web) - before))" $((2002 + SPREAD_AGAIN[tcp]))
expect_equal 'a mapped address' "$(sockets node-a peer $WEB4 80 --mapped | json 'd["peer"]')" \
  "::ffff:$WEB4 80"

step 'session affinity: bound to one endpoint in each family'
usual_manifests a1 a2 b1 b2 'sessionAffinity: ClientIP'
in_force
first6=$(probe node-a $WEB6 80) first4=$(probe node-a $WEB4 80)
for _ in 1 2 3; do
  expect_equal 'IPv6' "$(probe node-a $WEB6 80)" "$first6"
  expect_equal 'IPv4' "$(probe node-a $WEB4 80)" "$first4"
done
expect_match 'IPv6 is answered' "$first6" '^answer '
expect_match 'IPv4 is answered' "$first4" '^answer '
usual_manifests a1 a2 b1 b2
in_force

step 'NodePort: on each address of the node, and on loopback'
for at in "${CLUSTER_V4[node-a]}" "${CLUSTER_V6[node-a]}" 127.0.0.1 127.8.8.8 ::1; do
  expect_match "$at" "$(probe node-a "$at" 30080)" '^answer '
  expect_match "$at, UDP" "$(probe node-a "$at" 30053 --protocol udp)" '^answer '
done
expect_equal 'loopback has no ClusterIP port' "$(probe node-a 127.0.0.1 80)" refused

step 'UDP: connected, and one socket that asks several services'
for echo in $ECHO4 $ECHO6; do
  spread node-a "$echo" 53 500 a1,a2,b1,b2 --protocol udp
done
echo_on a1 a2 b1 && in_force
expect_match 'IPv4' \
  "$(sockets node-a resolver $ECHO4 53 10.96.0.54 53 | json '" ".join(d["answers"])')" \
  '^10\.96\.0\.53 53 (..) 10\.96\.0\.53 53 \1 10\.96\.0\.54 53 b2 10\.96\.0\.54 53 b2$'
expect_match 'IPv6' \
  "$(sockets node-a resolver $ECHO6 53 fd00:10:96::54 53 | json '" ".join(d["answers"])')" \
  '^fd00:10:96::53 53 (..) fd00:10:96::53 53 \1 fd00:10:96::54 53 b2 fd00:10:96::54 53 b2$'

step 'refused at once, with an error that says why'
error() {
  sockets node-a peer "$@" | json 'd["error"]'
}
expect_equal 'no endpoint' "$(error 10.96.0.90 80)" ECONNREFUSED
expect_equal 'no endpoint, IPv6' "$(error fd00:10:96::90 80)" ECONNREFUSED
expect_equal 'a port that the service does not have' "$(error $WEB4 81)" ECONNREFUSED
expect_equal 'policy Local, none here' "$(error 10.96.0.91 80)" EHOSTUNREACH
expect_equal 'counted' "$(dropped no_backend) $(dropped no_local_backend)" '2 1'
# As getaddrinfo() does it to find the source address that would be used: nothing is sent.
expect_equal 'a UDP socket that only asks for its own address' "$(cluster_in node-a python3 -c '
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    asker.connect((sys.argv[1], 9))
    print(asker.getsockname()[0])' $WEB4)" "${CLUSTER_V4[node-a]}"

step 'trace says the same, and leaves nothing'
before="$(opened web) $(dropped no_backend)"
trace() {
  cluster_ctl node-a -o json trace --hook host --src "${CLUSTER_V4[node-a]}" --dst "$1" \
    --protocol tcp --count "${2:-1}" | json "$3"
}
expect_equal 'forward' "$(trace $WEB4:80 200 \
  'sorted({(t["verdict"], t["service"], t["frontendKind"], t["backend"]) for t in d})')" \
  "$(python3 -c 'import sys; print(sorted(("forward", "default/web:main", "ClusterIP", one)
    for one in sys.argv[1:]))' "${CLUSTER_V4[a1]}:8080" "${CLUSTER_V4[a2]}:8080" \
    "${CLUSTER_V4[b1]}:8080" "${CLUSTER_V4[b2]}:8080")"
verdict='d[0]["verdict"] + " " + d[0]["reason"]'
expect_equal 'no endpoint' "$(trace 10.96.0.90:80 1 "$verdict")" 'reject no_backend'
expect_equal 'policy Local' "$(trace 10.96.0.91:80 1 "$verdict")" 'drop no_local_backend'
expect_equal 'no service' "$(trace "${CLUSTER_V4[a1]}:8080" 1 "$verdict")" 'none '
expect_equal 'nothing counted' "$(opened web) $(dropped no_backend)" "$before"

step 'an address that passes to another service takes its unconnected sockets with it'
{ service second ClusterIP UDP 53 - 10.96.0.54 fd00:10:96::54 'externalIPs: [198.51.100.77]' &&
  slices second UDP 5353 b2; } | manifest second.yaml
in_force
mkfifo "$CLUSTER_DIR/asker.in"
sockets node-a ask 198.51.100.77 53 <"$CLUSTER_DIR/asker.in" >"$CLUSTER_DIR/asker.log" 2>&1 &
CLUSTER_PIDS[asker]=$!
exec 9>"$CLUSTER_DIR/asker.in"
echo >&9
cluster_await_log asker '^b2$'
{ service second ClusterIP UDP 53 - 10.96.0.54 fd00:10:96::54 && slices second UDP 5353 b2; } |
  manifest second.yaml
{ service third ClusterIP UDP 53 - 10.96.0.57 fd00:10:96::57 'externalIPs: [198.51.100.77]' &&
  slices third UDP 5353 a1; } | manifest third.yaml
in_force
echo >&9
cluster_await_log asker '^a1$'
exec 9>&-

step 'endpoints come and go'
web_on b2 && echo_on b1 && in_force
spread node-a $WEB4 80 100 b2
spread node-a $ECHO4 53 100 b1 --protocol udp

step 'sockets of pods are left to the programs on their interfaces'
packets() {
  cluster_ctl node-a -o json service show default/web | json 'd[0]["stats"]["packetsIn"]'
}
before=$(packets)
expect_match 'answers' "$(probe a1 $WEB4 80)" '^answer b2'
[[ $(packets) -gt $before ]] || fail 'no packet of the pod was seen'

step 'restart, stop, crash'
cluster_kill sluiced-node-a
expect_match 'while it is stopped' "$(probe node-a $WEB4 80)" '^answer b2'
agent --socket-lb host
expect_match 'restarted' "$(probe node-a $WEB4 80)" '^answer b2'
cluster_kill sluiced-node-a KILL
expect_match 'after a crash' "$(probe node-a $WEB6 80)" '^answer b2'
agent --socket-lb off
expect_equal 'switched off' "$(probe node-a $WEB4 80 --timeout 1)" timeout
cluster_kill sluiced-node-a

step 'a folder that is no cgroup: pods are served all the same, and status says what is missing'
agent --socket-lb host --cgroup "$CLUSTER_DIR"
expect_match 'said' "$(cluster_ctl node-a -o json status | json '" ".join(d["degraded"])')" \
  "--socket-lb host: $CLUSTER_DIR: not a cgroup v2 folder"
expect_match 'a pod' "$(probe a1 $WEB4 80)" '^answer b2'
cluster_kill sluiced-node-a

step 'cleanup takes the programs off'
agent --socket-lb host
cluster_kill sluiced-node-a
links() {
  bpftool cgroup show "$(cluster_cgroup node-a)" | grep -c sl_ || true
}
expect_equal 'before' "$(links)" 9
cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a" || fail 'cleanup'
expect_equal 'after' "$(links)" 0
