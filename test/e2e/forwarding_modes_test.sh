#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The ways to forward with SNAT between three nodes behind a router: `snat` for all, and `hybrid`,
# which is direct server return for TCP and SNAT for UDP. Whom the backend sees, in both families,
# over TCP and UDP, with sl_xdp and without; and what is on the wires.
# shellcheck source=three_nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/three_nodes.sh"
# shellcheck source=wires.sh
source "$(dirname "${BASH_SOURCE[0]}")/wires.sh"

# sources_seen <family> <protocol>: all whom b1 has taken for the client, by whichever node.
sources_seen() {
  declare -n balancer=LB$1
  traffic client spread "$(cluster_host_port "$balancer" "${PORT_OF[$2]}")" --protocol "$2" \
    --count 60 --expect-backends b1 | json '" ".join(sorted(d["sources"]))'
}

# every_source <forwarding> <family> <protocol>: that there should be.
every_source() {
  local node
  for node in "${NODES[@]}"; do
    source_seen "$1" "$3" "$2" "$node" b1
  done | LC_ALL=C sort -u | paste -sd ' '
}

open_three_nodes
pods_on b1
pass_on_at_the_router

for xdp in off native; do
  agents --xdp "$xdp"
  for forwarding in snat hybrid; do
    step "$forwarding, XDP $xdp: every node, both families, TCP and UDP"
    write_services "\"sluice.io/forwarding\": $forwarding"
    everywhere
    for family in 4 6; do
      answers $forwarding b1 $family
    done
    step "$forwarding, XDP $xdp: all nodes at a time"
    route_to "${NODES[@]}"
    for family in 4 6; do
      for protocol in tcp udp; do
        expect_equal "sources of IPv$family $protocol" "$(sources_seen $family $protocol)" \
          "$(every_source $forwarding $family $protocol)"
      done
    done
    step "$forwarding, XDP $xdp: bytes both ways in packets of 1500 octets"
    early=$(sent_early)
    large
    early=$(($(sent_early) - early))
    expect_equal "left early: $early" $((early > 1000)) "$([[ $xdp == off ]] && echo 0 || echo 1)"
    step "$forwarding, XDP $xdp: on the wires"
    wires $forwarding ipip
    nothing_dropped no_flow rewrite_failed no_backend too_big snat_ports
  done
done
