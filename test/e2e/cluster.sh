# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A small cluster out of network namespaces, for the e2e tests and cmd/demo.sh; to be sourced.
#
#   client ---- router ---- node-a ---- a1, a2      (pods)
#                  \------- node-b ---- b1, b2
#                   \------ node-c ---- c1, c2      (CLUSTER_NODES=3)
#
# Every namespace is named $CLUSTER-<role>, with $CLUSTER unique to the process, so clusters do not
# meet. cluster_close (run on exit, also after Ctrl-C) ends the processes that were started here and
# removes namespaces, pins and files. Addresses are the same in every cluster; manifests may name
# them.
#
# Chosen before cluster_open:
#   CLUSTER_CNI=routed|bridge  pods behind point-to-point links as Calico has it, or on a bridge as
#                              flannel has it
#   CLUSTER_UNDERLAY=l2|l3     nodes on one segment, or each behind a port of the router
#   CLUSTER_NODES=2|3          how many nodes there are
#   CLUSTER_BIN                folder of the build with sluiced and sluicectl
#
# Each node has a cgroup of its own, which its agent is given (cluster_cgroup); what cluster_in runs
# in a node or its pods is in it after cluster_join_cgroups. Without that no socket is the agent's,
# and all that tests send is seen as packets.

CLUSTER_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${CLUSTER_CNI:=routed}" "${CLUSTER_UNDERLAY:=l2}" "${CLUSTER_NODES:=2}"
: "${CLUSTER_BIN:=$CLUSTER_ROOT/build/dev}"
CLUSTER_E2E=$CLUSTER_ROOT/test/e2e
CLUSTER_BPFFS_ROOT=/sys/fs/bpf
CLUSTER_CGROUPS='' CLUSTER_GROUPED=''
# The flag of an agent that keeps it from the sockets of this machine; to be given to each.
declare -A CLUSTER_SOCKET_FLAGS=([node-a]=--socket-lb=off [node-b]=--socket-lb=off
  [node-c]=--socket-lb=off)

declare -A CLUSTER_PIDS=()
CLUSTER_NODE_ROLES=(node-a node-b)
CLUSTER_PODS=(a1 a2 b1 b2)
if [[ $CLUSTER_NODES == 3 ]]; then
  CLUSTER_NODE_ROLES+=(node-c)
  CLUSTER_PODS+=(c1 c2)
fi
CLUSTER_ROLES=(client router "${CLUSTER_NODE_ROLES[@]}" "${CLUSTER_PODS[@]}")

# shellcheck disable=SC2034  # read by those who source this
declare -A CLUSTER_V4=([client]=192.0.2.10 [node-a]=198.51.100.11 [node-b]=198.51.100.12
  [node-c]=198.51.100.13 [c1]=10.244.3.11 [c2]=10.244.3.12
  [a1]=10.244.1.11 [a2]=10.244.1.12 [b1]=10.244.2.11 [b2]=10.244.2.12)
# shellcheck disable=SC2034
declare -A CLUSTER_V6=([client]=2001:db8:c::10 [node-a]=2001:db8:a::11 [node-b]=2001:db8:a::12
  [node-c]=2001:db8:a::13 [c1]=fd00:10:244:3::11 [c2]=fd00:10:244:3::12
  [a1]=fd00:10:244:1::11 [a2]=fd00:10:244:1::12 [b1]=fd00:10:244:2::11 [b2]=fd00:10:244:2::12)
if [[ $CLUSTER_UNDERLAY == l3 ]]; then
  CLUSTER_V4[node-b]=203.0.113.12
  CLUSTER_V6[node-b]=2001:db8:b::12
fi

# Runs a command in a namespace. nsenter and not `ip netns exec`: that one hides /sys/fs/bpf.
cluster_in() {
  local role=$1
  shift
  if [[ -n $CLUSTER_GROUPED && -n $(cluster_node_of "$role") ]]; then
    # shellcheck disable=SC2016  # of the inner shell
    set -- sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' \
      "$(cluster_cgroup "$(cluster_node_of "$role")")" "$@"
  fi
  nsenter --net="/run/netns/$CLUSTER-$role" -- "$@"
}

