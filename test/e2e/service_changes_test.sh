#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a Service that changes does to flows that are there: one that gets its first endpoint takes
# its UDP flows to it; one that changes loses the frontends that it lost and no flow of the others;
# an address and node port that are used again lead to the new Service alone.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1
usual_manifests 'sessionAffinity: None'
cluster_agent node-a "$MANIFESTS"

# hold_all <name>: UDP sockets of a pod and of an outside client, in both families, on `echo`.
hold_all() {
  local family
  for family in 4 6; do
    declare -n echo_at=ECHO$family at=CLUSTER_V$family
    hold "$1-pod$family" a2 "$(cluster_host_port "$echo_at" 53)" --protocol udp
    hold "$1-outside$family" client "$(cluster_host_port "${at[node-a]}" 30053)" --protocol udp
  done
}

# expect_all <name> <what> <extended regular expression>: of one datagram of each.
expect_all() {
  local socket
  for socket in pod4 pod6 outside4 outside6; do
    expect_match "$2: $socket" "$(ask "$1-$socket")" "$3"
  done
}

step 'the first endpoint comes'
hold_all waiting
expect_all waiting 'nobody is there' '^refused$'
echo_on b1 && in_force
expect_all waiting 'somebody is' '^answer b1 '

step 'another node port, and no external IP any more'
service echo NodePort UDP 53 30053 $ECHO4 $ECHO6 'externalIPs: [203.0.113.7]' | manifest echo.yaml
web_on a1 && echo_on a1 && in_force
for name in web echo; do
  declare -n cluster_ip=${name^^}4
  protocol=tcp port=80
  [[ $name == web ]] || protocol=udp port=53
  hold "$name-kept" a2 "$cluster_ip:$port" --protocol $protocol
  expect_match "$name at first" "$(ask "$name-kept")" '^answer a1 '
done
hold external a2 203.0.113.7:53 --protocol udp
expect_match 'the external IP at first' "$(ask external)" '^answer a1 '
service web NodePort TCP 80 30081 $WEB4 $WEB6 | manifest web.yaml
service echo NodePort UDP 53 30054 $ECHO4 $ECHO6 | manifest echo.yaml
in_force
for name in web echo; do
  expect_match "$name by its ClusterIP goes on" "$(ask "$name-kept")" '^answer a1 '
done
[[ $(ask external) != answer* ]] || fail 'the external IP that is gone answers'
for at in "${CLUSTER_V4[node-a]}" "${CLUSTER_V6[node-a]}"; do
  expect_match 'the new node port' "$(probe client "$at" 30081)" '^answer a1 '
  expect_match 'the new node port, UDP' "$(probe client "$at" 30054 --protocol udp)" '^answer a1 '
  expect_equal 'the old one is the machine'"'"'s' "$(probe client "$at" 30080)" refused
  expect_equal 'the old one, UDP' "$(probe client "$at" 30053 --protocol udp)" refused
done

step 'no node port any more'
service web ClusterIP TCP 80 - $WEB4 $WEB6 | manifest web.yaml
in_force
expect_equal 'it is refused' "$(probe client "${CLUSTER_V4[node-a]}" 30081)" refused
expect_match 'its ClusterIP goes on' "$(ask web-kept)" '^answer a1 '

step 'address and node port are used again'
service echo NodePort UDP 53 30053 $ECHO4 $ECHO6 | manifest echo.yaml
in_force
hold_all reused
expect_all reused 'at first' '^answer a1 '
rm "$MANIFESTS/echo.yaml" "$MANIFESTS/echo-endpoints.yaml"
{ service other NodePort UDP 53 30053 $ECHO4 $ECHO6 && slices other UDP 5353 b1; } |
  manifest other.yaml
{ service second NodePort TCP 80 30081 $WEB4 $WEB6 && slices second TCP 8080 b1; } |
  manifest second.yaml
rm "$MANIFESTS/web.yaml"
in_force
expect_all reused 'of the new Service' '^answer b1 '
spread a2 $ECHO4 53 100 b1 --protocol udp
spread a2 $WEB4 80 100 b1
spread client "${CLUSTER_V6[node-a]}" 30081 100 b1
