#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on one machine: a cluster of network namespaces, real servers, sluiced on the
# manifests in cmd/demo/, real requests. Exit code 0 only if all is as it should be.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kept=$root/build/demo-kept

usage() {
  cat <<'TEXT'
usage: sudo cmd/demo.sh [--keep | --down]

Installs what is missing, builds, and shows sluice at work in network namespaces of its own; nothing
of this machine's network is touched, and nothing is left behind.
  --keep  leaves the cluster standing and says how to look around
  --down  removes what --keep left
TEXT
}

fail() {
  printf 'cmd/demo.sh: %s\n' "$1" >&2
  exit 2
}

keep=
down=
case ${1:-} in
  '') ;;
  --keep) keep=1 ;;
  --down) down=1 ;;
  -h | --help) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac
[[ $EUID -eq 0 ]] ||
  fail 'it makes network namespaces and loads BPF programs; as root: sudo cmd/demo.sh'
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Programs that are built already, for the demo's own test.
built=${CLUSTER_BIN:-}
CLUSTER_BIN=${built:-$root/build/release}
# shellcheck source=../test/e2e/cluster.sh
source "$root/test/e2e/cluster.sh"

take_down() {
  [[ -e $kept ]] || fail 'nothing was left standing'
  read -r CLUSTER CLUSTER_DIR <"$kept"
  cluster_close
  rm -f "$kept"
}

build() {
  local log=$root/build/demo-build.log start=$SECONDS
  mkdir -p "$root/build"
  printf 'Building sluiced and sluicectl (the first time takes minutes) ... '
  if ! (cd "$root" && CCACHE_BASEDIR=$root cmake --preset release &&
    CCACHE_BASEDIR=$root cmake --build --preset release --target sluiced sluicectl) \
    >"$log" 2>&1 </dev/null; then
    printf 'failed\n'
    grep -E -A4 'error:|FAILED:|CMake Error' "$log" | head -n 30 >&2 || true
    fail "the build failed; all it said: $log"
  fi
  printf 'done, %d s\n' $((SECONDS - start))
}

wrong=0
# expect <what> <condition...>: says so when it does not hold, and the demo fails in the end.
expect() {
  local what=$1
  shift
  if ! "$@"; then
    printf '   NOT AS IT SHOULD BE: %s\n' "$what"
    wrong=$((wrong + 1))
  fi
}

heading() {
  printf '\n%s\n' "$1"
}

traffic() {
  local from=$1
  shift
  cluster_in "$from" python3 "$CLUSTER_E2E/traffic.py" "$@"
}

# One line about the answers that a run of traffic.py counted.
show_counts() {
  python3 -c '
import json, sys
label, result = sys.argv[1], json.loads(sys.argv[2])
counts = "   ".join(f"{name} {count:>5,}" for name, count in result["backends"].items())
print("   {:<26} {}   failed {}".format(label, counts, result["failed"]))' "$1" "$2"
}

# answered_evenly <result> <a1,b1...>: just these answered, none failed, and no share is 30 % off,
# which for 1,000 over four is more than five standard deviations. (e2e.spread is stricter.)
answered_evenly() {
  python3 -c '
import json, sys
result, names = json.loads(sys.argv[1]), sys.argv[2].split(",")
share = result["asked"] / len(names)
good = not result["failed"] and sorted(result["backends"]) == names and all(
    abs(count - share) < 0.3 * share for count in result["backends"].values())
sys.exit(not good)' "$1" "$2"
}

# spread <from> <label> <target> [flags]: 1,000 connections, over the four pods.
spread() {
  local from=$1 label=$2 target=$3 result
  shift 3
  result=$(traffic "$from" spread "$target" --count 1000 "$@")
  show_counts "$label" "$result"
  expect 'all four answer, evenly' answered_evenly "$result" a1,a2,b1,b2
}

ask_from_pod() {
  heading '1. A pod (a1) asks the ClusterIPs: 1,000 connections each'
  spread a1 10.96.0.10:80 10.96.0.10:80
  spread a1 '[fd00:10:96::10]:80' '[fd00:10:96::10]:80'
  spread a1 '10.96.0.53:53 UDP' 10.96.0.53:53 --protocol udp
  spread a1 '[fd00:10:96::53]:53 UDP' '[fd00:10:96::53]:53' --protocol udp
}

ask_from_outside() {
  local answer
  heading "2. A client outside (${CLUSTER_V4[client]}) asks the NodePort of node-a"
  spread client "${CLUSTER_V4[node-a]}:30080" "${CLUSTER_V4[node-a]}:30080"
  spread client "[${CLUSTER_V6[node-a]}]:30080" "[${CLUSTER_V6[node-a]}]:30080"
  printf '   What the servers saw as the client:\n'
  for pod in a1 b1; do
    answer=
    for _ in {1..50}; do
      answer=$(traffic client probe "${CLUSTER_V4[node-a]}:30080")
      [[ $answer == "answer $pod "* ]] && break
    done
    printf '      %s, on %s: %s\n' "$pod" "$(cluster_node_of "$pod")" "${answer##* }"
    if [[ $pod == a1 ]]; then
      expect 'a pod of the same node sees the client itself' \
        [ "$answer" = "answer a1 ${CLUSTER_V4[client]}" ]
    else
      expect 'a pod of another node sees the node' \
        [ "$answer" = "answer b1 ${CLUSTER_V4[node-a]}" ]
    fi
  done
}