# The node that a pod runs on, or that it is.
cluster_node_of() {
  case $1 in
    a* | node-a) echo node-a ;;
    b* | node-b) echo node-b ;;
    c[0-9] | node-c) echo node-c ;;
  esac
}

# The cgroup of a node's processes and its pods'; nothing where the machine has no cgroup v2.
cluster_cgroup() {
  [[ -z $CLUSTER_CGROUPS ]] || echo "$CLUSTER_CGROUPS/$CLUSTER-$1"
}

# What cluster_in runs from here on is in the cgroup of its node.
cluster_join_cgroups() {
  [[ -n $CLUSTER_CGROUPS ]] || return 1
  CLUSTER_GROUPED=1
}

cluster_find_cgroups() {
  local root
  for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [[ $(stat -fc %T "$root" 2>/dev/null) != cgroup2fs ]] || CLUSTER_CGROUPS=$root
  done
}

# Starts a command in a namespace, in the background; its output goes to $CLUSTER_DIR/<name>.log.
cluster_spawn() {
  local name=$1 role=$2
  shift 2
  nsenter --net="/run/netns/$CLUSTER-$role" -- "$@" >>"$CLUSTER_DIR/$name.log" 2>&1 </dev/null &
  CLUSTER_PIDS[$name]=$!
}

# Waits until a log that a spawned command writes has a line that matches.
cluster_await_log() {
  local name=$1 pattern=$2 tries=200
  until grep -qE -- "$pattern" "$CLUSTER_DIR/$name.log" 2>/dev/null; do
    if ((--tries == 0)) || ! cluster_alive "$name"; then
      printf '%s never said "%s"; it said:\n' "$name" "$pattern" >&2
      tail -n 20 "$CLUSTER_DIR/$name.log" >&2
      return 1
    fi
    sleep 0.05
  done
}

cluster_alive() {
  [[ -n ${CLUSTER_PIDS[$1]:-} ]] && kill -0 "${CLUSTER_PIDS[$1]}" 2>/dev/null
}

# Ends a spawned command and waits for it; its exit code is left in CLUSTER_EXIT.
cluster_kill() {
  local name=$1 signal=${2:-TERM} pid=${CLUSTER_PIDS[$1]:-}
  CLUSTER_EXIT=0
  [[ -n $pid ]] || return 0
  kill "-$signal" "$pid" 2>/dev/null || true
  # shellcheck disable=SC2034
  wait "$pid" 2>/dev/null || CLUSTER_EXIT=$?
  unset "CLUSTER_PIDS[$name]"
}

# A veth pair from <role a>:<device a> to <role b>:<device b>.
cluster_link() {
  ip link add "$2" netns "$CLUSTER-$1" type veth peer name "$4" netns "$CLUSTER-$3"
  ip -n "$CLUSTER-$1" link set "$2" up
  ip -n "$CLUSTER-$3" link set "$4" up
}

# What stands for a wire carries whole frames with real checksums, as a NIC would send them.
cluster_as_wire() {
  cluster_in "$1" ethtool -K "$2" tx off >/dev/null
}

cluster_address() {
  local role=$1 device=$2 address
  shift 2
  for address in "$@"; do
    if [[ $address == *:* ]]; then
      ip -n "$CLUSTER-$role" addr add "$address" dev "$device" nodad
    else
      ip -n "$CLUSTER-$role" addr add "$address" dev "$device"
    fi
  done
}

cluster_route() {
  local role=$1
  shift
  if [[ $1 == *:* || $* == *" via "*:* ]]; then
    ip -6 -n "$CLUSTER-$role" route add "$@"
  else
    ip -n "$CLUSTER-$role" route add "$@"
  fi
}

