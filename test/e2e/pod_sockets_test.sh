#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TCP of pods gets its backend at connect() (--socket-lb on, the default): no packet is rewritten,
# and what the connections carry is counted all the same, to the byte. UDP of pods, raw sockets and
# what the node's cgroup does not hold go through the programs on interfaces.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'
for pod in a1 a2 b1 b2; do  # data in a SYN without a cookie, of all listeners
  ip netns exec "$CLUSTER-$pod" sysctl -qw net.ipv4.tcp_fastopen=$((0x607))
done
head -c 1000 /dev/zero >"$CLUSTER_DIR/files/down-1000"
head -c 3000000 /dev/zero >"$CLUSTER_DIR/files/down-3000000"

usual_manifests a1 a2 b1 b2
service empty ClusterIP TCP 80 - 10.96.0.90 fd00:10:96::90 | manifest empty.yaml
{ service near ClusterIP TCP 80 - 10.96.0.91 fd00:10:96::91 'internalTrafficPolicy: Local' &&
  slices near TCP 8080 b1; } | manifest near.yaml
cluster_agent node-a "$MANIFESTS"
expect_equal 'said by status' "$(cluster_ctl node-a -o json status |
  json '(d["features"]["podSockets"], d["features"]["hostSockets"])')" '(True, True)'

connections() {
  local from=$1
  shift
  cluster_in "$from" python3 "$CLUSTER_E2E/connections.py" "$@"
}
# shown <expression>: of the service web.
shown() {
  cluster_ctl node-a -o json service show default/web | json "$1"
}
counts='" ".join(str(d[0]["sockets"][key]) for key in
  ("established", "open", "failed", "closed", "reset", "bytesIn", "bytesOut"))'
flows() {
  cluster_ctl node-a -o json conntrack list | json "len(d)"
}

step 'every way to open and to end a connection, from pods and from the node: each byte is counted'
declare -i made=0 reset=0 sent=0 received=0
add() {
  local count=$1 what=$2 result
  shift 2
  result=$(connections "$@")
  expect_equal "$what" "$(json '(d["connections"], d["failed"], d["errors"])' <<<"$result")" \
    "($count, 0, {})"
  made+=count
  sent+=$(json 'd["sent"]' <<<"$result")
  received+=$(json 'd["received"]' <<<"$result")
}
for web in $WEB4 $WEB6; do
  for how in plain bound nonblocking fastopen; do
    add 200 "a1 to $web, $how" a1 "$web" 80 200 --open "$how" --expect-peer "$web"
    reset+=50
  done
  add 40 "a1 to $web, much" a1 "$web" 80 40 --down 3000000 --end server
  add 40 "a1 sends to $web" a1 "$web" 80 40 --up 2000000 --end client --concurrency 4
  add 200 "the node to $web" node-a "$web" 80 200 --down 1000 --expect-peer "$web"
  reset+=50
done
add 200 'mapped' a2 $WEB4 80 200 --open mapped --expect-peer "::ffff:$WEB4"
reset+=50
for at in "${CLUSTER_V4[node-a]}" "${CLUSTER_V6[node-a]}"; do
  add 20 "a pod to a NodePort, $at" a1 "$at" 30080 20 --end client --expect-peer "$at"
done
for at in 127.0.0.1 ::1; do
  add 20 "the node to a NodePort, $at" node-a "$at" 30080 20 --end client --expect-peer "$at"
done
all_ended() {
  [[ $(shown 'd[0]["sockets"]["open"]') == 0 ]]
}
eventually 'all have ended' all_ended
expect_equal 'established, open, failed, closed, reset, bytes in and out' "$(shown "$counts")" \
  "$made 0 0 $((made - reset)) $reset $sent $received"
expect_equal 'the counters of the service have the same' \
  "$(shown '" ".join(str(d[0]["stats"][key]) for key in ("opened", "bytesIn", "bytesOut"))')" \
  "$made $sent $received"
expect_equal 'and its backends together' \
  "$(shown '" ".join(str(sum(b.get("sockets", {}).get(key, 0) for b in d[0]["backends"])) for key in
    ("established", "bytesIn", "bytesOut"))')" "$made $sent $received"
expect_equal 'connect times are there, in order' "$(shown '(lambda t:
  0 < t["p50"] <= t["p90"] <= t["p99"] and t["mean"] > 0)(
  d[0]["sockets"]["connectMicroseconds"])')" True
expect_equal 'no packet was rewritten' "$(flows)" 0
cluster_in node-a curl -sS http://127.0.0.1:10249/metrics >"$CLUSTER_DIR/metrics"
expect_equal 'the metrics say the same' \
  "$(sed -n 's/^sluice_service_socket_established_total{.*} //p' \
    "$CLUSTER_DIR/metrics")" "$made"
expect_equal 'quantiles of the connect time' \
  "$(grep -c '^sluice_service_socket_connect_seconds{.*quantile="0.\(5\|9\|99\)"}' \
    "$CLUSTER_DIR/metrics")" 3
promtool check metrics <"$CLUSTER_DIR/metrics" || fail 'promtool'

step 'evenly, in both families'
for web in $WEB4 $WEB6; do
  spread a1 "$web" 80 1000 a1,a2,b1,b2
done
expect_equal 'no flow' "$(flows)" 0

