# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What goes over the wires between nodes and router when node-a passes on to a pod of node-b, as
# tcpdump has it; to be sourced after three_nodes.sh. It is read at the router's ends of the wires:
# what XDP sends passes a node's own eyes by.

WATCHED=(node-a node-b)

watch_wires() {
  local node
  for node in "${WATCHED[@]}"; do
    rm -f "$CLUSTER_DIR/wire-$node.log"
    cluster_spawn "wire-$node" router tcpdump -i "$node" -Z root -n -l --immediate-mode -vv \
      'ip or ip6'
    cluster_await_log "wire-$node" 'listening on'
  done
}

# Returns when all that was sent has been seen: a datagram that nobody wants is the last. No
# checksum was wrong or missing. (GUE's own is left out, over IPv6 as RFC 6935 lets tunnels do.)
watched_wires() {
  local node
  for node in "${WATCHED[@]}"; do
    probe client "${CLUSTER_V4[$node]}" 9 --protocol udp >/dev/null
    eventually "the last datagram is on the wire of $node" \
      grep -q "> ${CLUSTER_V4[$node]}\.9: " "$CLUSTER_DIR/wire-$node.log"
    cluster_kill "wire-$node" INT
    expect_equal "wrong checksums on the wire of $node" \
      "$(sed -E 's/\.6080: \[(no cksum|bad udp cksum 0x0000 )//' "$CLUSTER_DIR/wire-$node.log" |
        grep -cE 'incorrect|(bad|no) (udp )?cksum' || true)" 0
  done
}

# packets <node>: a line each. An IP header, an inner one too, is "ttl T length L <from> > <to>: ",
# with IPv4's total length or IPv6's of the payload.
packets() {
  sed -z 's/\n \+/ /g' "$CLUSTER_DIR/wire-$1.log" |
    sed -E 's/IP6? \([^>]*(ttl|hlim) ([0-9]+),[^>]* length:? ([0-9]+)[^>)]*\) /ttl \2 length \3 /g'
}

# seen <node> <extended regular expression>: so many of them.
seen() {
  packets "$1" | grep -cE -- "$2" || true
}

# leg <node> <hops left> <from> <to> [more]: there are packets from there to there on the node's
# wire, each with so many hops left, and they go on like that. (What is wrapped is no packet of its
# own.)
leg() {
  local node=$1 ttl=$2 to="$3 > $4: " count
  count=$(seen "$node" "^[^ ]+ ttl [0-9]+ length [0-9]+ $to")
  [[ $count -gt 0 ]] || fail "nothing $to on the wire of $node"
  expect_equal "$to on the wire of $node, with $ttl hops left" \
    "$(seen "$node" "^[^ ]+ ttl $ttl length [0-9]+ $to${5:-}")" "$count"
}

# full <node> <from> <to> [more]: one of these packets is as large as the MTU.
full() {
  local length=1500
  [[ $2 != *:* ]] || length=$((1500 - 40))
  [[ $(seen "$1" "^[^ ]+ ttl [0-9]+ length $length $2 > $3: ${4:-}") -gt 0 ]] ||
    fail "no $2 > $3 of $length octets on the wire of $1"
}

# send_over_wires <forwarding> <encapsulation> <family>: what fills packets both ways over TCP; a
# datagram that is as large as the MTU when it is wrapped, or whose answer is (the line that the
# echo adds is longer than what is left).
send_over_wires() {
  local forwarding=$1 encapsulation=$2 family=$3 header=20 size seen
  declare -n balancer=LB$family
  [[ $family == 4 ]] || header=40
  seen=$(source_seen "$forwarding" udp "$family" node-a b1)
  size=$((1500 - header - 8))
  if ! passed_whole "$forwarding" udp; then
    size=$((size - $(wc -c <<<"b1 $seen")))
  elif [[ $encapsulation == gue ]]; then
    size=$((size - header - 8))
  else
    size=$((size - header))
  fi
  bodies_pass "$balancer" 80
  expect_equal "a datagram of $size octets" \
    "$(probe client "$balancer" 53 --protocol udp --size "$size")" "answer b1 $seen"
}

# expect_on_wires <forwarding> <encapsulation> <family> <protocol>: of what was sent. The client is
# two hops from the node that passes on: the router's, and its own.
expect_on_wires() {
  local forwarding=$1 encapsulation=$2 family=$3 protocol=$4
  local node service client here there inner any backend
  declare -n at=CLUSTER_V$family balancer=LB$family
  service="$balancer\.${PORT_OF[$protocol]}" client="${at[client]}\.[0-9]+"
  leg node-a 63 "$client" "$service"
  if passed_whole "$forwarding" "$protocol"; then
    here=${at[node-a]} there=${at[node-b]}
    inner="ttl 62 length [0-9]+ $client > $service: " any=${inner%"$service: "}$balancer
    # tcpdump does not look into GUE.
    [[ $encapsulation != gue ]] || here+='\.[0-9]+' there+='\.6080' any='.*UDP' inner=
    for node in "${WATCHED[@]}"; do
      leg "$node" 64 "$here" "$there" "$any"
      full "$node" "$here" "$there" "$inner"
    done
    leg node-b 63 "$service" "$client"
    [[ $protocol == udp ]] || full node-b "$service" "$client"
    expect_equal "$service answers by node-a" "$(seen node-a " $service > ")" 0
  else
    here="${at[node-a]}\.[0-9]+" backend="${at[b1]}\.${POD_PORT_OF[$protocol]}"
    for node in "${WATCHED[@]}"; do
      leg "$node" 62 "$here" "$backend"
      leg "$node" 63 "$backend" "$here"
      full "$node" "$backend" "$here"
    done
    leg node-a 62 "$service" "$client"
    full node-a "$service" "$client"
    [[ $protocol == udp ]] || full node-a "$here" "$backend"
    expect_equal "$client and $service on the wire of node-b" \
      "$(seen node-b "$client > $service|$service > $client")" 0
  fi
}

# wires <forwarding> <encapsulation>: both families, TCP and UDP, from the client by node-a to b1.
wires() {
  local family protocol
  route_to node-a
  bodies 20000
  watch_wires
  for family in 4 6; do
    send_over_wires "$@" $family
  done
  watched_wires
  for family in 4 6; do
    for protocol in tcp udp; do
      expect_on_wires "$@" $family $protocol
    done
  done
}
