#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A service without a usable backend refuses: TCP by RST, UDP by port unreachable, at once, in both
# families, from pods and from outside; a port that a ClusterIP does not have likewise. An address
# of --service-cidr that no service has gets nothing, and does not loop on the default route.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

# Long enough to tell an answer from none.
quick=(--timeout 3)

open_cluster
cluster_serve a1 b1
usual_manifests 'sessionAffinity: None'
cluster_agent node-a "$MANIFESTS"

# refused_everywhere <what>
refused_everywhere() {
  local family
  for family in 4 6; do
    declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
    step "$1, IPv$family"
    expect_equal 'pod, TCP' "$(probe a1 "$web" 80 "${quick[@]}")" refused
    expect_equal 'pod, UDP' "$(probe a1 "$echo_at" 53 --protocol udp "${quick[@]}")" refused
    expect_equal 'outside, TCP' "$(probe client "${at[node-a]}" 30080 "${quick[@]}")" refused
    expect_equal 'outside, UDP' \
      "$(probe client "${at[node-a]}" 30053 --protocol udp "${quick[@]}")" refused
  done
}

refused_everywhere 'no endpoint'
web_on b1:notready a1:notready
echo_on b1:notready a1:notready
in_force
refused_everywhere 'endpoints that are not ready'
expect_equal 'counted' "$(($(dropped no_backend) >= 16))" 1
expect_equal 'and per service' "$(cluster_ctl node-a -o json service list |
  json "all(one['stats']['rejected'] >= 8 for one in d)")" True

step 'terminating ones are used when there is no other'
web_on a1:terminating b1:notready
in_force
expect_match 'terminating' "$(probe a2 $WEB4 80)" '^answer a1'

step 'a port that the ClusterIP does not have, and an address that no service has'
web_on a1
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --service-cidr '10.96.0.0/16,fd00:10:96::/112'
for address in $WEB4 $WEB6; do
  expect_equal 'TCP' "$(probe a2 "$address" 81 "${quick[@]}")" refused
  expect_equal 'UDP' "$(probe a2 "$address" 81 --protocol udp "${quick[@]}")" refused
  expect_match 'the port that it has' "$(probe a2 "$address" 80)" '^answer a1'
done
for address in 10.96.9.9 fd00:10:96::9009; do
  expect_equal 'nobody' "$(probe a2 $address 80 --timeout 1.5)" timeout
done
expect_equal 'counted' "$(($(dropped no_such_port) >= 4 && $(dropped no_such_service) >= 2))" 1
