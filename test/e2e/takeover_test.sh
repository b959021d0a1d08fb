#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From kube-proxy to sluice and back, in each way that kube-proxy writes rules: services answer all
# the time, others' rules stay as they are, and what becomes of open connections is what
# deploy/README.md says.
# shellcheck source=kube_proxy.sh
source "$(dirname "${BASH_SOURCE[0]}")/kube_proxy.sh"

open_cluster
cluster_join_cgroups || skip 'no cgroup v2'
cluster_serve a1 b1
usual_manifests a1 b1
others_rules
node4=${CLUSTER_V4[node-a]} node6=${CLUSTER_V6[node-a]}
others=$(netfilter_rules)

# Connections of every kind, by name; n is a number that makes the names unique.
hold_all() {
  local n=$1
  hold "pod4-$n" a2 "$WEB4:80"
  hold "pod6-$n" a2 "[$WEB6]:80"
  hold "out4-$n" client "$node4:30080"
  hold "out6-$n" client "[$node6]:30080"
  hold "udp-$n" a2 "$ECHO4:53" --protocol udp
  hold "udpout-$n" client "$node4:30053" --protocol udp
}
TCP_KINDS=(pod4 pod6 out4 out6)
UDP_KINDS=(udp udpout)

# ask_all <n> <what> <extended regular expression> [kind...]
ask_all() {
  local n=$1 what=$2 wanted=$3 kind
  shift 3
  for kind in "$@"; do
    expect_match "$kind, $what" "$(ask "$kind-$n")" "$wanted"
  done
}

sluiced_does() {
  cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" "$@" --bpffs "$CLUSTER_BPFFS-node-a" \
    --state-dir "$CLUSTER_DIR/state-node-a" >>"$CLUSTER_DIR/sluiced-$1.log" 2>&1 ||
    fail "sluiced $1: exit code $?"
}

# Loads open a connection for each request. One that is open at the very moment when another takes
# over may fail: one for each of the workers and each such moment.
load_stop_with_at_most() {
  local name=$1 most=$2 result
  cluster_kill "load-$name"
  result=$(tail -n 1 "$CLUSTER_DIR/load-$name.log")
  printf '   %s: %s\n' "$name" "$result"
  expect_equal "failed requests of $name, at most $most" \
    "$(json "d['failed'] <= $most and d['asked'] > 300" <<<"$result")" True
}

n=0
for mode in iptables-legacy nftables; do
  n=$((n + 1))
  step "$mode: kube-proxy serves"
  kube_proxy_syncs $mode a1 b1
  hold_all "proxy$n"
  hold "host-proxy$n" node-a "$WEB4:80"
  ask_all "proxy$n" 'opened through kube-proxy' '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}" host
  load_start pod a2 "$WEB4:80" "[$WEB6]:80" --concurrency 2
  load_start out client "$node4:30080" "[$node6]:30080" --concurrency 2

  step "$mode: sluice beside it"
  kube_proxy_serves
  cluster_agent node-a "$MANIFESTS" --service-cidr 10.96.0.0/16,fd00:10:96::/112 \
    --socket-lb host
  load_some_more pod out
  ask_all "proxy$n" 'sluice does not know it' '^reset$' "${TCP_KINDS[@]}"
  ask_all "proxy$n" 'a datagram needs no state' '^answer' "${UDP_KINDS[@]}"
  expect_match "a process of the node, through kube-proxy's rules" "$(ask "host-proxy$n")" '^answer'
  hold_all "sluice$n"
  hold "host-sluice$n" node-a "$WEB4:80"
  ask_all "sluice$n" 'opened through sluice' '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"

  step "$mode: kube-proxy ends, and its ports are sluice's"
  for port in 10256/healthz 10249/metrics; do
    expect_equal "who answers on $port" "$(who_answers $port)" kube-proxy
  done
  expect_match 'both are said' \
    "$(cluster_ctl node-a -o json status | json '" ".join(d["degraded"])')" \
    '--healthz-bind-address: .*--metrics-bind-address: '
  cluster_ctl node-a probe ready || fail 'sluiced itself is ready'
  cluster_kill kube-proxy-ports
  for port in 10256/healthz 10249/metrics; do
    eventually "sluice answers on $port" sluice_answers $port
  done
  expect_equal 'what is degraded then' \
    "$(cluster_ctl node-a -o json status | json '" ".join(d["degraded"])')" ''

  step "$mode: kube-proxy's rules go"
  rejects_proxy_that_runs
  sluiced_does --cleanup-kube-proxy
  expect_rules "others' rules" "$others"
  ask_all "sluice$n" "without kube-proxy's rules" '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"
  expect_match 'a process of the node goes on' "$(ask "host-proxy$n")" '^answer'
  expect_match 'and opens others' "$(probe node-a $WEB4 80)" '^answer'
  load_some_more pod out

  step "$mode: kube-proxy comes back; sluice goes on first"
  kube_proxy_syncs $mode a1 b1
  ask_all "sluice$n" 'kube-proxy is there again' '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"
  load_some_more pod out

  step "$mode: sluice lets go"
  cluster_kill sluiced-node-a
  cluster_spawn drain node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --drain \
    --bpffs "$CLUSTER_BPFFS-node-a" --state-dir "$CLUSTER_DIR/state-node-a"
  cluster_await_log drain 'connections that are still open'
  ask_all "sluice$n" 'drained' '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"
  load_some_more pod out
  hold_all "again$n"
  expect_match 'a process of the node' "$(probe node-a $WEB4 80)" '^answer'
  ask_all "again$n" 'opened through kube-proxy again' '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"
  load_stop_with_at_most pod 4
  load_stop_with_at_most out 4
  load_start rest client "$node4:30080" "[$node6]:30080" --concurrency 2
  load_start more a2 "$WEB4:80" "[$WEB6]:80" --concurrency 2
  load_some_more rest more

  step "$mode: sluice is gone"
  cluster_kill drain
  expect_equal 'exit code of --drain' "$CLUSTER_EXIT" 0
  rm "$CLUSTER_DIR/drain.log"
  sluiced_does --cleanup
  ask_all "again$n" "sluice's programs have gone" '^answer' "${TCP_KINDS[@]}" "${UDP_KINDS[@]}"
  ask_all "sluice$n" "sluice's programs have gone" '^(reset|timeout)$' "${TCP_KINDS[@]}"
  ask_all "sluice$n" 'datagrams of old' '^answer' "${UDP_KINDS[@]}"
  expect_match 'what a process of the node opened through sluice' "$(ask "host-sluice$n")" '^answer'
  load_some_more rest more
  load_stop_without_failure rest
  load_stop_without_failure more
  cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup-kube-proxy 2>/dev/null
  expect_rules "others' rules" "$others"
done
