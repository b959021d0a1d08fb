#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One cluster of run.sh, until standard input ends: the namespaces of test/e2e/cluster.sh, a backend
# in a pod of each node with ten addresses, and, with manifests, an agent on each node, or an API
# server that kube-proxy will follow. Prints one JSON object when it stands. What else does the
# services of this cluster is up to the caller.
#
# usage: contender.sh BENCH [MANIFESTS [flag of sluiced...]]
#        contender.sh BENCH --kube-proxy MODE PODS IPTABLES    (contender_kube_proxy.sh)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../e2e/cluster.sh
source "$root/test/e2e/cluster.sh"

bench=$1 manifests=${2:-} kube_proxy=''
flags=("${@:3}")
if [[ $manifests == --kube-proxy ]]; then
  manifests='' kube_proxy=1
  # shellcheck source=contender_kube_proxy.sh
  source "$root/test/bench/contender_kube_proxy.sh"
fi

# A backend's pod: ten addresses more, and who serves on all of them.
backend() {
  local pod=$1 letter=$2 part=$3 node number host=cali$1 four six
  node=$(cluster_node_of "$pod")
  for number in {0..9}; do
    four=10.244.$part.$((100 + number)) six=fd00:10:244:$part::10$number
    cluster_address "$pod" eth0 "$four/32" "$six/128"
    cluster_route "$node" "$four/32" dev "$host" scope link
    cluster_route "$node" "$six/128" dev "$host"
  done
  cluster_spawn "serve-$pod" "$pod" "$bench" serve "$letter" 8080
  cluster_await_log "serve-$pod" serving
}

# Without a service, what comes from outside for a pod of node-b goes through node-a as well, both
# ways: the same wires as with one.
straight_through_node_a() {
  ip -n "$CLUSTER-router" route replace 10.244.2.0/24 via "${CLUSTER_V4[node-a]}"
  ip -6 -n "$CLUSTER-router" route replace fd00:10:244:2::/64 via "${CLUSTER_V6[node-a]}"
  cluster_route node-b 192.0.2.0/24 via "${CLUSTER_V4[node-a]}"
  cluster_route node-b 2001:db8:c::/64 via "${CLUSTER_V6[node-a]}"
  cluster_in node-a sysctl -qw net.ipv4.conf.{all,eth0}.send_redirects=0
}

# XDP sends frames through a veth only to a program at its other end.
pass_frames_of_xdp() {
  bpftool prog load "$CLUSTER_BIN/test/e2e/xdp_pass.bpf.o" "$CLUSTER_BPFFS-pass" type xdp
  cluster_in router bpftool net attach xdpdrv pinned "$CLUSTER_BPFFS-pass" dev node-a
  rm "$CLUSTER_BPFFS-pass"
}

cluster_open
# Of these, each way has some for itself (bench_sides.py).
for client in a1 client; do
  cluster_in "$client" sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
done
backend a2 a 1
backend b1 b 2
started=0
if [[ -n $manifests ]]; then
  [[ " ${flags[*]} " != *' --xdp native '* ]] || pass_frames_of_xdp
  started=$(date +%s%N)
  cluster_agent node-a "$manifests" "${flags[@]}"
  started=$((($(date +%s%N) - started) / 1000000))
  cluster_agent node-b "$manifests" "${flags[@]}"
else
  straight_through_node_a
fi
[[ -z $kube_proxy ]] || kube_proxy_open "${flags[@]}"
printf '{"cluster": "%s", "folder": "%s", "cgroup": "%s", "bpffs": "%s", ' \
  "$CLUSTER" "$CLUSTER_DIR" "$(cluster_cgroup node-a)" "$CLUSTER_BPFFS-node-a"
printf '"agent": %d, "startMs": %d, "api": "%s"}\n' "${CLUSTER_PIDS[sluiced-node-a]:-0}" \
  "$started" "${API_URL:-}"
# Nobody is told to start anything where there is nothing but agents.
while read -r node; do
  kube_proxy_start "$node"
done