# IPv6 addresses are usable at once (no duplicate address detection, nobody else is there); nodes
# refuse sources that come in where they would not go out (rp_filter), as distributions set it.
cluster_namespace() {
  local role=$1
  ip netns add "$CLUSTER-$role"
  ip -n "$CLUSTER-$role" link set lo up
  local settings=(net.ipv6.conf.{all,default}.accept_dad=0 net.ipv6.conf.{all,default}.accept_ra=0)
  case $role in
    router) settings+=(net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1) ;;
    node-*) settings+=(net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      net.ipv4.conf.{all,default}.rp_filter=1) ;;
  esac
  cluster_in "$role" sysctl -qw "${settings[@]}"
}

cluster_node() {
  local node=$1 gateway4=198.51.100.1 gateway6=2001:db8:a::1
  if [[ $CLUSTER_UNDERLAY == l3 && $node == node-b ]]; then
    gateway4=203.0.113.1 gateway6=2001:db8:b::1
  fi
  cluster_link "$node" eth0 router "$node"
  cluster_as_wire "$node" eth0
  cluster_as_wire router "$node"
  if [[ $CLUSTER_UNDERLAY == l2 ]]; then
    ip -n "$CLUSTER-router" link set "$node" master segment
  else
    cluster_address router "$node" "$gateway4/24" "$gateway6/64"
  fi
  cluster_address "$node" eth0 "${CLUSTER_V4[$node]}/24" "${CLUSTER_V6[$node]}/64"
  cluster_route "$node" default via "$gateway4"
  cluster_route "$node" default via "$gateway6"
  cluster_route router "$(cluster_pod_net4 "$node")" via "${CLUSTER_V4[$node]}"
  cluster_route router "$(cluster_pod_net6 "$node")" via "${CLUSTER_V6[$node]}"
}

cluster_pod_net4() {
  case $1 in node-a) echo 10.244.1.0/24 ;; node-b) echo 10.244.2.0/24 ;;
    node-c) echo 10.244.3.0/24 ;; esac
}

cluster_pod_net6() {
  case $1 in node-a) echo fd00:10:244:1::/64 ;; node-b) echo fd00:10:244:2::/64 ;;
    node-c) echo fd00:10:244:3::/64 ;; esac
}

# The host's end of a pod's link is cali<pod> or, on a bridge, veth<pod>.
cluster_pod() {
  local pod=$1 node host
  node=$(cluster_node_of "$pod")
  if [[ $CLUSTER_CNI == bridge ]]; then
    cluster_link "$pod" eth0 "$node" "veth$pod"
    ip -n "$CLUSTER-$node" link set "veth$pod" master cni0
    cluster_address "$pod" eth0 "${CLUSTER_V4[$pod]}/24" "${CLUSTER_V6[$pod]}/64"
    cluster_route "$pod" default via "${CLUSTER_V4[$pod]%.*}.1"
    cluster_route "$pod" default via "${CLUSTER_V6[$pod]%::*}::1"
    return
  fi
  host=cali$pod
  cluster_link "$pod" eth0 "$node" "$host"
  # The gateway is nobody's address: the host answers for it (proxy_arp), at once.
  cluster_in "$node" sysctl -qw "net.ipv4.conf.$host.proxy_arp=1" \
    "net.ipv4.neigh.$host.proxy_delay=0"
  cluster_address "$node" "$host" fe80::1/64
  cluster_route "$node" "${CLUSTER_V4[$pod]}/32" dev "$host" scope link
  cluster_route "$node" "${CLUSTER_V6[$pod]}/128" dev "$host"
  cluster_address "$pod" eth0 "${CLUSTER_V4[$pod]}/32" "${CLUSTER_V6[$pod]}/128"
  cluster_route "$pod" 169.254.1.1 dev eth0 scope link
  cluster_route "$pod" default via 169.254.1.1 dev eth0
  cluster_route "$pod" default via fe80::1 dev eth0
}

cluster_bridge() {
  local node=$1 net4 net6
  net4=$(cluster_pod_net4 "$node") net6=$(cluster_pod_net6 "$node")
  ip -n "$CLUSTER-$node" link add cni0 type bridge forward_delay 0
  ip -n "$CLUSTER-$node" link set cni0 up
  cluster_address "$node" cni0 "${net4%.0/24}.1/24" "${net6%::/64}::1/64"
}

