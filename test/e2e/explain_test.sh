#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Why a Service gets no traffic: what `sluicectl trace` and `sluicectl service show` say in words of
# real situations, in both families.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

LB4=203.0.113.80 LB6=2001:db8:1b::80

open_cluster
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"

# walk <hook> <family> <source role> <address> <port>
walk() {
  local -n at=CLUSTER_V$2
  cluster_ctl node-a trace --hook "$1" --src "${at[$3]}" --dst "$(cluster_host_port "$4" "$5")"
}

# show <service>, notes <service>: the words of its first port, one a line.
show() {
  cluster_ctl node-a service show "default/$1"
}

notes() {
  cluster_ctl node-a -o json service show "default/$1" | json '"\n".join(d[0]["notes"])'
}

step 'a Service that is fine says nothing'
expect_equal 'notes' "$(notes web)" ''
expect_equal 'problems' "$(cluster_ctl node-a -o json service show default/web |
  json 'd[0]["problems"]')" '[]'

step 'none ready'
web_on a1:notready b1:notready
in_force
expect_equal 'show' "$(notes web)" \
  'none of its 2 endpoints is ready (2 not ready): traffic is rejected'
for family in 4 6; do
  declare -n web=WEB$family
  out=$(walk pod $family a2 "$web" 80)
  expect_match 'each endpoint' "$out" 'notReady  left out: not ready'
  expect_match 'the verdict' "$out" 'verdict +reject: no_backend, no endpoint is usable'
done

step 'only terminating ones'
web_on a1:notready b1:terminating
in_force
expect_match 'show' "$(notes web)" '^no endpoint is ready; 1 that are terminating'
expect_match 'walk' "$(walk pod 4 a2 $WEB4 80)" 'terminating  candidate'

step 'policy Local, none here'
usual_manifests b1 'externalTrafficPolicy: Local' 'internalTrafficPolicy: Local'
in_force
expect_match 'show: outside' "$(notes web)" 'externalTrafficPolicy is Local and no usable endpoint'
expect_match 'show: inside' "$(notes web)" 'internalTrafficPolicy is Local and no usable endpoint'
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  out=$(walk net $family client "${at[node-a]}" 30080)
  expect_match 'the set' "$out" "set +this node's endpoints .externalTrafficPolicy: Local"
  expect_match 'the endpoint' "$out" 'node-b +ready +left out: on another node, and the policy'
  expect_match 'the verdict' "$out" 'verdict +drop: no_local_backend'
  out=$(walk pod $family a2 "${at[node-a]}" 30080)
  expect_match 'short-circuited' "$out" 'externalTrafficPolicy: Local is for outside traffic'
  expect_match 'to the only one' "$out" 'the only candidate'
done

step 'hints'
usual_manifests a1 b1
web_on a1 b1
sed -e 's/nodeName: node-a, /&hints: {forNodes: [{name: node-b}]}, /' \
  -e 's/nodeName: node-b, /&hints: {forNodes: [{name: node-a}]}, /' \
  "$MANIFESTS/web-endpoints.yaml" | manifest web-endpoints.yaml
in_force
for family in 4 6; do
  declare -n web=WEB$family
  out=$(walk pod $family a2 "$web" 80)
  expect_match 'left out' "$out" 'node-a .this node. +ready +left out: the hints are for'
  expect_match 'chosen' "$out" 'choice +[^ ]*, the only candidate'
done
expect_equal 'no reason to complain' "$(notes web)" ''

step 'source ranges'
{ service web LoadBalancer TCP 80 30080 $WEB4 $WEB6 \
  'loadBalancerSourceRanges: ["192.0.2.99/32", "2001:db8:c::99/128"]' &&
  printf 'status:\n  loadBalancer: {ingress: [{ip: %s}, {ip: "%s"}]}\n' $LB4 $LB6; } |
  manifest web.yaml
in_force
for family in 4 6; do
  declare -n balancer=LB$family
  out=$(walk net $family client "$balancer" 80)
  expect_match 'the guard' "$out" 'loadBalancerSourceRanges: [^ ]* is in none of [^ ]*: denied'
  expect_match 'the verdict' "$out" 'verdict +drop: source_denied'
done
cluster_route router $LB4/32 via "${CLUSTER_V4[node-a]}"
expect_equal 'traffic' "$(probe client $LB4 80 --timeout 1.5)" timeout
expect_match 'show counts it' "$(notes web)" '[0-9]+ packets? dropped: source_denied'
service web LoadBalancer TCP 80 30080 $WEB4 $WEB6 | manifest web.yaml
in_force
expect_match 'no address yet' "$(notes web)" 'status.loadBalancer has no address yet'

step 'a conflict'
service zz NodePort TCP 81 30080 10.96.0.90 fd00:10:96::90 | manifest zz.yaml
in_force
expect_match 'show names the winner' "$(notes zz)" \
  'not served: node port 30080/TCP of port "main" is Service default/web'
rm "$MANIFESTS/zz.yaml"

step 'no slice, another port'
service lonely ClusterIP TCP 80 - 10.96.0.91 fd00:10:96::91 | manifest lonely.yaml
in_force
expect_match 'no slice' "$(notes lonely)" '^no EndpointSlice names it'
slices lonely TCP 8080 b1 | sed 's/name: main/name: other/' >>"$MANIFESTS/lonely.yaml"
in_force
expect_match 'no such port' "$(notes lonely)" \
  'have no port "main" of TCP, they have "other/TCP": traffic is rejected'

step 'what is not served at all'
cat <<'YAML' | manifest unserved.yaml
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: external, namespace: default}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: v1
kind: Service
metadata:
  name: foreign
  namespace: default
  labels: {service.kubernetes.io/service-proxy-name: other}
spec: {clusterIP: 10.96.0.92, ports: [{port: 80}]}
YAML
in_force
expect_match 'headless' "$(show headless)" 'note: not served: headless'
expect_match 'ExternalName' "$(show external)" 'note: not served: of type ExternalName'
expect_match 'of another proxy' "$(show foreign)" 'note: not served: its label .* "other"'

step 'no frontend'
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  expect_match 'another port' "$(walk pod $family a2 "$web" 81)" \
    'none: [^ ]* is a ClusterIP, without TCP port 81; it has 80/TCP .default/web:main.'
  expect_match 'not ours' "$(walk pod $family a2 "${at[b1]}" 8080)" 'verdict +none'
done

step 'without an agent'
cluster_kill sluiced-node-a
expect_match 'walk' "$(walk pod 4 a2 $WEB4 80 2>&1)" 'note +no agent runs'
expect_match 'show' "$(notes web 2>/dev/null)" '^no agent runs'
