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

# towards <device of the router> [ip route words...]: sets all its routes that way anew. With
# "mtu lock 1300", what is larger is refused with an ICMP error although both ends of the link
# take 1500: so
# nobody knows before.
towards() {
  local device=$1 family route
  shift
  for family in -4 -6; do
    ip $family -n "$CLUSTER-router" route show dev "$device" |
      sed -E '/^fe80/d; s/ pref medium//; s/ mtu lock [0-9]+//' |
      while read -r route; do
        # shellcheck disable=SC2086  # words
        ip $family -n "$CLUSTER-router" route replace $route dev "$device" "$@"
      done
  done
}

for narrow in client node-a node-b; do
  towards $narrow mtu lock 1300
  for backend in a2 b1; do
    web_on $backend
    in_force
    for family in 4 6; do
      declare -n web=WEB$family nodes_at=CLUSTER_V$family
      before=$(too_big)
      step "1300 towards $narrow, IPv$family, outside -> NodePort -> $backend"
      both_ways client "${nodes_at[node-a]}" 30080
      [[ $backend == b1 ]] || continue
      step "1300 towards $narrow, IPv$family, pod -> ClusterIP -> $backend"
      both_ways a1 "$web" 80
      expect_equal 'the router sent ICMP errors' "$(($(too_big) > before))" 1
    done
  done
  towards $narrow
done
