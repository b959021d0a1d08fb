# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Three nodes behind a router that spreads flows over them, and two services with an address of a
# load balancer, whose packets nodes pass on to each other; to be sourced, in place of expect.sh.
CLUSTER_NODES=3
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

NODES=(node-a node-b node-c)
LB4=203.0.113.80 LB6=2001:db8:80::80

# balanced <name> <protocol> <port> <ClusterIPs...> [annotation...]
balanced() {
  local name=$1 protocol=$2 port=$3 ip4=$4 ip6=$5
  shift 5
  service "$name" LoadBalancer "$protocol" "$port" "$(node_port "$port")" "$ip4" "$ip6" |
    sed "s|^metadata: .*|metadata: {name: $name, namespace: default, annotations: {$*}}|"
  printf 'status: {loadBalancer: {ingress: [{ip: %s}, {ip: "%s"}]}}\n' $LB4 $LB6
}

node_port() {
  echo $((30000 + $1))
}

# shellcheck disable=SC2034  # read by those who source this
dsr='"sluice.io/forwarding": dsr'
# shellcheck disable=SC2034
maglev='"sluice.io/algorithm": maglev'

write_services() {
  balanced web TCP 80 $WEB4 $WEB6 "$@" | manifest web.yaml
  balanced echo UDP 53 $ECHO4 $ECHO6 "$@" | manifest echo.yaml
}

# The address of the load balancer leads to these nodes, all in turn by the flow's hash.
route_to() {
  local node via4=() via6=()
  for node in "$@"; do
    via4+=(nexthop via "${CLUSTER_V4[$node]}")
    via6+=(nexthop via "${CLUSTER_V6[$node]}")
  done
  ip -n "$CLUSTER-router" route replace $LB4/32 "${via4[@]}"
  ip -n "$CLUSTER-router" -6 route replace $LB6/128 "${via6[@]}"
}

agents() {
  local node
  for node in "${NODES[@]}"; do
    cluster_kill "sluiced-$node"
    cluster_agent_start "$node" "$MANIFESTS" "$@"
  done
  for node in "${NODES[@]}"; do
    cluster_agent_ready "$node"
  done
}

everywhere() {
  local node
  for node in "${NODES[@]}"; do
    in_force_on "$node"
  done
}

open_three_nodes() {
  local sender
  open_cluster
  cluster_serve a1 b1 b2 c1
  # As a wire: with their checksums, a packet at a time.
  for sender in client a1 b1 b2 c1; do
    cluster_in "$sender" ethtool -K eth0 tx off >/dev/null
  done
  cluster_in router sysctl -qw net.ipv4.fib_multipath_hash_policy=1 \
    net.ipv6.fib_multipath_hash_policy=1
  nodes | manifest nodes.yaml
  tunnel_nodes "${NODES[@]}" | manifest sluice.yaml
  write_services "$dsr"
}