# Builds the cluster and arranges for its end.
cluster_open() {
  local role other
  CLUSTER=sl$$
  CLUSTER_DIR=$(mktemp -d -t sluice.XXXXXX)
  CLUSTER_BPFFS=$CLUSTER_BPFFS_ROOT/$CLUSTER
  trap cluster_close EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mountpoint -q "$CLUSTER_BPFFS_ROOT" || mount -t bpf bpf "$CLUSTER_BPFFS_ROOT"

  for role in "${CLUSTER_ROLES[@]}"; do
    cluster_namespace "$role"
  done
  if [[ $CLUSTER_UNDERLAY == l2 ]]; then
    ip -n "$CLUSTER-router" link add segment type bridge forward_delay 0
    ip -n "$CLUSTER-router" link set segment up
    cluster_address router segment 198.51.100.1/24 2001:db8:a::1/64
  fi
  cluster_link client eth0 router client
  cluster_as_wire client eth0
  cluster_as_wire router client
  cluster_address router client 192.0.2.1/24 2001:db8:c::1/64
  cluster_address client eth0 192.0.2.10/24 2001:db8:c::10/64
  cluster_route client default via 192.0.2.1
  cluster_route client default via 2001:db8:c::1
  cluster_find_cgroups
  for role in "${CLUSTER_NODE_ROLES[@]}"; do
    if [[ -n $CLUSTER_CGROUPS ]]; then
      mkdir "$(cluster_cgroup "$role")"
      CLUSTER_SOCKET_FLAGS[$role]=--cgroup=$(cluster_cgroup "$role")
    fi
    cluster_node "$role"
    [[ $CLUSTER_CNI == routed ]] || cluster_bridge "$role"
  done
  if [[ $CLUSTER_UNDERLAY == l2 ]]; then
    for role in "${CLUSTER_NODE_ROLES[@]}"; do
      for other in "${CLUSTER_NODE_ROLES[@]}"; do
        [[ $role != "$other" ]] || continue
        cluster_route "$role" "$(cluster_pod_net4 "$other")" via "${CLUSTER_V4[$other]}"
        cluster_route "$role" "$(cluster_pod_net6 "$other")" via "${CLUSTER_V6[$other]}"
      done
    done
  fi
  # Service addresses lead nowhere in a real network; here the router sends them to node A, so that
  # what protects them is the node and not the lack of a route.
  cluster_route router 10.96.0.0/16 via "${CLUSTER_V4[node-a]}"
  cluster_route router fd00:10:96::/112 via "${CLUSTER_V6[node-a]}"
  for role in "${CLUSTER_PODS[@]}"; do
    cluster_pod "$role"
  done
}

# Ends what was started, newest matter first, and leaves nothing. Safe to call twice.
cluster_close() {
  local name role pid
  [[ -n ${CLUSTER:-} ]] || return 0
  trap '' INT TERM HUP
  for name in "${!CLUSTER_PIDS[@]}"; do
    cluster_kill "$name"
  done
  for role in "${CLUSTER_ROLES[@]}"; do
    [[ -e /run/netns/$CLUSTER-$role ]] || continue
    for pid in $(ip netns pids "$CLUSTER-$role"); do
      kill "$pid" 2>/dev/null || true
    done
    ip netns del "$CLUSTER-$role"
  done
  for role in "${CLUSTER_NODE_ROLES[@]}"; do
    rm -rf "$CLUSTER_BPFFS_ROOT/$CLUSTER-$role"
    cluster_remove_cgroup "$role"
  done
  rm -rf "$CLUSTER_DIR"
  CLUSTER=
}

# A process that has ended leaves its cgroup a moment later.
cluster_remove_cgroup() {
  local folder tries=100
  cluster_find_cgroups  # of a cluster that another process made
  folder=$(cluster_cgroup "$1")
  until [[ ! -d $folder ]] || rmdir "$folder" 2>/dev/null; do
    ((--tries > 0)) || return 0
    sleep 0.05
  done
}

