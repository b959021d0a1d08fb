#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --attach=clsact, what kernels before 6.6 get: the same service, and another program's filter on
# the interface stays.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
clang -target bpf -O2 -c -x c - -o "$CLUSTER_DIR/other.o" <<'C'
__attribute__((section("tc"), used)) int other(void *skb) { return -1; }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
C
cluster_in node-a tc qdisc add dev eth0 clsact
cluster_in node-a tc filter add dev eth0 ingress pref 60000 protocol all bpf da \
  obj "$CLUSTER_DIR/other.o" sec tc
cluster_agent node-a "$MANIFESTS" --attach=clsact

attached() {
  cluster_ctl node-a -o json interfaces | json 'd' | grep -o "'attach': '[a-z]*'" | sort -u
}
expect_equal 'attached by' "$(attached)" "'attach': 'clsact'"
expect_match 'filters' "$(cluster_in node-a tc filter show dev calia1 ingress)" sl_from_pod
for family in 4 6; do
  declare -n web=WEB$family echo_at=ECHO$family at=CLUSTER_V$family
  spread a1 "$web" 80 1000 a1,a2,b1,b2
  spread client "${at[node-a]}" 30080 1000 a1,a2,b1,b2
  spread a1 "$echo_at" 53 500 a1,a2,b1,b2 --protocol udp
done

step 'a restart does not stack filters up'
load_start pod a1 "$WEB4:80" --concurrency 2
load_some_more pod
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --attach=clsact
load_some_more pod
load_stop_without_failure pod
expect_equal 'filters of ours' \
  "$(cluster_in node-a tc filter show dev eth0 ingress | grep -c sl_from_net)" 1
cluster_kill sluiced-node-a
cluster_in node-a "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup --bpffs "$CLUSTER_BPFFS-node-a" \
  --state-dir "$CLUSTER_DIR/state-node-a" >>"$CLUSTER_DIR/sluiced-cleanup.log" 2>&1
filters=$(cluster_in node-a tc filter show dev eth0 ingress)
expect_match 'the other filter' "$filters" 'other\.o'
[[ $filters != *sl_from_net* ]] || fail "ours stayed: $filters"