step 'curl by name of the service'"'"'s address'
expect_match 'curl' "$(cluster_in a1 curl -sS --max-time 5 "http://$WEB4/")" '^(a|b)[12] '
expect_match 'curl, IPv6' "$(cluster_in a1 curl -sS --max-time 5 "http://[$WEB6]/")" '^(a|b)[12] '

step 'counted while it is open, and once only'
before=$(shown 'd[0]["sockets"]["bytesOut"]')
hold long a1 "$WEB4:80"
expect_match 'a request' "$(ask long)" '^answer'
between=$(shown 'd[0]["sockets"]["bytesOut"]')
[[ $between -gt $before ]] || fail 'the answer is not counted'
expect_equal 'open' "$(shown 'd[0]["sockets"]["open"]')" 1
expect_equal 'as a connection of its backend' \
  "$(shown 'sum(b["connections"] for b in d[0]["backends"])')" 1
for _ in 1 2 3; do
  expect_equal 'looked at again' "$(shown 'd[0]["sockets"]["bytesOut"]')" "$between"
done
cluster_kill long
eventually 'it ends' all_ended

step 'refused at once'
error() {
  connections "$@" 1 --timeout 2 | json '" ".join(d["errors"])'
}
expect_equal 'no endpoint' "$(error a1 10.96.0.90 80)" ECONNREFUSED
expect_equal 'no endpoint, IPv6' "$(error a1 fd00:10:96::90 80)" ECONNREFUSED
expect_equal 'policy Local, none here' "$(error a1 10.96.0.91 80)" EHOSTUNREACH
expect_equal 'a port that the service does not have' "$(error a1 $WEB4 81)" ECONNREFUSED
expect_equal "a pod's loopback is its own" "$(error a1 127.0.0.1 30080)" ECONNREFUSED

step 'not through sockets: UDP, raw sockets, and who is not in the cgroup'
spread a1 $ECHO4 53 200 a1,a2,b1,b2 --protocol udp
[[ $(flows) -gt 0 ]] || fail 'datagrams of pods should be looked at one by one'
before=$(shown 'd[0]["sockets"]["established"]')
expect_equal 'a SYN of a raw socket is answered by the service' "$(cluster_in a1 \
  python3 "$CLUSTER_E2E/sockets.py" raw "${CLUSTER_V4[a1]}" $WEB4 80)" \
  "{\"from\": \"$WEB4 80\", \"flags\": 18}"
CLUSTER_GROUPED=
spread a1 $WEB4 80 200 a1,a2,b1,b2
CLUSTER_GROUPED=1
expect_equal 'seen as packets' "$(shown 'd[0]["sockets"]["established"]')" "$before"
[[ $(shown 'd[0]["stats"]["opened"]') -gt $((before + 199)) ]] || fail 'not counted'

step 'session affinity: one endpoint'
usual_manifests a1 a2 b1 b2 'sessionAffinity: ClientIP'
in_force
for from in a1 a2 node-a; do
  traffic "$from" spread "$WEB4:80" --count 100 | json 'len(d["backends"])' >"$CLUSTER_DIR/used"
  expect_equal "$from" "$(<"$CLUSTER_DIR/used")" 1
done
usual_manifests a1 a2 b1 b2
in_force

step 'source ranges are asked of packets, which have an address'
{ service guarded LoadBalancer TCP 80 - 10.96.0.95 fd00:10:96::95 \
  "loadBalancerSourceRanges: [${CLUSTER_V4[a1]}/32]" &&
  printf 'status: {loadBalancer: {ingress: [{ip: 198.51.100.80}]}}\n' &&
  slices guarded TCP 8080 b1; } | manifest guarded.yaml
in_force
expect_match 'in range' "$(probe a1 198.51.100.80 80)" '^answer b1'
expect_equal 'not in range' "$(probe a2 198.51.100.80 80 --timeout 1)" timeout
expect_match 'its ClusterIP is not guarded' "$(probe a2 10.96.0.95 80)" '^answer b1'

step 'a backend that does not answer is counted against'
web_on a1
in_force
ip -n "$CLUSTER-a1" link set lo up
cluster_in a1 iptables -I INPUT -p tcp --dport 8080 -j DROP
before=$(shown 'd[0]["stats"]["failed"]')
expect_equal 'no answer' "$(error a2 $WEB4 80)" 'timed out'
expect_equal 'counted once' "$(($(shown 'd[0]["stats"]["failed"]') - before))" 1
expect_equal 'as failed' "$(shown 'd[0]["sockets"]["failed"]')" 1
cluster_in a1 iptables -D INPUT -p tcp --dport 8080 -j DROP

step 'a node without cgroup v2: pods are served by packet, and status says what is missing'
cluster_kill sluiced-node-a
cluster_spawn sluiced-node-a node-a unshare --mount --propagation private sh -c \
  'mount -t tmpfs none /sys/fs/cgroup && exec "$@"' sh "$CLUSTER_BIN/cmd/sluiced/sluiced" \
  --manifests "$MANIFESTS" --hostname-override node-a --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a"
cluster_agent_ready node-a
expect_match 'said' "$(cluster_ctl node-a -o json status |
  json '(d["features"]["podSockets"], d["features"]["hostSockets"], d["degraded"])')" \
  "\(False, False, .*--socket-lb on: no cgroup v2 hierarchy is mounted whole"
