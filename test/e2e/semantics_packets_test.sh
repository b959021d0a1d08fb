#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every flow of the table of test/data/semantics with real packets: who answers and whom it sees,
# what is refused, what is dropped, what is left alone. TCP of pods twice: with the endpoint chosen
# on the way, and at connect(). a1's, which go to a1 itself, only on the way: at connect() they stay
# inside the pod, which then sees itself (bpf/DESIGN.md, Known limits).
# shellcheck source=semantics.sh
source "$(dirname "${BASH_SOURCE[0]}")/semantics.sh"

send_flows() {
  local setup=$1 one role way flows=0 failed=0
  local -A running=()
  for one in client:packets node-a:connect a1:packets a2:packets a2:connect; do
    role=${one%:*} way=${one#*:}
    (
      [[ $way == connect ]] || CLUSTER_GROUPED=
      cluster_in "$role" python3 "$CLUSTER_E2E/semantics_client.py" "$TABLE" "$setup" "$role" "$way"
    ) >"$CLUSTER_DIR/$one.out" 2>&1 &
    running[$one]=$!
  done
  for one in "${!running[@]}"; do
    wait "${running[$one]}" || failed=1
    cat "$CLUSTER_DIR/$one.out"
    # A pod's by connect() are among those by packet.
    [[ $one == a2:connect || ! $(<"$CLUSTER_DIR/$one.out") =~ ([0-9]+)' flows' ]] ||
      flows=$((flows + BASH_REMATCH[1]))
  done
  printf '   %s: %s flows\n' "$setup" "$flows"
  return $failed
}

open_semantics
for machine in $(json '" ".join(d["servers"])' <"$TABLE"); do
  cluster_spawn "server-$machine" "$machine" \
    python3 "$CLUSTER_E2E/semantics_server.py" "$TABLE" "$machine"
done
for machine in $(json '" ".join(d["servers"])' <"$TABLE"); do
  cluster_await_log "server-$machine" '^ready$'
done
each_setup packets send_flows
