#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# As many connections from outside to one backend of another node as there are SNAT ports: all
# succeed, the agent says that they run out, the next is dropped for that reason, other backends
# are not hurt, and what is closed is there again.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

readonly PORTS=200

open_cluster
cluster_serve a1 b1 b2
usual_manifests b1
cluster_agent node-a "$MANIFESTS" --snat-ports 29000-29199
node4=${CLUSTER_V4[node-a]}

# What the metrics say is taken towards a backend of web.
used() {
  cluster_in node-a curl -sS http://127.0.0.1:10249/metrics |
    awk -v backend="destination=\"${CLUSTER_V4[$1]}:8080\"" \
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
eventually "$PORTS ports are taken" is_used b1 $PORTS
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
eventually 'none is taken' is_used b1 0
expect_equal 'no longer said' "$(degraded)" ''
web_on b1
in_force
crowd again client $PORTS "$node4:30080"
expect_equal 'all are served again' "$(ask again)" "{\"b1\": $PORTS}"
