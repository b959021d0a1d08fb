#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A map too small for what is asked: nothing of it is written, the old state stays in force, status
# and health name the map, the need and the limit; and all is well again when it fits.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS" --max-backends 40 --max-slots 64 --max-frontends 64 \
  --max-services 16
load_start pod a2 "$WEB4:80" --concurrency 2

# big <endpoints>: a service of its own with that many.
big() {
  { service big ClusterIP TCP 80 - 10.96.0.200 fd00:10:96::200 &&
    slices big TCP 8080 a2 | sed -n '1,/^endpoints:/p' &&
    for ((n = 1; n <= $1; n++)); do
      echo "  - {addresses: [\"10.244.9.$n\"]}"
    done; } | manifest big.yaml
}

# Exit code 1 of status is "degraded"; without an agent there is no such field.
degraded() {
  (cluster_ctl node-a -o json status || true) | json '" ".join(d["degraded"])' ||
    echo "sluicectl fails"
}

health() {
  cluster_in node-a python3 -c '
import urllib.request, urllib.error
try:
    answer = urllib.request.urlopen("http://127.0.0.1:10256/healthz", timeout=3)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode().strip())'
}

# It says what the agent's loop said last, up to a second ago.
health_names() {
  [[ $(health) == *"$1"* ]]
}
health_forgets() {
  ! health_names "$1"
}

expect_equal 'degraded at first' "$(degraded)" ''
expect_match 'healthy' "$(health)" '^200'
rows() {
  cluster_ctl node-a maps | grep -E 'sl_(backends|slots|services|svc_names)'
}
before=$(rows)
step 'more endpoints than sl_backends holds'
big 200
cluster_ctl node-a sync --timeout 2s >/dev/null 2>&1 && fail 'sync says that it is in force'
expect_match 'map, need and limit' "$(degraded)" 'sl_backends: 20[0-9] rows needed, the limit is 39'
eventually 'healthz says so' health_names sl_backends
expect_equal 'not one row was written' "$(rows)" "$before"
spread a2 $WEB4 80 300 a1,b1

step 'other changes'
big 4
in_force
expect_equal 'degraded, when it fits' "$(degraded)" ''
eventually 'healthz forgets it' health_forgets sl_backends
web_moves_to pod a1 b1
spread a2 $WEB4 80 50 a1
load_stop_without_failure pod
