#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Direct server return between three nodes behind a router: what a node passes on reaches the
# backend's node as the client has sent it, and the answer goes straight to the client. By both ways
# to wrap, in both families, over TCP and UDP, with sl_xdp and without.
# shellcheck source=three_nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/three_nodes.sh"
# shellcheck source=wires.sh
source "$(dirname "${BASH_SOURCE[0]}")/wires.sh"

open_three_nodes
pods_on b1
pass_on_at_the_router

for xdp in off native; do
  for encapsulation in ipip gue; do
    step "$encapsulation, XDP $xdp: every node, both families, TCP and UDP"
    agents --dsr-encapsulation "$encapsulation" --xdp "$xdp"
    for family in 4 6; do
      answers dsr b1 "$family"
    done
    large
    step "$encapsulation, XDP $xdp: wrapped from node to node; the answer goes straight"
    wires dsr "$encapsulation"
    nothing_dropped no_flow rewrite_failed no_backend too_big
  done
done

step 'by random too, evenly over pods of every node'
pods_on a1 b1 b2 c1
everywhere
route_to "${NODES[@]}"
for at in $LB4 $LB6; do
  spread client "$at" 80 400 a1,b1,b2,c1
  spread client "$at" 53 400 a1,b1,b2,c1 --protocol udp
done