# Sets the MTU of both ends of a link to the router: of `client`, `node-a` or `node-b`.
cluster_mtu() {
  ip -n "$CLUSTER-$1" link set eth0 mtu "$2"
  ip -n "$CLUSTER-router" link set "$1" mtu "$2"
}

# Starts a pod's servers: nginx on port 8080, which answers "<pod> <client address>", serves and
# takes files under /files/; and a UDP echo on port 5353.
cluster_serve() {
  local pod conf
  mkdir -p "$CLUSTER_DIR/files"
  for pod in "$@"; do
    conf=$CLUSTER_DIR/nginx-$pod.conf
    mkdir -p "$CLUSTER_DIR/nginx-$pod"
    cat >"$conf" <<NGINX
user root;
worker_processes 1;
pid $CLUSTER_DIR/nginx-$pod.pid;
error_log $CLUSTER_DIR/nginx-$pod.log warn;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path $CLUSTER_DIR/nginx-$pod/body;
  proxy_temp_path $CLUSTER_DIR/nginx-$pod/proxy;
  fastcgi_temp_path $CLUSTER_DIR/nginx-$pod/fastcgi;
  uwsgi_temp_path $CLUSTER_DIR/nginx-$pod/uwsgi;
  scgi_temp_path $CLUSTER_DIR/nginx-$pod/scgi;
  client_max_body_size 200m;
  keepalive_requests 1000000;
  server {
    listen 8080 backlog=4096;
    listen [::]:8080 ipv6only=on backlog=4096;
    location / { default_type text/plain; return 200 "$pod \$remote_addr\n"; }
    location /files/ { alias $CLUSTER_DIR/files/; dav_methods PUT; }
  }
}
NGINX
    # Returns when it listens; its pid is in the file named above.
    cluster_in "$pod" nginx -c "$conf" -e "$CLUSTER_DIR/nginx-$pod.log"
    cluster_spawn "echo-$pod" "$pod" python3 "$CLUSTER_E2E/udp_echo.py" "$pod" 5353
  done
  for pod in "$@"; do
    cluster_await_log "echo-$pod" '^ready$'
  done
}

# cluster_agent <node> <manifests> [flags]: starts sluiced on a node and returns when what the
# manifests say is in force.
cluster_agent() {
  local node=$1 manifests=$2
  shift 2
  cluster_agent_start "$node" "$manifests" "$@"
  cluster_agent_ready "$node"
}

cluster_agent_start() {
  local node=$1 manifests=$2
  shift 2
  mkdir -p "$CLUSTER_DIR/state-$node"
  cluster_spawn "sluiced-$node" "$node" "$CLUSTER_BIN/cmd/sluiced/sluiced" \
    --manifests "$manifests" --hostname-override "$node" \
    --bpffs "$CLUSTER_BPFFS-$node" --state-dir "$CLUSTER_DIR/state-$node" \
    "${CLUSTER_SOCKET_FLAGS[$node]}" "$@"
}



cluster_agent_ready() {
  local node=$1 tries=600
  until [[ -S $CLUSTER_DIR/state-$node/sluiced.sock ]] &&
    cluster_ctl "$node" sync >/dev/null 2>&1; do
    if ((--tries == 0)) || ! cluster_alive "sluiced-$node"; then
      printf 'sluiced on %s did not get ready; it said:\n' "$node" >&2
      tail -n 20 "$CLUSTER_DIR/sluiced-$node.log" >&2
      return 1
    fi
    sleep 0.05
  done
}

# sluicectl, pointed at the agent of a node.
cluster_ctl() {
  local node=$1
  shift
  cluster_in "$node" "$CLUSTER_BIN/cmd/sluicectl/sluicectl" \
    --state-dir "$CLUSTER_DIR/state-$node" "$@"
}

# Brackets for an IPv6 address with a port.
cluster_host_port() {
  if [[ $1 == *:* ]]; then echo "[$1]:$2"; else echo "$1:$2"; fi
}
