#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Addresses that only services have answer pings while they have a usable endpoint, and refuse ports
# that no service has there: ClusterIPs to pods and the node, a load balancer's to everybody. An
# address that is a Node's own stays the machine's.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB4=203.0.113.80 LB6=2001:db8:1b::80
# shellcheck disable=SC2034  # named by family
NOBODY4=10.96.9.9 NOBODY6=fd00:10:96::9009
quick=(--timeout 2)

open_cluster
cluster_serve a1 b1
cluster_join_cgroups || skip 'no cgroup v2'
cluster_route router $LB4/32 via "${CLUSTER_V4[node-a]}"
cluster_route router $LB6/128 via "${CLUSTER_V6[node-a]}"

# balanced <ingress addresses...>: the service `web`, with those.
balanced() {
  service web LoadBalancer TCP 80 30080 $WEB4 $WEB6
  printf 'status:\n  loadBalancer:\n    ingress:\n'
  printf '      - {ip: "%s"}\n' "$@"
}

nodes | manifest nodes.yaml
balanced $LB4 $LB6 | manifest web.yaml
web_on a1 b1
flags=(--service-cidr '10.96.0.0/16,fd00:10:96::/112')
cluster_agent node-a "$MANIFESTS" "${flags[@]}"

# expect_ping <from> <address> <what is printed> <why>
expect_ping() {
  expect_equal "$4: $1 pings $2" \
    "$(cluster_in "$1" python3 "$CLUSTER_E2E/ping.py" "$2" "${3#*/}")" "$3"
}

# expect_pings <answered or not: 3/3 or 0/1>: of all that may ask, at the same time.
expect_pings() {
  local family pair from address running=()
  for family in 4 6; do
    declare -n web=WEB$family balancer=LB$family
    for pair in "a1 $web" "node-a $web" "a2 $balancer" "node-a $balancer" "client $balancer"; do
      read -r from address <<<"$pair"
      (expect_ping "$from" "$address" "$1" 'a service') &
      running+=($!)
    done
  done
  for pair in "${running[@]}"; do
    wait "$pair"
  done
}

step 'while there is an endpoint'
expect_pings 3/3
for family in 4 6; do
  declare -n web=WEB$family nobody=NOBODY$family at=CLUSTER_V$family
  step "not for everybody, IPv$family"
  before=$(dropped external_denied)
  expect_ping client "$web" 0/1 'a ClusterIP from outside'
  expect_equal 'counted' "$(dropped external_denied)" $((before + 1))
  for from in a1 node-a; do
    before=$(dropped no_such_service)
    expect_ping $from "$nobody" 0/1 'an address that no service has'
    expect_equal "counted, $from" "$(dropped no_such_service)" $((before + 1))
  done
  expect_ping a1 "${at[b1]}" 1/1 'a pod is no service'
  expect_ping client "${at[node-a]}" 1/1 'nor is a node'
done

step 'no endpoint that is usable'
for pods in '' 'a1:notready b1:notready'; do
  # shellcheck disable=SC2086  # words
  web_on $pods
  in_force
  expect_pings 0/1
done
expect_equal 'counted' "$(dropped no_backend)" 20
web_on b1
in_force
expect_pings 3/3

# refused_at <from> <address>: ports that no service has there.
refused_at() {
  expect_equal "$1, TCP to $2" "$(probe "$1" "$2" 81 "${quick[@]}")" refused
  expect_equal "$1, UDP to $2" "$(probe "$1" "$2" 81 --protocol udp "${quick[@]}")" refused
}

for family in 4 6; do
  declare -n balancer=LB$family
  step "ports that the load balancer's address does not have, IPv$family"
  for from in a1 node-a client; do
    refused_at $from "$balancer"
    expect_match "the port that it has, $from" "$(probe $from "$balancer" 80)" '^answer b1'
  done
  CLUSTER_GROUPED=
  refused_at a1 "$balancer"
  CLUSTER_GROUPED=1
done
[[ $(dropped no_such_port) -ge 12 ]] || fail 'not counted'

step 'an address that is a Node'"'"'s own: only the port is the service'"'"'s'
balanced $LB4 $LB6 "${CLUSTER_V4[node-b]}" "${CLUSTER_V6[node-b]}" | manifest web.yaml
in_force
cluster_spawn own node-b python3 "$CLUSTER_E2E/udp_echo.py" machine 82
cluster_await_log own '^ready$'
before=$(dropped no_such_port)
for family in 4 6; do
  declare -n at=CLUSTER_V$family
  for from in a1 node-a; do
    # What the node itself sends to outside of the cluster is no service's matter.
    expect_match "the service's port, $from" "$(probe $from "${at[node-b]}" 80)" '^answer b1'
    expect_match "the machine's, $from" \
      "$(probe $from "${at[node-b]}" 82 --protocol udp)" '^answer machine'
    expect_ping $from "${at[node-b]}" 1/1 'it is the machine that answers'
  done
done
expect_equal 'nothing is refused by us' "$(dropped no_such_port)" "$before"
cluster_kill own
web_on
in_force
for family in 4 6; do
  declare -n at=CLUSTER_V$family
  expect_ping a1 "${at[node-b]}" 1/1 'with no endpoint, too'
done
web_on b1

step '--no-service-echo'
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" "${flags[@]}" --no-service-echo
expect_pings 0/1
for family in 4 6; do
  declare -n balancer=LB$family
  refused_at client "$balancer"
done
