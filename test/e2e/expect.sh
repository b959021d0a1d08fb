# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What every e2e test begins with: the cluster (cluster.sh), manifests to write into
# $MANIFESTS, traffic to send, and expectations. A test ends at the first expectation that does not
# hold, with the agent's last words; exit code 77 says that it could not run here, and why.
set -euo pipefail

# shellcheck source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

WEB4=10.96.0.10 WEB6=fd00:10:96::10       # the service `web`: TCP 80, NodePort 30080
ECHO4=10.96.0.53 ECHO6=fd00:10:96::53     # the service `echo`: UDP 53, NodePort 30053

step() {
  printf '%s\n' "-- $*"
}

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  local log
  for log in "$CLUSTER_DIR"/sluiced-*.log; do
    [[ -e $log ]] || continue
    printf '%s ends with:\n' "${log##*/}" >&2
    tail -n 15 "$log" >&2
  done
  if [[ -d ${CLUSTER_DIR:-}/state-node-a ]]; then
    cluster_ctl node-a drops >&2 || true
  fi
  exit 1
}

skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}

# expect_equal <what> <got> <wanted>
expect_equal() {
  [[ $2 == "$3" ]] || fail "$1: got '$2', wanted '$3'"
}

# expect_match <what> <got> <extended regular expression>
expect_match() {
  [[ $2 =~ $3 ]] || fail "$1: got '$2', wanted a match of '$3'"
}

# eventually <what> <command...>: the command holds within ten seconds, or EVENTUALLY seconds.
eventually() {
  local what=$1 tries=$((${EVENTUALLY:-10} * 10))
  shift
  until "$@"; do
    ((--tries > 0)) || fail "never: $what"
    sleep 0.1
  done
}

# json <expression>: a Python expression of `d`, the JSON on standard input.
json() {
  python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}

open_cluster() {
  [[ $EUID -eq 0 ]] || fail 'e2e tests need root'
  cluster_open
  MANIFESTS=$CLUSTER_DIR/manifests
  mkdir "$MANIFESTS"
}

# manifest <file>: what is on standard input becomes that file at once, as editors do it.
manifest() {
  cat >"$CLUSTER_DIR/manifest.new"
  mv "$CLUSTER_DIR/manifest.new" "$MANIFESTS/$1"
}

# service <name> <type> <protocol> <port> <node port or -> <ClusterIP v4> <ClusterIP v6>
#         [more lines of its spec...]
service() {
  local name=$1 type=$2 protocol=$3 port=$4 node_port=$5 ip4=$6 ip6=$7 line
  shift 7
  cat <<YAML
apiVersion: v1
kind: Service
metadata: {name: $name, namespace: default}
spec:
  type: $type
  ipFamilies: [IPv4, IPv6]
  clusterIP: $ip4
  clusterIPs: ["$ip4", "$ip6"]
YAML
  for line in "$@"; do
    printf '  %s\n' "$line"
  done
  printf '  ports:\n    - {name: main, protocol: %s, port: %s%s}\n' "$protocol" "$port" \
    "$([[ $node_port == - ]] || printf ', nodePort: %s' "$node_port")"
}

# slices <service> <protocol> <port> <pod[:state]...>: state is ready, notready or terminating.
slices() {
  local name=$1 protocol=$2 port=$3 family pod state address conditions
  shift 3
  for family in IPv4 IPv6; do
    cat <<YAML
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: $name-${family,,}
  namespace: default
  labels: {kubernetes.io/service-name: $name}
addressType: $family
ports: [{name: main, protocol: $protocol, port: $port}]
endpoints:$([[ $# -gt 0 ]] || printf ' []')
YAML
    for pod in "$@"; do
      state=${pod#*:} pod=${pod%%:*}
      address=${CLUSTER_V4[$pod]}
      [[ $family == IPv4 ]] || address=${CLUSTER_V6[$pod]}
      case $state in
        notready) conditions='ready: false, serving: false, terminating: false' ;;
        terminating) conditions='ready: false, serving: true, terminating: true' ;;
        *) conditions='ready: true' ;;
      esac
      printf '  - {addresses: ["%s"], nodeName: %s, conditions: {%s}}\n' "$address" \
        "$(cluster_node_of "$pod")" "$conditions"
    done
  done
}

nodes() {
  local node
  for node in "${CLUSTER_NODE_ROLES[@]}"; do
    cat <<YAML
---
apiVersion: v1
kind: Node
metadata: {name: $node}
status:
  addresses:
    - {type: InternalIP, address: "${CLUSTER_V4[$node]}"}
    - {type: InternalIP, address: "${CLUSTER_V6[$node]}"}
YAML
  done
}

# tunnel_nodes <node...>: those that run sluice, and take what others pass on.
tunnel_nodes() {
  local node
  cat <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: sluice, namespace: kube-system}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: sluice-ipv4
  namespace: kube-system
  labels: {kubernetes.io/service-name: sluice, service.kubernetes.io/headless: ""}
addressType: IPv4
endpoints:
YAML
  for node in "$@"; do
    printf '  - {addresses: ["%s"], nodeName: %s, conditions: {ready: true}}\n' \
      "${CLUSTER_V4[$node]}" "$node"
  done
}

