#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --cleanup leaves nothing: programs, filters, pins and sysctls are as before the agent came, with
# and without a clean end of it before.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1
usual_manifests a1

node_state() {
  local device
  for device in eth0 calia1 calia2; do
    printf '%s: ' "$device"
    cluster_in node-a bpftool -j net show dev "$device" | json 'd[0]["tc"]'
    cluster_in node-a tc filter show dev "$device" ingress
    cluster_in node-a tc filter show dev "$device" egress
    cluster_in node-a tc qdisc show dev "$device"
  done
  # What counts traffic is left out.
  cluster_in node-a sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.' |
    grep -vE 'route\.flush|stable_secret'
}

pins() {
  find "$CLUSTER_BPFFS-node-a" -mindepth 1 2>/dev/null | sort
}

for attach in tcx clsact; do
  for end in TERM KILL; do
    step "$attach, after SIG$end"
    before=$(node_state)
    cluster_agent node-a "$MANIFESTS" --attach=$attach
    expect_match 'the service works' "$(probe a2 $WEB4 80)" '^answer a1'
    [[ $(node_state) != "$before" ]] || fail 'the agent has changed nothing that this test looks at'
    expect_match 'pins' "$(pins)" '/v1/sl_services'
    cluster_kill sluiced-node-a $end
    cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup \
      --bpffs "$CLUSTER_BPFFS-node-a" --state-dir "$CLUSTER_DIR/state-node-a" \
      >>"$CLUSTER_DIR/sluiced-cleanup.log" 2>&1 || fail "sluiced --cleanup: exit code $?"
    expect_equal 'pins' "$(pins)" ''
    diff <(echo "$before") <(node_state) || fail 'not as before'
  done
done
step 'again, with nothing there'
cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a" >>"$CLUSTER_DIR/sluiced-cleanup.log" 2>&1 ||
  fail 'a second --cleanup is not an error'
