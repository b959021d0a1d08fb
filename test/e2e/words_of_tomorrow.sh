# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Objects with words that this version of Kubernetes does not have, and the lines that are to be
# said of them: in status, in the log and by `service show`, once each. To be sourced after
# expect.sh by the tests of both sources.

# Exit code 1 of status is "degraded"; without an agent there is no such field.
problems() {
  (cluster_ctl node-a -o json status || true) | json '"\n".join(
    one["origin"] + ": " + one["object"] + ": " + one["message"] for one in d["problems"])' ||
    echo 'sluicectl fails'
}

# A Service "later" with one port that can be served, on b1, and slices of other kinds.
words_of_tomorrow() {
  service later Mesh TCP 80 - 10.96.0.81 fd00:10:96::81 'externalTrafficPolicy: Topology' \
    'internalTrafficPolicy: Zone' 'sessionAffinity: Cookie' 'trafficDistribution: PreferMoon' \
    'tomorrow: true'
  printf '    - {name: quick, protocol: QUIC, port: 443}\n'
  slices later TCP 8080 b1 | sed '0,/conditions: {/s//&draining: true, /'
  cat <<'YAML'
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: later-names, namespace: default, labels: {kubernetes.io/service-name: later}}
addressType: FQDN
ports: [{name: main, port: 8080}]
endpoints: [{addresses: [a.example.org]}, {addresses: [b.example.org]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: later-mac, namespace: default, labels: {kubernetes.io/service-name: later}}
addressType: MAC
ports: [{name: main, port: 8080, protocol: QUIC}]
endpoints: [{addresses: ["02:00:00:00:00:01"]}]
YAML
}

ip_mode_of_tomorrow() {
  service later LoadBalancer TCP 80 - 10.96.0.81 fd00:10:96::81
  printf 'status: {loadBalancer: {ingress: [{ip: 203.0.113.81, ipMode: Tomorrow}]}}\n'
}

# expect_told <object> <part of the message>: what the agent says of the Service "later".
expect_told() {
  local count where
  for where in "$(problems)" "$(cat "$CLUSTER_DIR/sluiced-node-a.log")" \
    "$(cluster_ctl node-a service show default/later)"; do
    count=$(grep -cF -- "$2" <<<"$where" || true)
    [[ $count == 1 ]] || fail "told $count times instead of once: '$2' in: $where"
    grep -F -- "$2" <<<"$where" | grep -qF -- "$1: " || fail "'$2' does not name '$1' in: $where"
  done
}

words_are_told() {
  expect_told 'Service default/later' 'type: unknown value "Mesh"; taken as ClusterIP'
  expect_told 'Service default/later' 'externalTrafficPolicy: unknown value "Topology"; taken as'
  expect_told 'Service default/later' 'internalTrafficPolicy: unknown value "Zone"; taken as'
  expect_told 'Service default/later' 'sessionAffinity: unknown value "Cookie"; taken as None'
  expect_told 'Service default/later' 'trafficDistribution: unknown value "PreferMoon"; only the'
  expect_told 'Service default/later' 'unknown protocol "QUIC"; the port is not served'
  expect_told 'EndpointSlice default/later-names' 'FQDN: names are not looked up; its 2 endpoint(s)'
  expect_told 'EndpointSlice default/later-mac' 'addressType: unknown value "MAC"; its 1'
  expect_told 'EndpointSlice default/later-mac' 'protocol: unknown value "QUIC"; the port'
}

ip_mode_is_told() {
  expect_told 'Service default/later' \
    'ipMode of 203.0.113.81: unknown value "Tomorrow"; taken as Proxy'
}
