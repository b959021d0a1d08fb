#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 10,000 connections that are opened at the same time, while endpoints come and go: none fails, all
# are counted once. Endpoints go as Kubernetes has it: they are terminating for as long as they have
# connections (what is removed at once ends its connections: e2e.reset_removed). Another Service has
# an endpoint of its own made and deleted all the while.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"

sockets='" ".join(str(d[0].get("sockets", {}).get(key, 0)) for key in
  ("established", "failed", "reset"))'
for web in $WEB4 $WEB6; do
  step "10,000 to $web"
  before=$(cluster_ctl node-a -o json service show default/web | json "$sockets")
  (
    [[ -z $CLUSTER_GROUPED ]] || echo "$BASHPID" >"$(cluster_cgroup node-a)/cgroup.procs"
    exec nsenter --net="/run/netns/$CLUSTER-a1" -- python3 "$CLUSTER_E2E/connections.py" \
      "$web" 80 10000 --parallel --timeout 60
  ) >"$CLUSTER_DIR/parallel.log" 2>&1 &
  CLUSTER_PIDS[parallel]=$!
  rounds=0
  while cluster_alive parallel; do
    for pods in 'a1 a2:terminating b1 b2' 'a1 a2:terminating b1 b2:terminating' \
      'a1:notready a2 b1:terminating b2' 'a1 a2 b1 b2:notready'; do
      read -ra words <<<"$pods"
      web_on "${words[@]}"
      if [[ -e $MANIFESTS/other.yaml ]]; then
        rm "$MANIFESTS/other.yaml"
      else
        { service other ClusterIP TCP 80 - 10.96.0.99 fd00:10:96::99 &&
          slices other TCP 8080 b1; } | manifest other.yaml
      fi
      in_force
      sleep 0.05
    done
    rounds=$((rounds + 1))
  done
  result=$(<"$CLUSTER_DIR/parallel.log")
  unset 'CLUSTER_PIDS[parallel]'
  printf '   %s, while endpoints changed %d times\n' "$result" $((4 * rounds))
  expect_equal 'connections, failures' "$(json '(d["connections"], d["failed"])' <<<"$result")" \
    '(10000, 0)'
  [[ $rounds -gt 1 ]] || fail 'it was over before endpoints changed'
  expect_equal 'established, failed, reset' \
    "$(cluster_ctl node-a -o json service show default/web | json "$sockets")" \
    "$(read -r established rest <<<"$before"; echo "$((established + 10000)) $rest")"
done
