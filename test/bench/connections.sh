#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pod to ClusterIP over TCP: with the backend chosen at connect(), with every packet rewritten, and
# straight to the backend, in rounds of one run (design.md section 8). A small cluster of network
# namespaces, a real sluiced on node-a; client and backend are pods of that node, or with --remote
# the backend is one of node-b. Needs root, and the release build.
#
# usage: connections.sh [--quick | --rounds N MILLISECONDS] [--remote] [--services N] [--ipv6]
#                       [--only CRR|RR|stream] [--json]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${CLUSTER_BIN:=$root/build/release}"
# shellcheck source=../e2e/expect.sh
source "$root/test/e2e/expect.sh"

backend=a2 services=1 family=4
flags=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) flags+=(--rounds 20) ;;
    --remote) backend=b1 ;;
    --services) services=$2 && shift ;;
    --ipv6) family=6 ;;
    --rounds) flags+=(--rounds "$2" --milliseconds "$3") && shift 2 ;;
    --only) flags+=(--only "$2") && shift ;;
    --json) flags+=(--json) ;;
    *) sed -n '/^# usage: /,/^[^#]/s/^# *//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
  esac
  shift
done
bench=$CLUSTER_BIN/test/bench/sluice_connection_bench
[[ -x $bench ]] || { echo "$bench: not built (cmake --build --preset release)" >&2 && exit 1; }

open_cluster
[[ -n $CLUSTER_CGROUPS ]] || { echo 'this machine has no cgroup v2' >&2 && exit 1; }
address=${CLUSTER_V4[$backend]} service=10.96.0.10
[[ $family == 4 ]] || address=${CLUSTER_V6[$backend]} service=fd00:10:96::10

# One Service with the three ports of the backend, and others that nobody asks.
manifests=$MANIFESTS/services.json
python3 - "$services" "${CLUSTER_V4[$backend]}" "${CLUSTER_V6[$backend]}" >"$manifests" <<'PY'
import json, sys

def objects(name, address4, address6, endpoint4, endpoint6, ports):
    ports = [{"name": f"p{port}", "protocol": "TCP", "port": port} for port in ports]
    yield {"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": name, "namespace": "default"},
           "spec": {"type": "ClusterIP", "ipFamilies": ["IPv4", "IPv6"], "ports": ports,
                    "clusterIP": address4, "clusterIPs": [address4, address6]}}
    for family, endpoint in (("IPv4", endpoint4), ("IPv6", endpoint6)):
        yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
               "metadata": {"name": f"{name}-{family.lower()}", "namespace": "default",
                            "labels": {"kubernetes.io/service-name": name}},
               "ports": ports,
               "endpoints": [{"addresses": [endpoint], "conditions": {"ready": True}}]}

items = list(objects("web", "10.96.0.10", "fd00:10:96::10", *sys.argv[2:4], [9001, 9002, 9003]))
for i in range(1, int(sys.argv[1])):
    tail = f"{10 + i // 250}.{i % 250 + 1}"
    items += objects(f"other-{i}", f"10.97.{tail}", f"fd00:10:97::{i:x}", f"10.98.{tail}",
                     f"fd00:10:98::{i:x}", [9001])
json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)
PY
cluster_agent node-a "$MANIFESTS"
cluster_spawn serve "$backend" "$bench" serve "$address"
cluster_await_log serve serving
# Clients' ports come round faster than a closed connection is forgotten.
ip netns exec "$CLUSTER-a1" sysctl -qw net.ipv4.ip_local_port_range='1024 65535'

processor=$(grep -m 1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)
echo "$(uname -r), $processor, $(nproc) processors;" \
  "$services service(s), backend on $(cluster_node_of "$backend"), IPv$family"
nsenter --net="/run/netns/$CLUSTER-a1" -- "$bench" ask --straight "$address" --service "$service" \
  --cgroup "$(cluster_cgroup node-a)" "${flags[@]}"
flows=$(cluster_ctl node-a -o json conntrack list | json 'len(d)')
established=$(cluster_ctl node-a -o json service show default/web |
  json 'sum(one.get("sockets", {}).get("established", 0) for one in d)')
[[ $flows -gt 0 && $established -gt 0 ]] || fail 'one of the ways was not the one it should be'
