#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The API server is killed and comes back while requests run: none fails, the status says since when
# it is away, and what changed in between is taken in.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

open_api_cluster
cluster_serve a1 a2 b1
api_nodes
usual_manifests a1 b1 "$DUAL"
api_apply
api_agent node-a
in_force

load_start pod a2 $WEB4:80 "[$WEB6]:80" --concurrency 2
load_start outside client "${CLUSTER_V4[node-a]}:30080" --concurrency 2
load_start udp a2 $ECHO4:53 --protocol udp --concurrency 1
load_some_more pod outside udp

step 'the API server is killed'
api_kill
says_away() {
  (cluster_ctl node-a -o json status || true) | json '" ".join(d["degraded"])' |
    grep -qE "$API_HOST:6443"
}
# Exit code 0: the agent answers, and nothing is degraded.
is_well() {
  cluster_ctl node-a status >/dev/null 2>&1
}
eventually 'the status names the server that is away' says_away
load_some_more pod outside udp

step 'the agent starts again without an API server'
cluster_kill sluiced-node-a
api_agent_start node-a
load_some_more pod outside udp

step 'the API server comes back, and other things than before are in it'
# The real one is changed by its own kubectl, before the agent has tried it again.
web_on a1 a2 b1
api_restart
api_apply
in_force
load_some_more pod outside udp
spread a2 $WEB4 80 150 a1,a2,b1
for name in pod outside udp; do
  load_stop_without_failure "$name"
done

step 'and is followed again'
web_on a2
api_apply
in_force
spread a1 $WEB4 80 100 a2
eventually 'the status is good again' is_well