ask_cluster_ip_from_outside() {
  local target answer
  heading '3. The same client asks the ClusterIP, with a route to it: it must get nothing'
  for target in 10.96.0.10:80 '[fd00:10:96::10]:80'; do
    answer=$(traffic client probe "$target" --timeout 1.5)
    printf '   %-26s %s\n' "$target" "${answer/timeout/nothing}"
    expect 'nothing comes back from the ClusterIP' [ "$answer" = timeout ]
  done
  printf '   and sluicectl drops says why:\n'
  cluster_ctl node-a drops | sed -n '/^$/q; s/^/      /p'
  expect 'the drops are counted with their reason' \
    grep -q external_denied <(cluster_ctl node-a -o json drops)
}

show_counters() {
  heading '4. What each service carried: sluicectl service list'
  cluster_ctl node-a service list | sed 's/^/   /'
  expect 'sluicectl counts the connections of web' [ "$(web_opened)" -ge 4000 ]
}

web_opened() {
  cluster_ctl node-a -o json service list | python3 -c '
import json, sys
print(sum(one["stats"]["opened"] for one in json.load(sys.stdin) if one["name"] == "web"))'
}

# Rewrites every line of pod b2 in the manifests, as an editor would.
edit_b2() {
  sed -i -E "/${CLUSTER_V4[b2]}|${CLUSTER_V6[b2]}/$1" "$CLUSTER_DIR/manifests/web-endpoints.yaml"
  cluster_ctl node-a sync --timeout 10s >/dev/null
}

remove_backend_under_load() {
  local where result
  heading '5. Pod b2 leaves while requests run'
  cluster_spawn load-pod a1 python3 "$CLUSTER_E2E/traffic.py" load --concurrency 4 \
    10.96.0.10:80 '[fd00:10:96::10]:80'
  cluster_spawn load-outside client python3 "$CLUSTER_E2E/traffic.py" load --concurrency 4 \
    "${CLUSTER_V4[node-a]}:30080" "[${CLUSTER_V6[node-a]}]:30080"
  cluster_await_log load-pod running
  cluster_await_log load-outside running
  sleep 1.5
  # What Kubernetes does with a pod that is deleted: first it terminates, then it is gone.
  edit_b2 's/ready: true/ready: false, serving: true, terminating: true/'
  printf '   its endpoints were marked as terminating ...\n'
  sleep 1.5
  edit_b2 d
  printf '   ... and then deleted from web-endpoints.yaml\n'
  sleep 1.5
  for where in pod outside; do
    cluster_kill "load-$where"
    result=$(tail -n 1 "$CLUSTER_DIR/load-$where.log")
    show_counts "requests from the $where" "$result"
    expect 'no request fails' [ "$(python3 -c '
import json, sys
result = json.loads(sys.argv[1])
print(result["asked"] > 500 and result["failed"] == 0)' "$result")" = True ]
  done
  result=$(traffic a1 spread 10.96.0.10:80 --count 600)
  show_counts '600 more, afterwards' "$result"
  expect 'the three that are left answer, evenly' answered_evenly "$result" a1,a2,b1
}

keep_standing() {
  local enter="sudo nsenter --net=/run/netns/$CLUSTER"
  trap - EXIT
  printf '%s %s\n' "$CLUSTER" "$CLUSTER_DIR" >"$kept"
  cat <<TEXT

The cluster is left standing. To look around:
  alias ctl='$enter-node-a $CLUSTER_BIN/cmd/sluicectl/sluicectl \
    --state-dir $CLUSTER_DIR/state-node-a'
  ctl status; ctl service list; ctl backend list; ctl conntrack list; ctl drops; ctl maps
  sudo bpftool map dump pinned $CLUSTER_BPFFS-node-a/v1/sl_services
  $enter-client python3 $CLUSTER_E2E/traffic.py probe ${CLUSTER_V4[node-a]}:30080
Edit the manifests and ask again: $CLUSTER_DIR/manifests/
The agent's log:                  $CLUSTER_DIR/sluiced-node-a.log
To take it down:                  sudo cmd/demo.sh --down
TEXT
}

main() {
  if [[ -n $down ]]; then
    take_down
    exit 0
  fi
  [[ ! -e $kept ]] || fail 'an earlier --keep is still standing; first: sudo cmd/demo.sh --down'
  if [[ -z $built ]]; then
    "$root/third_party/install.sh" || exit 2
    build
  fi
  cluster_open
  cluster_serve "${CLUSTER_PODS[@]}"
  mkdir "$CLUSTER_DIR/manifests"
  cp "$root"/cmd/demo/*.yaml "$CLUSTER_DIR/manifests"
  cluster_agent node-a "$CLUSTER_DIR/manifests" || fail 'the agent did not start'
  cat <<'TEXT'

   client ---- router ---- node-a ---- a1, a2     sluiced runs on node-a; each pod has
                     \---- node-b ---- b1, b2     an nginx (web) and a UDP echo (echo)
TEXT
  ask_from_pod
  ask_from_outside
  ask_cluster_ip_from_outside
  show_counters
  remove_backend_under_load
  if [[ $wrong -eq 0 ]]; then
    printf '\nAll of it as it should be.\n'
  else
    printf '\n%d things are NOT as they should be. The agent said:\n' "$wrong"
    tail -n 15 "$CLUSTER_DIR/sluiced-node-a.log" | sed 's/^/   /'
  fi
  [[ -z $keep ]] || keep_standing
  [[ $wrong -eq 0 ]]
}

main
