#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# New connections spread evenly over the healthy backends: from pods to the ClusterIP, from outside
# to the NodePort; both families, TCP and UDP. rp_filter is strict on the nodes, which shows that no
# rewritten source comes in where it would be a martian.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"
expect_equal 'strict rp_filter' "$(cluster_in node-a sysctl -n net.ipv4.conf.eth0.rp_filter)" 1

all=a1,a2,b1,b2
step 'from a pod to the ClusterIP'
spread a1 $WEB4 80 4000 $all
spread a1 $WEB6 80 4000 $all
spread a1 $ECHO4 53 2000 $all --protocol udp
spread a1 $ECHO6 53 2000 $all --protocol udp
step 'from outside to the NodePort'
spread client "${CLUSTER_V4[node-a]}" 30080 4000 $all
spread client "${CLUSTER_V6[node-a]}" 30080 4000 $all
spread client "${CLUSTER_V4[node-a]}" 30053 2000 $all --protocol udp
spread client "${CLUSTER_V6[node-a]}" 30053 2000 $all --protocol udp

step 'the counters agree'
# A connection whose first SYN went unanswered for a second (a busy machine) is opened a second
# time, and counted as failed once.
opened() {
  cluster_ctl node-a -o json service list | json "sum(
    one['stats']['opened'] - one['stats']['failed'] for one in d if one['name'] == '$1')"
}
expect_equal 'connections of web' "$(opened web)" $((16000 + SPREAD_AGAIN[tcp]))
echoed=$((8000 + SPREAD_AGAIN[udp]))
# Sockets that got a port which another had just before go on with its flow: packets, not flows.
expect_equal 'datagrams of echo, each way' "$(cluster_ctl node-a -o json service list |
  json '[(one["stats"]["packetsIn"], one["stats"]["packetsOut"]) for one in d
         if one["name"] == "echo"]')" "[($echoed, $echoed)]"
expect_equal 'packets dropped' "$(cluster_ctl node-a -o json drops | json "d['drops']")" '[]'
