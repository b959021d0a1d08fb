#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Path MTU discovery works through the service: a link on the way has a small MTU, and large answers
# and uploads still arrive, because the routers' ICMP errors are translated and find their sender.
# Both directions, both families, a backend on the node and one on another.
CLUSTER_UNDERLAY=l3
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a2 b1
usual_manifests a2
cluster_agent node-a "$MANIFESTS"
head -c 2000000 /dev/urandom >"$CLUSTER_DIR/files/some"
sum=$(sha256sum "$CLUSTER_DIR/files/some" | cut -d' ' -f1)

# Nothing is learned from an earlier case: routes forget the MTU that they were told.
forget() {
  local role
  for role in client node-a node-b "${CLUSTER_PODS[@]}"; do
    ip -n "$CLUSTER-$role" route flush cache
    ip -6 -n "$CLUSTER-$role" route flush cache
  done
}

# both_ways <from> <address> <port>
both_ways() {
  local target got
  target=$(cluster_host_port "$2" "$3")
  forget
  got=$(traffic "$1" fetch "$target" --path /files/some --timeout 20) || fail "fetch: $got"
  expect_equal 'SHA-256' "$(json 'd["sha256"]' <<<"$got")" "$sum"
  forget
  rm -f "$CLUSTER_DIR/files/sent"
  traffic "$1" put "$target" --path /files/sent --file "$CLUSTER_DIR/files/some" --timeout 20 ||
    fail 'upload'
  cmp "$CLUSTER_DIR/files/some" "$CLUSTER_DIR/files/sent" || fail 'the upload differs'
}

# ICMP errors that the router sent because a packet did not fit.
too_big() {
  cluster_in router nstat -asz IcmpOutDestUnreachs Icmp6OutPktTooBigs |
    awk '/Icmp/ {n += $2} END {print n}'
}

for narrow in client node-b; do
  cluster_mtu client 1500
  cluster_mtu node-b 1500
  # Only the router's end: the hosts do not know, and must be told by ICMP.
  ip -n "$CLUSTER-router" link set "$narrow" mtu 1300
  for backend in a2 b1; do
    web_on $backend
    in_force
    for family in 4 6; do
      declare -n web=WEB$family nodes_at=CLUSTER_V$family
      step "1300 on the link of $narrow, IPv$family, outside -> NodePort -> $backend"
      both_ways client "${nodes_at[node-a]}" 30080
      if [[ $narrow == node-b && $backend == b1 ]]; then
        step "1300 on the link of $narrow, IPv$family, pod -> ClusterIP -> $backend"
        both_ways a1 "$web" 80
      fi
    done
  done
done
expect_equal 'the router had to send ICMP errors' "$(($(too_big) > 0))" 1
