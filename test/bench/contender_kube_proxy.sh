# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A cluster of contender.sh in which kube-proxy itself does the services, out of the folder
# $KUBEBUILDER_ASSETS; to be sourced by it. The caller writes the objects into the API, and then
# has kube-proxy started on one node after the other, by a line with the node's name.

API=real
# shellcheck source=../e2e/kubernetes/api.sh
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/kubernetes/api.sh"

# kube_proxy_open <mode> <addresses of pods> <legacy|nft>
kube_proxy_open() {
  kube_proxy_mode=$1 kube_proxy_pods=$2
  # The Services of IPv6 are more than have room in a /112; this is all that an API server takes.
  API_SERVICE_RANGES=10.96.0.0/16,fd00:10:96::/108
  # What node-b does not answer yet is not to come to node-a, which may.
  ip -n "$CLUSTER-router" route replace blackhole 10.96.0.0/16
  ip -6 -n "$CLUSTER-router" route replace blackhole fd00:10:96::/112
  api_open
  kube_proxy_iptables "$3"
}

# kube-proxy runs what it finds as iptables on its path.
kube_proxy_iptables() {
  local name
  mkdir "$CLUSTER_DIR/programs"
  for name in ip{,6}tables{,-save,-restore}; do
    ln -s "$(command -v "${name/tables/tables-$1}")" "$CLUSTER_DIR/programs/$name"
  done
}

# Left as they are: settings of connection tracking, which are the machine's. Once an hour instead
# of each 30 seconds: writing again what is there already, while others are measured.
kube_proxy_configuration() {
  cat <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: $kube_proxy_mode
hostnameOverride: $1
clientConnection: {kubeconfig: "$KUBECONFIG_FILE"}
clusterCIDR: "$kube_proxy_pods"
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
$kube_proxy_mode: {syncPeriod: 1h}
YAML
}

# Two nodes are two machines: neither waits for the other's lock.
kube_proxy_start() {
  local node=$1
  kube_proxy_configuration "$node" >"$CLUSTER_DIR/kube-proxy-$node.yaml"
  cluster_spawn "kube-proxy-$node" "$node" env PATH="$CLUSTER_DIR/programs:$PATH" \
    XTABLES_LOCKFILE="$CLUSTER_DIR/xtables-$node.lock" "$KUBEBUILDER_ASSETS/kube-proxy" \
    --config "$CLUSTER_DIR/kube-proxy-$node.yaml"
  printf '{"process": %d}\n' "${CLUSTER_PIDS[kube-proxy-$node]}"
}
