#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# loadBalancerSourceRanges guards load balancer addresses: who is outside them is dropped and
# counted.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB4=203.0.113.80 LB6=2001:db8:1b::80

open_cluster
cluster_serve a1 b1
cluster_route router $LB4/32 via "${CLUSTER_V4[node-a]}"
cluster_route router $LB6/128 via "${CLUSTER_V6[node-a]}"
cluster_address client eth0 192.0.2.11/24 2001:db8:c::11/64

# balanced <range...>
balanced() {
  { service web LoadBalancer TCP 80 30080 $WEB4 $WEB6 "loadBalancerSourceRanges: [$(
    IFS=,
    echo "$*"
  )]" && printf 'status:\n  loadBalancer: {ingress: [{ip: %s}, {ip: "%s"}]}\n' $LB4 $LB6; } |
    manifest web.yaml
}

nodes | manifest nodes.yaml
web_on a1 b1
balanced '"192.0.2.10/32"' '"2001:db8:c::10/128"'
cluster_agent node-a "$MANIFESTS"

for family in 4 6; do
  declare -n balancer=LB$family at=CLUSTER_V$family
  denied=192.0.2.11
  [[ $family == 4 ]] || denied=2001:db8:c::11
  step "IPv$family"
  expect_match 'in range' "$(probe client "$balancer" 80 --source "${at[client]}")" '^answer'
  before=$(dropped source_denied)
  expect_equal 'out of range' \
    "$(probe client "$balancer" 80 --source $denied --timeout 1.5)" timeout
  expect_equal 'counted' "$(($(dropped source_denied) > before))" 1
  expect_match 'NodePorts are not guarded' \
    "$(probe client "${at[node-a]}" 30080 --source $denied)" '^answer'
done

step 'ranges of one family leave the other open; they change while running'
balanced '" 192.0.2.11/32 "'
in_force
expect_equal 'was in range' "$(probe client $LB4 80 --source 192.0.2.10 --timeout 1.5)" timeout
expect_match 'is in range' "$(probe client $LB4 80 --source 192.0.2.11)" '^answer'
expect_match 'the other family' "$(probe client $LB6 80 --source 2001:db8:c::11)" '^answer'
