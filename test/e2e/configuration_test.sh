#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kube-proxy's command line and configuration file: followed where they mean something, accepted
# with one warning where they do not; a file that changes ends the agent with code 0. The node's
# name, manifests that come later, the process behind a listener that a NodePort hides.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

config() {
  printf 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n%s\n' \
    "$1" >"$CLUSTER_DIR/config.new"
  mv "$CLUSTER_DIR/config.new" "$CLUSTER_DIR/config.yaml"
}

log_has() {
  grep -qE -- "$1" "$CLUSTER_DIR/sluiced-node-a.log"
}

# refused <what> <extended regular expression> <flags...>: ends with code 2 and says why.
refused() {
  local what=$1 pattern=$2 said code=0
  shift 2
  said=$(timeout 20 "$CLUSTER_BIN/cmd/sluiced/sluiced" --state-dir "$CLUSTER_DIR/none" "$@" 2>&1) ||
    code=$?
  expect_equal "$what: exit code" "$code" 2
  expect_match "$what" "$said" "$pattern"
}

sluiced=$CLUSTER_BIN/cmd/sluiced/sluiced
open_cluster
cluster_serve a1

step 'what is wrong is said, with its line'
config 'oomScoreAdj: low'
refused 'a value of another type' 'config.yaml:3: oomScoreAdj is not a whole number' \
  --config "$CLUSTER_DIR/config.yaml"
refused 'no file' 'none.yaml: No such file' --config "$CLUSTER_DIR/none.yaml"
refused 'two sources' 'exclude each other' --manifests "$MANIFESTS" --master 192.0.2.1:6443
refused 'an address' '--healthz-bind-address|--nodeport-addresses' --nodeport-addresses 192.0.2.0/33

step 'flags and files of kube-proxy'
"$sluiced" --init-only || fail '--init-only'
"$sluiced" --write-config-to "$CLUSTER_DIR/written" --proxy-mode=ipvs || fail '--write-config-to'
expect_match 'written' "$(cat "$CLUSTER_DIR/written")" 'mode: "ipvs"'
empty=(--cluster-cidr= --hostname-override= --nodeport-addresses= --feature-gates= --proxy-mode=
  --detect-local-mode= --master= --kubeconfig= --bind-address= --healthz-bind-address=
  --metrics-bind-address= --kube-api-content-type=)
said=$("$sluiced" "${empty[@]}" --cluster_cidr=10.1.0.0/16 --logtostderr=true --alsologtostderr \
  --stderrthreshold=INFO --skip_headers --log-text-split-stream=false --oom-score-adj=-998 \
  --write-config-to "$CLUSTER_DIR/written" 2>&1) || fail "empty values: $said"
expect_match 'the last of a flag' "$(cat "$CLUSTER_DIR/written")" 'clusterCIDR: "10.1.0.0/16"'
"$sluiced" --version | grep -q '^sluice ' || fail '--version'
config 'mode: nftables
hostnameOverride: from-file
metricsBindAddress: 127.0.0.1:10349
clusterCIDR: 10.244.0.0/16
mistyped: 1'
usual_manifests a1
listen='
import socket, time
server = socket.create_server(("0.0.0.0", 30080))
print("listening", flush=True)
time.sleep(1000)'
cluster_spawn listener node-a python3 -c "$listen"
cluster_await_log listener listening
# cluster.sh says --hostname-override, which counts more than the file.
cluster_agent node-a "$MANIFESTS" --config "$CLUSTER_DIR/config.yaml" --v=2 --masquerade-all=true \
  --iptables-sync-period 10s --metrics-bind-address 127.0.0.1:10449 --proxy-mode=iptables
warnings=$(grep -E ' warning ' "$CLUSTER_DIR/sluiced-node-a.log")
expect_match 'unknown' "$warnings" 'config.yaml:7: unknown field mistyped'
expect_match 'without meaning' "$warnings" \
  'without meaning here: iptables.masqueradeAll=true, iptables.syncPeriod=10s, mode=nftables'
expect_match 'the file counts' "$warnings" 'not the flags, of: metricsBindAddress, mode'
expect_equal 'one warning of each' "$(grep -c config.yaml <<<"$warnings")" 2
status=$(cluster_ctl node-a -o json status)
expect_match 'the name is that of the flag' "$status" '"nodeName": "node-a"'
configz=$(cluster_in node-a python3 -c '
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:10349/configz").read().decode())')
expect_match /configz "$configz" '"ClusterCIDRs":\["10.244.0.0/16"\]'
expect_match 'of the mode' "$configz" '"Mode":"nftables"'
shadowed=$(json '[one["process"] for one in d["listenersShadowed"]]' <<<"$status")
expect_match 'the process that is shadowed' "$shadowed" \
  "python3 \(process ${CLUSTER_PIDS[listener]}\)"

step 'a change of the file'
config 'mode: nftables'
gone() {
  ! cluster_alive sluiced-node-a
}
eventually 'the agent ends' gone
cluster_kill sluiced-node-a
expect_equal 'exit code' "$CLUSTER_EXIT" 0
log_has 'config.yaml has changed' || fail 'it does not say why it ended'

step 'manifests that come later, and the name from the environment'
: >"$CLUSTER_DIR/sluiced-node-a.log"
mv "$MANIFESTS" "$CLUSTER_DIR/later"
cluster_spawn sluiced-node-a node-a env NODE_NAME=Node-A "$sluiced" --manifests "$MANIFESTS" \
  --bpffs "$CLUSTER_BPFFS-node-a" --state-dir "$CLUSTER_DIR/state-node-a" \
  "${CLUSTER_SOCKET_FLAGS[node-a]}"
cluster_await_log sluiced-node-a 'manifests: No such file or directory; waiting'
expect_match 'what is in force stays' "$(probe a2 $WEB4 80)" '^answer a1'
mv "$CLUSTER_DIR/later" "$MANIFESTS"
web_on a1:notready
cluster_agent_ready node-a
expect_match 'they are followed' "$(probe a2 $WEB4 80)" '^refused'
status=$(cluster_ctl node-a -o json status)
expect_match 'the name is that of NODE_NAME' "$status" '"nodeName": "node-a"'