# web_on <pod[:state]...>, echo_on <pod[:state]...>: who is behind the two usual services.
web_on() {
  slices web TCP 8080 "$@" | manifest web-endpoints.yaml
}

echo_on() {
  slices echo UDP 5353 "$@" | manifest echo-endpoints.yaml
}

# The two usual services, in both families, on the pods named, with more lines for their spec.
usual_manifests() {
  local pods=() lines=() word
  for word in "$@"; do
    if [[ $word == *": "* ]]; then lines+=("$word"); else pods+=("$word"); fi
  done
  nodes | manifest nodes.yaml
  service web NodePort TCP 80 30080 $WEB4 $WEB6 "${lines[@]}" | manifest web.yaml
  service echo NodePort UDP 53 30053 $ECHO4 $ECHO6 "${lines[@]}" | manifest echo.yaml
  web_on "${pods[@]}"
  echo_on "${pods[@]}"
}

# Returns when the agent of node-a has put in force what the manifests say.
in_force() {
  in_force_on node-a
}

in_force_on() {
  cluster_ctl "$1" sync --timeout 20s >/dev/null || fail "sluicectl sync on $1"
}

traffic() {
  local from=$1
  shift
  cluster_in "$from" python3 "$CLUSTER_E2E/traffic.py" "$@"
}

# probe <from> <address> <port> [flags]: one connection's outcome, e.g. "answer a1 192.0.2.10".
probe() {
  local from=$1 target
  target=$(cluster_host_port "$2" "$3")
  shift 3
  traffic "$from" probe "$target" "$@"
}

# How many connections or datagrams were asked for a second time by spread.
declare -A SPREAD_AGAIN=([tcp]=0 [udp]=0)

