#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sessionAffinity: ClientIP binds a client to one backend, over all frontends of the service, until
# the time is up or the backend is gone.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
affinity='sessionAffinity: ClientIP'
usual_manifests a1 a2 b1 b2 "$affinity" 'sessionAffinityConfig: {clientIP: {timeoutSeconds: 3}}'
cluster_agent node-a "$MANIFESTS"

# answers <from> <address> <port> <count> [flags]: the backends that answered.
answers() {
  local target
  target=$(cluster_host_port "$2" "$3")
  traffic "$1" spread "$target" --count "$4" "${@:5}" |
    json '",".join(d["backends"]) if not d["failed"] else d["errors"]'
}

for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  step "IPv$family"
  bound=$(answers a1 "$web" 80 200)
  expect_match 'one backend for one client' "$bound" '^[ab][12]$'
  expect_equal 'also by NodePort' "$(answers a1 "${at[node-a]}" 30080 50)" "$bound"
  outside=$(answers client "${at[node-a]}" 30080 200)
  expect_match 'one for a client outside' "$outside" '^[ab][12]$'
  expect_match 'UDP' "$(answers a1 "$echo_at" 53 200 --protocol udp)" '^[ab][12]$'

  step 'the backend that a client is bound to goes'
  others=()
  for pod in a1 a2 b1 b2; do
    [[ $pod == "$bound" ]] || others+=("$pod")
  done
  web_on "${others[@]}"
  in_force
  again=$(answers a1 "$web" 80 200)
  expect_match 'one of the others' "$again" '^[ab][12]$'
  [[ $again != "$bound" ]] || fail "$bound is gone and still answers"
  web_on a1 a2 b1 b2
  in_force
  expect_equal 'the new binding stands' "$(answers a1 "$web" 80 50)" "$again"
done

step 'the time runs out'
moved() {
  sleep 4.5
  [[ $(answers a1 $WEB4 80 20) != "$again" ]]
}
again=$(answers a1 $WEB4 80 20)
tries=12
until moved; do
  ((--tries > 0)) || fail 'twelve times the same backend of four, each after the binding had ended'
done
