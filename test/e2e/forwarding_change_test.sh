#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SNAT and `hybrid` between three nodes while things change under load: sl_xdp comes and goes with
# another agent, endpoints come and go, a node is drained and comes back. No request fails.
# shellcheck source=three_nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/three_nodes.sh"

# With SNAT the node by which a connection came knows it, and no other: a router that moves it to
# another node ends it. So TCP to `web` goes to the nodes themselves, and its load on a node ends
# before the node does; all else goes by way of all nodes. UDP of `hybrid` is as with snat.
SERVED_AT[whole]=${SERVED_AT[web]}
write_all() {
  balanced web TCP 80 $WEB4 $WEB6 "$snat" | manifest web.yaml
  balanced echo UDP 53 $ECHO4 $ECHO6 "$hybrid" | manifest echo.yaml
  balanced whole TCP 81 10.96.0.81 fd00:10:96::81 "$hybrid" | manifest whole.yaml
}

# load_on <node>: TCP with SNAT, by the NodePort.
load_on() {
  load_start "$1" client "${CLUSTER_V4[$1]}:30080" "[${CLUSTER_V6[$1]}]:30080" --concurrency 2
}

reroute() {
  if [[ " $* " == *' node-c '* ]]; then
    load_on node-c
  else
    load_stop_without_failure node-c
  fi
  route_to "$@"
}

open_three_nodes
cluster_serve c2
cluster_as_wire c2 eth0
write_all
pods_on a1 b1 b2 c1
pass_on_at_the_router
agents --xdp off
route_to "${NODES[@]}"
load_start whole client $LB4:81 "[$LB6]:81" --concurrency 3
load_start datagrams client $LB4:53 "[$LB6]:53" --protocol udp --concurrency 3 --timeout 5
for node in "${NODES[@]}"; do
  load_on "$node"
done
loads=(whole datagrams node-a node-b)

step 'endpoints come and go'
pods_on a1 b1 b2 c1 c2
everywhere
load_some_more "${loads[@]}" node-c
pods_on a1 b1 b2:terminating c1 c2
everywhere
load_some_more "${loads[@]}" node-c
pods_on a1 b1 c1 c2
everywhere
load_some_more "${loads[@]}" node-c

for xdp in native off; do
  step "agents again, --xdp $xdp"
  agents --xdp "$xdp"
  early=$(sent_early)
  pods_on a1 b1 b2 c1
  everywhere
  load_some_more "${loads[@]}" node-c
  early=$(($(sent_early) - early))
  expect_equal "left early: $early" $((early > 100)) "$([[ $xdp == off ]] && echo 0 || echo 1)"
done

step 'a node is drained, and comes back'
drained reroute "${loads[@]}"
for load in "${loads[@]}" node-c; do
  load_stop_without_failure "$load"
done
nothing_dropped rewrite_failed no_backend too_big snat_ports
