#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A backend that is deleted: its established TCP connections get a RST at the client's next packet,
# its UDP flows move to another; while it only terminates, connections go on.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1

# hold <name> <from> <target> [flags]: one connection; ask <name> sends one request over it.
hold() {
  local name=$1 from=$2 descriptor
  shift 2
  mkfifo "$CLUSTER_DIR/$name.in"
  nsenter --net="/run/netns/$CLUSTER-$from" -- python3 "$CLUSTER_E2E/traffic.py" hold "$@" \
    --timeout 5 <"$CLUSTER_DIR/$name.in" >"$CLUSTER_DIR/$name.log" 2>&1 &
  CLUSTER_PIDS[$name]=$!
  exec {descriptor}>"$CLUSTER_DIR/$name.in"
  HELD[$name]=$descriptor
  cluster_await_log "$name" '^open$'
}
declare -A HELD=()

ask() {
  local lines
  lines=$(wc -l <"$CLUSTER_DIR/$1.log")
  echo >&"${HELD[$1]}"
  eventually "$1 hears something" has_lines "$CLUSTER_DIR/$1.log" $((lines + 1))
  tail -n 1 "$CLUSTER_DIR/$1.log"
}

has_lines() {
  [[ $(wc -l <"$1") -ge $2 ]]
}

usual_manifests a1
cluster_agent node-a "$MANIFESTS"
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  for backend in a1 b1; do
    step "IPv$family, $backend"
    other=$([[ $backend == a1 ]] && echo b1 || echo a1)
    web_on $backend && echo_on $backend && in_force
    n=$family$backend
    hold "pod$n" a2 "$(cluster_host_port "$web" 80)"
    hold "out$n" client "$(cluster_host_port "${at[node-a]}" 30080)"
    hold "udp$n" a2 "$(cluster_host_port "$echo_at" 53)" --protocol udp
    hold "udpout$n" client "$(cluster_host_port "${at[node-a]}" 30053)" --protocol udp
    for name in pod out udp udpout; do
      expect_match "$name" "$(ask "$name$n")" "^answer $backend "
    done
    web_on $backend:terminating "$other" && echo_on $backend:terminating "$other" && in_force
    for name in pod out; do
      expect_match "$name while the backend terminates" "$(ask "$name$n")" "^answer $backend "
    done
    web_on "$other" && echo_on "$other" && in_force
    for name in pod out; do
      expect_equal "$name, its backend is gone" "$(ask "$name$n")" reset
    done
    for name in udp udpout; do
      expect_match "$name moves on" "$(ask "$name$n")" "^answer $other "
    done
  done
done
expect_equal 'counted' "$(($(dropped backend_gone) >= 8))" 1
