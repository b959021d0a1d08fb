# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Three nodes behind a router that spreads flows over them, and two services with an address of a
# load balancer, whose packets nodes pass on to each other; how they do (--forwarding), as clients,
# backends and wires see it. To be sourced, in place of expect.sh.
CLUSTER_NODES=3
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

NODES=(node-a node-b node-c)
LB4=203.0.113.80 LB6=2001:db8:80::80
declare -A PORT_OF=([tcp]=80 [udp]=53) POD_PORT_OF=([tcp]=8080 [udp]=5353)
# What pods have for each service.
declare -A SERVED_AT=([web]="TCP ${POD_PORT_OF[tcp]}" [echo]="UDP ${POD_PORT_OF[udp]}")

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
snat='"sluice.io/forwarding": snat' hybrid='"sluice.io/forwarding": hybrid'
# shellcheck disable=SC2034
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

# pods_on <pod[:state]...>: who is behind each of the services.
pods_on() {
  local name
  for name in "${!SERVED_AT[@]}"; do
    # shellcheck disable=SC2086  # protocol and port
    slices "$name" ${SERVED_AT[$name]} "$@" | manifest "$name-endpoints.yaml"
  done
}

open_three_nodes() {
  local sender
  open_cluster
  cluster_serve a1 b1 b2 c1
  # As a wire: with their checksums, a packet at a time.
  for sender in client a1 b1 b2 c1; do
    cluster_as_wire "$sender" eth0
  done
  cluster_in router sysctl -qw net.ipv4.fib_multipath_hash_policy=1 \
    net.ipv6.fib_multipath_hash_policy=1
  nodes | manifest nodes.yaml
  tunnel_nodes "${NODES[@]}" | manifest sluice.yaml
  write_services "$dsr"
}

# As the other ends of wires, for what XDP sends.
pass_on_at_the_router() {
  local node
  for node in "${NODES[@]}"; do
    pass_on router "$node"
  done
}

# passed_whole <forwarding> <protocol>: nodes pass it on as it came, and the backend's node answers.
passed_whole() {
  [[ $1 == dsr || $1/$2 == hybrid/tcp ]]
}

# source_seen <forwarding> <protocol> <family> <node> <pod>: whom the pod takes for the client of
# what came in by the node.
source_seen() {
  declare -n at=CLUSTER_V$3
  if passed_whole "$1" "$2" || [[ $(cluster_node_of "$5") == "$4" ]]; then
    echo "${at[client]}"
  else
    echo "${at[$4]}"
  fi
}

# answers <forwarding> <pod> <family>: TCP and UDP, at the load balancer's address by way of each
# node and at each node's own. There from ports that the client uses for nothing else: what comes
# from one port by two frontends to one pod is given the node's address.
OWN_PORT=20000
answers() {
  local forwarding=$1 pod=$2 family=$3 node protocol port wanted
  declare -n nodes=CLUSTER_V$family balancer=LB$family
  for node in "${NODES[@]}"; do
    route_to "$node"
    for protocol in tcp udp; do
      port=${PORT_OF[$protocol]}
      wanted="answer $pod $(source_seen "$forwarding" "$protocol" "$family" "$node" "$pod")"
      expect_equal "$protocol to $balancer by $node" \
        "$(probe client "$balancer" "$port" --protocol "$protocol")" "$wanted"
      OWN_PORT=$((OWN_PORT + 1))
      expect_equal "$protocol to $node, IPv$family" \
        "$(probe client "${nodes[$node]}" "$(node_port "$port")" --protocol "$protocol" \
          --source "${nodes[client]}" --source-port $OWN_PORT)" "$wanted"
    done
  done
}

# bodies <octets>: what `bodies_pass` carries.
bodies() {
  head -c "$1" /dev/urandom >"$CLUSTER_DIR/files/down"
  head -c "$1" /dev/urandom >"$CLUSTER_DIR/up"
}

# bodies_pass <address> <port>: down and up, in packets as large as they get.
bodies_pass() {
  local at
  at=http://$(cluster_host_port "$1" "$2")/files
  cmp <(cluster_in client curl -sS --max-time 20 "$at/down") "$CLUSTER_DIR/files/down" ||
    fail "down from $1"
  rm -f "$CLUSTER_DIR/files/up"
  cluster_in client curl -sS --max-time 20 -T "$CLUSTER_DIR/up" "$at/up" || fail "up to $1"
  cmp "$CLUSTER_DIR/files/up" "$CLUSTER_DIR/up" || fail "up to $1"
}

# Both families by way of node-a, and a NodePort.
large() {
  bodies 3000000
  route_to node-a
  bodies_pass $LB4 80
  bodies_pass $LB6 80
  bodies_pass "${CLUSTER_V4[node-c]}" 30080
}

# nothing_dropped <reason...>: on no node.
nothing_dropped() {
  local node
  for node in "${NODES[@]}"; do
    expect_equal "dropped on $node" "$(cluster_ctl "$node" -o json drops |
      json "{one['reason'] for one in d['drops'] if one['packets']} & set('$*'.split()) or ''")" ''
  done
}

# drained <reroute> <load...>: under the loads node-c's pods go, then its routes, which the command
# `reroute` changes, then its agent; and all come back.
drained() {
  local reroute=$1
  shift
  pods_on a1 b1 b2 c1:terminating
  everywhere
  load_some_more "$@"
  pods_on a1 b1 b2
  everywhere
  "$reroute" node-a node-b
  load_some_more "$@"
  cluster_kill sluiced-node-c
  load_some_more "$@"
  cluster_agent node-c "$MANIFESTS"
  pods_on a1 b1 b2 c1
  everywhere
  "$reroute" "${NODES[@]}"
  load_some_more "$@"
}
