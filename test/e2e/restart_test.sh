#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM stops the agent and leaves the datapath working; a start over the pins finds ids and
# counters as they were; kill -9 harms nobody. All under load: no request fails.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"

service_ids() {
  bpftool -j map dump pinned "$CLUSTER_BPFFS-node-a/v1/sl_services" |
    json 'sorted((str(one["formatted"]["key"]), one["formatted"]["value"]["id"]) for one in d)'
}

backend_ids() {
  bpftool -j map dump pinned "$CLUSTER_BPFFS-node-a/v1/sl_backends" |
    json '[(one["formatted"]["key"], one["formatted"]["value"]) for one in d
           if one["formatted"]["value"]["flags"]]' 2>/dev/null
}

opened_by_web() {
  cluster_ctl node-a -o json service list |
    json "sum(one['stats']['opened'] for one in d if one['name'] == 'web')"
}

loads=(pod outside udp held)
LOAD_STEP=30
node4=${CLUSTER_V4[node-a]} node6=${CLUSTER_V6[node-a]}
load_start pod a1 "$WEB4:80" "[$WEB6]:80" --concurrency 3
load_start outside client "$node4:30080" "[$node6]:30080" --concurrency 3
load_start udp a2 "$ECHO4:53" --protocol udp --concurrency 2
load_start held client "$node4:30080" --requests 20 --concurrency 2
load_some_more "${loads[@]}"
ids=$(service_ids) backends=$(backend_ids)

step 'SIGTERM'
cluster_kill sluiced-node-a
expect_equal 'exit code' "$CLUSTER_EXIT" 0
load_some_more "${loads[@]}"
opened=$(opened_by_web)
expect_match 'sluicectl status says that no agent runs' \
  "$(cluster_ctl node-a status 2>&1 || true)" 'not running'

step 'start over the pins'
cluster_agent node-a "$MANIFESTS"
load_some_more "${loads[@]}"
expect_equal 'service ids' "$(service_ids)" "$ids"
expect_equal 'backend ids and generations' "$(backend_ids)" "$backends"
expect_equal 'counters went on' "$(($(opened_by_web) > opened))" 1

step 'kill -9'
cluster_kill sluiced-node-a KILL
load_some_more "${loads[@]}"
cluster_agent node-a "$MANIFESTS"
load_some_more "${loads[@]}"
expect_equal 'service ids' "$(service_ids)" "$ids"

step 'manifests that changed while nobody looked'
cluster_kill sluiced-node-a
web_on a1 a2 b1:terminating b2:terminating
cluster_agent node-a "$MANIFESTS"
expect_equal 'service ids' "$(service_ids)" "$ids"
spread a2 $WEB6 80 500 a1,a2
for name in pod outside udp; do
  load_stop_without_failure "$name"
done

step 'a filter that is lost'
cluster_kill sluiced-node-a
rm "$CLUSTER_BPFFS-node-a/v1/sl_filter"
web_on b1
cluster_agent node-a "$MANIFESTS"
expect_match 'from a pod' "$(probe a1 $WEB4 80)" '^answer b1'
expect_match 'from outside, to another node' "$(probe client "$node6" 30080)" '^answer b1'

# As after an upgrade from a version without it: until it is known who has flows, everybody may.
step 'a table of clients that is lost'
clients_marked() {
  cluster_ctl node-a -o json maps |
    json "next(one['used'] / one['size'] for one in d['maps'] if one['name'] == 'sl_clients')"
}
clients_are_few() {
  python3 -c 'import sys; sys.exit(not 0 < float(sys.argv[1]) < 0.2)' "$(clients_marked)"
}
load_start held_on client "$node4:30080" --requests 20 --concurrency 2
load_some_more held_on
cluster_kill sluiced-node-a
rm "$CLUSTER_BPFFS-node-a/v1/sl_clients"
cluster_agent node-a "$MANIFESTS"
expect_equal 'marked at the start' "$(clients_marked)" 1.0
load_some_more held_on
EVENTUALLY=30 eventually 'the sweeps have found out' clients_are_few
load_some_more held_on
echo "   marked: $(clients_marked)"
clients_are_few || fail "those with flows stay marked: got $(clients_marked)"
load_stop_without_failure held_on
