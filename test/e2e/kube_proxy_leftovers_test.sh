#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sluiced --cleanup-kube-proxy takes out what kube-proxy has left, in every mode, and nothing else:
# also when it is run again, has to stop half-way, finds a rule of somebody else that uses one of
# the chains, or comes while a kube-proxy still runs.
# shellcheck source=kube_proxy.sh
source "$(dirname "${BASH_SOURCE[0]}")/kube_proxy.sh"

open_cluster
others_rules
others=$(netfilter_rules)

# cleanup [command before it...]: its output in $SAID, its exit code in $CODE.
cleanup() {
  CODE=0
  SAID=$(cluster_in node-a "$@" "$CLUSTER_BIN/cmd/sluiced/sluiced" --cleanup-kube-proxy 2>&1) ||
    CODE=$?
}

expect_cleaned() {
  expect_equal "$1: exit code; it said $SAID" "$CODE" 0
  expect_rules "$1" "$others"
}

for mode in iptables-legacy iptables-nft nftables; do
  step "$mode"
  kube_proxy_syncs $mode a1 a2 b1
  [[ $(netfilter_rules) != "$others" ]] || fail 'there is nothing to remove'
  cleanup
  expect_cleaned $mode
  expect_match 'it says what' "$SAID" 'removed (iptables|nftables)'
done

step 'all modes at once, then again'
for mode in iptables-legacy iptables-nft nftables; do
  kube_proxy_syncs $mode a1
done
cleanup
expect_cleaned 'all at once'
cleanup
expect_cleaned 'nothing there'
expect_match 'it says so' "$SAID" "nothing of kube-proxy's is there"

step 'ipvs'
for six in '' 6-; do
  for set in CLUSTER-IP:hash:ip,port LOOP-BACK:hash:ip,port,ip \
    HEALTH-CHECK-NODE-PORT:bitmap:port; do
    family=()
    [[ -z $six || $set == *bitmap* ]] || family=(family inet6)
    range=()
    [[ $set != *bitmap* ]] || range=(range 0-65535)
    cluster_in node-a ipset create "KUBE-$six${set%%:*}" "${set#*:}" "${family[@]}" "${range[@]}"
  done
done
cluster_in node-a ipset create KUBE-IPVS-IPS hash:ip
cluster_in node-a ipset create KUBE-SRC-OF-OTHERS hash:ip
# A dummy device, says kube-proxy; not every kernel has those, and the name is what counts.
ip -n "$CLUSTER-node-a" link add kube-ipvs0 type bridge
ip -n "$CLUSTER-node-a" addr add 10.96.0.10/32 dev kube-ipvs0
for family in 4 6; do
  kube_proxy_services $family a1 | python3 "$CLUSTER_E2E/kube_proxy_rules.py" ipvs $family |
    cluster_in node-a "ip${family/4/}tables-legacy-restore" --noflush
done
cleanup
expect_cleaned ipvs
expect_equal 'sets' "$(cluster_in node-a ipset list -n)" KUBE-SRC-OF-OTHERS
expect_equal 'devices' "$(ip -n "$CLUSTER-node-a" -o link | grep -c kube-ipvs0 || true)" 0

step "a rule of somebody else's uses a chain"
kube_proxy_syncs iptables-nft a1
cluster_in node-a iptables-nft -t nat -A CNI-MASQ -p tcp --dport 1 -j KUBE-MARK-MASQ
cleanup
expect_equal "exit code; it said $SAID" "$CODE" 0
expect_match 'it says which' "$SAID" 'kept .*table nat: KUBE-MARK-MASQ: a rule of CNI-MASQ uses it'
expect_equal 'the chain still marks' \
  "$(cluster_in node-a iptables-nft-save -t nat | grep -cE 'KUBE-MARK-MASQ -j MARK')" 1
cluster_in node-a iptables-nft -t nat -D CNI-MASQ -p tcp --dport 1 -j KUBE-MARK-MASQ
cleanup
expect_cleaned 'when it has gone'

step 'half of it fails'
mkdir "$CLUSTER_DIR/bin"
cat >"$CLUSTER_DIR/bin/iptables-legacy-restore" <<'SH'
#!/bin/sh
input=$(cat)
case $input in \**nat*) echo 'cannot be done now' >&2; exit 4 ;; esac
printf '%s\n' "$input" | exec /usr/sbin/iptables-legacy-restore "$@"
SH
chmod +x "$CLUSTER_DIR/bin/iptables-legacy-restore"
kube_proxy_syncs iptables-legacy a1 b1
nat=$(cluster_in node-a iptables-legacy-save -t nat | grep -v '^#' | sed 's/ \[.*//')
cleanup env "PATH=$CLUSTER_DIR/bin:$PATH"
expect_equal 'exit code' "$CODE" 1
expect_match 'it says what failed' "$SAID" 'iptables-legacy: table nat: .*cannot be done now'
expect_equal 'the table that failed is as it was' \
  "$(cluster_in node-a iptables-legacy-save -t nat | grep -v '^#' | sed 's/ \[.*//')" "$nat"
expect_equal 'the other was cleaned' \
  "$(cluster_in node-a iptables-legacy-save -t filter | grep -c KUBE-SERVICES || true)" 0
cleanup
expect_cleaned 'again, and whole'

step 'while a kube-proxy runs'
kube_proxy_syncs nftables a1
rejects_proxy_that_runs
before=$(netfilter_rules)
cat >"$CLUSTER_DIR/mode.py" <<'PY'
import http.server, sys
class Mode(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"nftables")
server = http.server.HTTPServer(("127.0.0.1", 10249), Mode)
print("ready", flush=True)
server.serve_forever()
PY
cluster_spawn mode node-a python3 "$CLUSTER_DIR/mode.py"
cluster_await_log mode ready
cleanup
expect_equal 'exit code' "$CODE" 1
expect_match 'it says how it knows' "$SAID" 'a kube-proxy in mode nftables answers on 127.0.0.1'
expect_rules 'nothing was touched' "$before"
cluster_kill mode

step 'least rights; a kube-proxy of another network namespace does not matter'
cluster_spawn elsewhere node-b "$CLUSTER_DIR/kube-proxy" 1000
eventually 'a process kube-proxy' grep -qx kube-proxy "/proc/${CLUSTER_PIDS[elsewhere]}/comm"
cleanup setpriv --bounding-set=-all,+net_admin,+net_raw,+sys_ptrace --inh-caps=-all
expect_cleaned 'beside another namespace'
