#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An agent that may not do its work says at once what it lacks and ends with a code above 0: no
# CAP_BPF, no access to bpffs, no kubeconfig, a bad flag.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
usual_manifests a1
sluiced=$CLUSTER_BIN/cmd/sluiced/sluiced
flags=(--manifests "$MANIFESTS" --hostname-override node-a --bpffs "$CLUSTER_BPFFS-node-a"
  --state-dir "$CLUSTER_DIR/state" "${CLUSTER_SOCKET_FLAGS[node-a]}")

# refuses <expression> <what> <command...>
refuses() {
  local wanted=$1 what=$2 got=0 said
  shift 2
  step "$what"
  said=$(cluster_in node-a timeout 20 "$@" 2>&1 </dev/null) || got=$?
  [[ $got -ne 0 && $got -ne 124 ]] || fail "$what: exit code $got: $said"
  expect_match "$what" "$said" "$wanted"
}

refuses 'CAP_BPF|[Pp]ermi|privilege' 'without CAP_BPF and CAP_SYS_ADMIN' \
  capsh --drop=cap_bpf,cap_sys_admin,cap_perfmon -- -c 'exec "$@"' -- "$sluiced" "${flags[@]}"
mkdir -p "$CLUSTER_DIR/not-bpffs"
refuses 'bpf' 'a folder that is no bpffs' \
  "$sluiced" "${flags[@]}" --bpffs "$CLUSTER_DIR/not-bpffs"
refuses 'nowhere' 'a kubeconfig that is not there' \
  "$sluiced" "${flags[@]:2}" --kubeconfig "$CLUSTER_DIR/nowhere/at/all"
refuses 'no-such-flag' 'an unknown flag' "$sluiced" "${flags[@]}" --no-such-flag
refuses 'nonsense' 'a bad CIDR' "$sluiced" "${flags[@]}" --service-cidr nonsense
[[ ! -d $CLUSTER_BPFFS-node-a/v1/progs || -z $(ls "$CLUSTER_BPFFS-node-a/v1/progs") ]] ||
  fail 'programs were pinned by an agent that could not start'