# spread <from> <address> <port> <count> <a1,b1...> [flags]: exactly these answer, evenly. Chance
# alone makes one spread in a thousand look uneven, and the tests make dozens: one that is uneven
# and nothing worse is asked for again, and then it counts.
spread() {
  local from=$1 target=$2 count=$4 backends=$5 result protocol=tcp
  target=$(cluster_host_port "$2" "$3")
  shift 5
  [[ " $* " == *' udp '* ]] && protocol=udp
  local ask=(traffic "$from" spread "$target" --count "$count" --expect-backends "$backends" "$@")
  if ! result=$("${ask[@]}" 2>&1); then
    [[ ${result##*$'\n'} == uneven ]] ||
      fail "spread of $count from $from to $target over $backends: $result"
    SPREAD_AGAIN[$protocol]=$((SPREAD_AGAIN[$protocol] + count))
    result=$("${ask[@]}" 2>&1) ||
      fail "spread of $count from $from to $target over $backends, twice: $result"
  fi
  printf '   %s -> %s: %s\n' "$from" "$target" "$(json 'd["backends"]' <<<"$result")"
}

# hold <name> <from> <target> [flags]: one connection; ask <name> sends one request over it, prints
# what became of it. crowd <name> <from> <count> <target> [flags]: so many connections; tell <name>
# <words> says a line to it (traffic.py), prints what it says.
declare -A HELD=()

hold() {
  stay hold "$@"
}

crowd() {
  local name=$1 from=$2 count=$3
  shift 3
  stay crowd "$name" "$from" "$@" --count "$count"
}

stay() {
  local mode=$1 name=$2 from=$3 descriptor
  shift 3
  mkfifo "$CLUSTER_DIR/$name.in"
  (
    [[ -z $CLUSTER_GROUPED || -z $(cluster_node_of "$from") ]] ||
      echo "$BASHPID" >"$(cluster_cgroup "$(cluster_node_of "$from")")/cgroup.procs"
    exec nsenter --net="/run/netns/$CLUSTER-$from" -- \
      python3 "$CLUSTER_E2E/traffic.py" "$mode" "$@" --timeout 5
  ) <"$CLUSTER_DIR/$name.in" >"$CLUSTER_DIR/$name.log" 2>&1 &
  CLUSTER_PIDS[$name]=$!
  exec {descriptor}>"$CLUSTER_DIR/$name.in"
  HELD[$name]=$descriptor
  cluster_await_log "$name" '^open$'
}

ask() {
  tell "$1" ''
}

tell() {
  local lines
  lines=$(wc -l <"$CLUSTER_DIR/$1.log")
  echo "$2" >&"${HELD[$1]}"
  eventually "$1 hears something" has_lines "$CLUSTER_DIR/$1.log" $((lines + 1))
  tail -n 1 "$CLUSTER_DIR/$1.log"
}

has_lines() {
  [[ $(wc -l <"$1") -ge $2 ]]
}

# load_start <name> <from> <target...> [flags]; load_stop <name> prints its counts as JSON.
load_start() {
  local name=$1 from=$2
  shift 2
  cluster_spawn "load-$name" "$from" python3 "$CLUSTER_E2E/traffic.py" load "$@" \
    --progress "$CLUSTER_DIR/load-$name.json"
  cluster_await_log "load-$name" running || fail "load $name"
}

load_stop() {
  cluster_kill "load-$1"
  tail -n 1 "$CLUSTER_DIR/load-$1.log"
}

# Requests that a running load has made so far.
load_asked() {
  json 'd["asked"]' 2>/dev/null <"$CLUSTER_DIR/load-$1.json" || echo 0
}

load_goes_on() {
  [[ $(load_asked "$1") -gt $2 ]]
}

# Waits until a load has made some more requests, so that what was just done has been under load.
load_some_more() {
  local name asked
  for name in "$@"; do
    asked=$(load_asked "$name")
    eventually "load $name goes on" load_goes_on "$name" $((asked + ${LOAD_STEP:-80}))
  done
}

# web_moves_to <load> <pod> <pod...>: web goes to the first pod and away from the others, as
# Kubernetes has it: terminating, and deleted when their last requests have ended. What is deleted
# outright resets the connections that it still serves (semantics.md, Change).
web_moves_to() {
  local name=$1 to=$2
  shift 2
  web_on "$to" "${@/%/:terminating}"
  in_force
  load_some_more "$name"
  web_on "$to"
  in_force
}

# load_stop_without_failure <name>
load_stop_without_failure() {
  local result
  cluster_kill "load-$1"
  result=$(tail -n 1 "$CLUSTER_DIR/load-$1.log")
  printf '   %s: %s\n' "$1" "$result"
  expect_equal "failed requests of $1" "$(json 'd["failed"]' <<<"$result")" 0
  expect_equal "$1 asked something" "$(json 'd["asked"] > 300' <<<"$result")" True
}

# dropped <reason> [node]: packets counted with that reason.
dropped() {
  cluster_ctl "${2:-node-a}" -o json drops |
    json "sum(one['packets'] for one in d['drops'] if one['reason'] == '$1')"
}

# pass_on <role> <device>: a program that takes every frame is attached.
pass_on() {
  bpftool prog load "$CLUSTER_BIN/test/e2e/xdp_pass.bpf.o" "$CLUSTER_BPFFS-pass" type xdp
  cluster_in "$1" bpftool net attach xdpdrv pinned "$CLUSTER_BPFFS-pass" dev "$2"
  rm "$CLUSTER_BPFFS-pass"
}

# Frames that XDP has sent out of node-a's uplink again.
sent_early() {
  cluster_in node-a ethtool -S eth0 | awk '/_xdp_tx:/ { sum += $2 } END { print sum + 0 }'
}
