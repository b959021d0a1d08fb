#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sluicectl trace asks the loaded program: it agrees with what traffic does, leaves no conntrack row
# and counts nothing.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"

trace() {
  cluster_ctl node-a -o json trace "$@"
}

rows() {
  cluster_ctl node-a -o json conntrack list | json 'len(d["flows"] if isinstance(d, dict) else d)'
}

counters() {
  cluster_ctl node-a -o json service list | json '[one["stats"] for one in d]'
  cluster_ctl node-a -o json drops | json 'd["drops"]'
}

counted=$(counters)
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  step "IPv$family"
  pod=$(trace --hook pod --src "${at[a2]}" --dst "$(cluster_host_port "$web" 80)" --protocol tcp \
    --count 400)
  expect_equal 'all forwarded' "$(json '{one["verdict"] for one in d}' <<<"$pod")" "{'forward'}"
  expect_equal 'of web' "$(json '{(one["service"], one["frontendKind"]) for one in d}' <<<"$pod")" \
    "{('default/web:main', 'ClusterIP')}"
  expect_equal 'backends' "$(json 'sorted({one["backend"] for one in d})' <<<"$pod")" \
    "['$(cluster_host_port "${at[a1]}" 8080)', '$(cluster_host_port "${at[b1]}" 8080)']"
  expect_equal 'the source is the pod' \
    "$(json "all('${at[a2]}' in one['source'] for one in d)" <<<"$pod")" True
  share=$(json "sum('${at[a1]}' in one['backend'] for one in d)" <<<"$pod")
  # 400 tries of 1/2: 7 standard deviations either side.
  [[ $share -gt 130 && $share -lt 270 ]] || fail "uneven: $share of 400"

  out=$(trace --hook net --src "${at[client]}" --dst "$(cluster_host_port "${at[node-a]}" 30080)" \
    --protocol tcp --count 100)
  for pair in "a1 client" "b1 node-a"; do
    read -r backend seen <<<"$pair"
    expect_equal "$backend sees the address of $seen" "$(json "
{one['source'].rsplit(':', 1)[0].strip('[]') for one in d
 if one['backend'].strip('[]').startswith('${at[$backend]}')}" <<<"$out")" "{'${at[$seen]}'}"
  done

  drop=$(trace --hook net --src "${at[client]}" --dst "$(cluster_host_port "$web" 80)" \
    --protocol tcp)
  expect_equal 'ClusterIP from outside' "$(json '(d[0]["verdict"], d[0]["reason"])' <<<"$drop")" \
    "('drop', 'external_denied')"
  udp=$(trace --hook pod --src "${at[a2]}" --dst "$(cluster_host_port "$echo_at" 53)" \
    --protocol udp)
  expect_equal 'UDP' "$(json '(d[0]["verdict"], d[0]["service"])' <<<"$udp")" \
    "('forward', 'default/echo:main')"
  none=$(trace --hook pod --src "${at[a2]}" --dst "$(cluster_host_port "${at[b1]}" 8080)" \
    --protocol tcp)
  expect_equal 'what is no service' "$(json 'd[0]["verdict"]' <<<"$none")" none
done
step 'the walk'
for family in 4 6; do
  declare -n web=WEB$family at=CLUSTER_V$family
  out=$(cluster_ctl node-a trace --hook net --src "${at[client]}" \
    --dst "$(cluster_host_port "${at[node-a]}" 30080)" --count 50)
  expect_match 'packet' "$out" 'packet +TCP [^ ]* -> [^ ]*, from the network: external traffic'
  expect_match 'frontend' "$out" 'frontend +NodePort [^ ]*/TCP of default/web:main'
  expect_match 'set' "$out" "set +the cluster's endpoints .externalTrafficPolicy: Cluster"
  expect_match 'here' "$out" "${at[a1]}]?:8080 +node-a .this node. +ready +candidate"
  expect_match 'choice' "$out" 'choice +[^ ]*, at random among 2 candidates'
  expect_match 'rewriting' "$out" 'rewriting +destination [^ ]* -> [^ ]*'
  expect_match 'counts' "$out" 'COUNT +VERDICT +BACKEND +SOURCE +REASON'
  expect_equal 'the story fits' "$(grep -c 'does not explain' <<<"$out" || true)" 0
  out=$(cluster_ctl node-a trace --hook net --src "${at[client]}" \
    --dst "$(cluster_host_port "$web" 80)")
  expect_match 'guard' "$out" 'guard +a ClusterIP, asked for from the network: denied'
  expect_match 'verdict' "$out" 'verdict +drop: external_denied'
done
expect_equal 'conntrack rows' "$(rows)" 0
expect_equal 'counters' "$(counters)" "$counted"

step 'after the endpoints have gone'
web_on
in_force
expect_equal 'reject' "$(trace --hook pod --src "${CLUSTER_V4[a2]}" --dst $WEB4:80 --protocol tcp |
  json '(d[0]["verdict"], d[0]["reason"])')" "('reject', 'no_backend')"
expect_equal 'and so it is' "$(probe a2 $WEB4 80 --timeout 3)" refused
