#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# As many connections from outside to one backend of another node as there are SNAT ports: all
# succeed, the agent says that they run out, the next is dropped for that reason, other backends
# are not hurt, and what is closed is there again. With a second address there are as many again.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

readonly PORTS=200

open_cluster
cluster_serve a1 b1 b2
usual_manifests b1
cluster_agent node-a "$MANIFESTS" --snat-ports 29000-29199
node4=${CLUSTER_V4[node-a]}

# What the metrics say is taken towards a backend's address.
used() {
  cluster_in node-a curl -sS http://127.0.0.1:10249/metrics |
    awk -v backend="destination=\"$(cluster_host_port "$1" 8080)\"" \
      'index($0, "sluice_snat_ports_used{") && index($0, backend) { sum += $2 }
       END { print sum + 0 }'
}

is_used() {
  [[ $(used "$1") == "$2" ]]
}

degraded() {
  (cluster_ctl node-a -o json status || true) | json '" ".join(d["degraded"])'
}

step 'every port of the range'
crowd all client $PORTS "$node4:30080"
expect_equal 'all are served' "$(ask all)" "{\"b1\": $PORTS}"
expect_equal 'dropped' "$(dropped snat_ports)" 0
eventually "$PORTS ports are taken" is_used "${CLUSTER_V4[b1]}" $PORTS
expect_match 'said' "$(degraded)" \
  "SNAT: $PORTS of $PORTS source ports of $node4 towards ${CLUSTER_V4[b1]}:8080/TCP are taken"
expect_equal 'said once' "$(grep -c 'SNAT: ' "$CLUSTER_DIR/sluiced-node-a.log")" 1

step 'the next one'
expect_equal 'has no port' "$(probe client "$node4" 30080 --timeout 0.5)" timeout
expect_equal 'dropped for it' "$(($(dropped snat_ports) > 0))" 1
expect_equal 'those that are open go on' "$(ask all)" "{\"b1\": $PORTS}"

step 'other backends'
web_on b1:terminating b2
in_force
crowd others client 30 "$node4:30080"
expect_equal 'are not hurt' "$(ask others)" '{"b2": 30}'
expect_equal 'nor are those of the first' "$(ask all)" "{\"b1\": $PORTS}"

step 'ports of connections that are closed'
tell all end >/dev/null
eventually 'none is taken' is_used "${CLUSTER_V4[b1]}" 0
expect_equal 'no longer said' "$(grep -c 'SNAT: ' <<<"$(degraded)")" 0
web_on b1
in_force
crowd again client $PORTS "$node4:30080"
expect_equal 'all are served again' "$(ask again)" "{\"b1\": $PORTS}"

step 'a second address of the node'
eventually "$PORTS ports are taken" is_used "${CLUSTER_V4[b1]}" $PORTS
tell again end >/dev/null
eventually 'none is taken' is_used "${CLUSTER_V4[b1]}" 0
cluster_kill sluiced-node-a
second4=198.51.100.21 second6=2001:db8:a::21
cluster_address node-a eth0 $second4/24 $second6/64
cluster_agent node-a "$MANIFESTS" --snat-ports 29000-29199 --snat-addresses \
  "$node4/32,$second4/32,${CLUSTER_V6[node-a]}/128,$second6/128"
for family in 4 6; do
  declare -n at=CLUSTER_V$family second=second$family
  lost=$(dropped snat_ports)
  crowd "both$family" client $((2 * PORTS)) "$(cluster_host_port "${at[node-a]}" 30080)"
  expect_equal 'all are served' "$(ask "both$family")" "{\"b1\": $((2 * PORTS))}"
  expect_equal 'dropped' "$(dropped snat_ports)" "$lost"
  expect_equal 'as from' "$(tell "both$family" sources)" \
    "{\"${at[node-a]}\": $PORTS, \"$second\": $PORTS}"
  eventually 'all ports of both are taken' is_used "${at[b1]}" $((2 * PORTS))
  expect_equal 'the next has none' "$(probe client "${at[node-a]}" 30080 --timeout 0.5)" timeout
  expect_equal 'dropped for it' "$(($(dropped snat_ports) > lost))" 1
done
web_on b1:terminating b2
in_force
crowd rest client 30 "$node4:30080" "[${CLUSTER_V6[node-a]}]:30080"
expect_equal 'other backends are not hurt' "$(ask rest)" '{"b2": 30}'
for family in 4 6; do
  expect_equal 'nor are those that are open' "$(ask "both$family")" "{\"b1\": $((2 * PORTS))}"
done
