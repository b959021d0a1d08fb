# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# An API server for the cluster of ../cluster.sh, at 198.51.100.1:6443 of the router, and agents
# that follow it; to be sourced by the tests of this folder, which then run against either of
#
#   API=fake  the API server for tests (test/support/fake_api_server.h); what is not set otherwise
#   API=real  kube-apiserver with etcd out of $KUBEBUILDER_ASSETS, objects by its kubectl
#
# Manifests are files of $MANIFESTS in both: the fake server follows the folder, for the real one
# api_apply hands it to kubectl. Node status and load balancers' addresses are set by api_status.
# shellcheck source=../expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/../expect.sh"

API=${API:-fake}
API_HOST=198.51.100.1
API_URL=https://$API_HOST:6443
# shellcheck disable=SC2034  # for those who source this
DUAL='ipFamilyPolicy: RequireDualStack'  # of services with addresses of both families
API_USER=system:serviceaccount:kube-system:kube-proxy
API_SERVICE_RANGES=10.96.0.0/16,fd00:10:96::/112

# What a node's agent shows the API server: a kubeconfig with a token of the service account.
# kubeconfig <file> <token> [server] [CA]
kubeconfig() {
  local file=$1 token=$2 server=${3:-$API_URL} ca=${4:-$CLUSTER_DIR/pki/ca.crt}
  cat >"$file" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$server", certificate-authority: $ca}}]
users: [{name: u, user: {token: "$token"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
YAML
}

# api_certificate <name> <subject> <extensions>, signed by pki/ca.
api_certificate() {
  local at=$CLUSTER_DIR/pki/$1
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$at.key" \
    -out "$at.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$at.csr" -CA "$CLUSTER_DIR/pki/ca.crt" -CAkey "$CLUSTER_DIR/pki/ca.key" \
    -CAcreateserial -days 1 -out "$at.crt" -extfile <(printf '%s\n' "$3") 2>/dev/null
}

api_ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$1" \
    -keyout "$CLUSTER_DIR/pki/$1.key" -out "$CLUSTER_DIR/pki/$1.crt" 2>/dev/null
}

# A cluster with an API server; the kubeconfig for agents is $KUBECONFIG_FILE.
open_api_cluster() {
  if [[ $API == real ]]; then
    [[ -n ${KUBEBUILDER_ASSETS:-} ]] ||
      skip 'KUBEBUILDER_ASSETS names no folder with etcd, kube-apiserver and kubectl'
  fi
  open_cluster
  api_open
}

# The API server of a cluster that is open.
api_open() {
  mkdir "$CLUSTER_DIR/pki"
  api_ca ca
  api_certificate server /CN=kube-apiserver "subjectAltName=IP:$API_HOST,IP:127.0.0.1"
  KUBECONFIG_FILE=$CLUSTER_DIR/kubeconfig
  "api_open_$API"
}

api_open_fake() {
  kubeconfig "$KUBECONFIG_FILE" a-token
  api_start
}

# Starts the API server (again), with the same objects as before.
api_start() {
  "api_start_$API"
}

# api_start_fake [flags]
api_start_fake() {
  cluster_spawn api router "$CLUSTER_BIN/test/e2e/kubernetes/fake_api_server" \
    --address $API_HOST --port 6443 --manifests "$MANIFESTS" --control "$CLUSTER_DIR/api.sock" \
    --certificate "$CLUSTER_DIR/pki/server.crt" --key "$CLUSTER_DIR/pki/server.key" \
    --client-ca "$CLUSTER_DIR/pki/ca.crt" --token "a-token=$API_USER" "$@"
  eventually "the API server answers" api_answers
}

api_answers() {
  api_control GET version >/dev/null
}

# api_control <method> <path> [JSON]: the fake server's control socket.
api_control() {
  local method=$1 path=$2
  shift 2
  curl -sf --unix-socket "$CLUSTER_DIR/api.sock" -X "$method" "http://api/$path" -d "${1:-}"
}

# As a killed server goes: connections end wherever they are.
api_kill() {
  if [[ $API == fake ]]; then
    api_control POST kill >/dev/null
  else
    cluster_kill api KILL
  fi
}

api_restart() {
  if [[ $API == fake ]]; then
    api_control POST restart >/dev/null
  else
    api_start
  fi
}

api_open_real() {
  local pki=$CLUSTER_DIR/pki token
  # An API server that is asked to end after its etcd has ended takes most of a minute for it.
  trap 'cluster_kill api KILL; cluster_close' EXIT
  api_certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/sa.key"
  cluster_spawn etcd router "$KUBEBUILDER_ASSETS/etcd" --data-dir "$CLUSTER_DIR/etcd" \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
  api_start
  eventually 'the namespace is there' kubectl_try get namespace kube-system
  kubectl create serviceaccount kube-proxy -n kube-system
  # RBAC's own roles are made after the start.
  eventually 'the role is there' kubectl_try get clusterrole system:node-proxier
  kubectl create clusterrolebinding sluice --clusterrole system:node-proxier \
    --serviceaccount kube-system:kube-proxy
  token=$(kubectl_out create token kube-proxy -n kube-system)
  kubeconfig "$KUBECONFIG_FILE" "$token"
}

api_start_real() {
  local pki=$CLUSTER_DIR/pki tries=300 name
  cluster_spawn api router "$KUBEBUILDER_ASSETS/kube-apiserver" \
    --etcd-servers http://127.0.0.1:2379 --bind-address $API_HOST --secure-port 6443 \
    --advertise-address $API_HOST --endpoint-reconciler-type none \
    --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
    --client-ca-file "$pki/ca.crt" --cert-dir "$CLUSTER_DIR/api-certs" \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$pki/sa.key" --service-account-signing-key-file "$pki/sa.key" \
    --service-cluster-ip-range $API_SERVICE_RANGES --authorization-mode RBAC \
    --disable-admission-plugins ServiceAccount --shutdown-delay-duration 0s --allow-privileged
  until [[ $(api_get /readyz 2>/dev/null) == ok ]]; do
    for name in etcd api; do
      if ((tries == 0)) || ! cluster_alive $name; then
        fail "kube-apiserver; $name ends with: $(tail -n 5 "$CLUSTER_DIR/$name.log")"
      fi
    done
    tries=$((tries - 1))
    sleep 0.2
  done
}

# What the API server answers to an administrator.
api_get() {
  if [[ $API == fake ]]; then
    cluster_in router curl -sf --cacert "$CLUSTER_DIR/pki/ca.crt" \
      -H 'Authorization: Bearer a-token' "$API_URL$1"
  else
    cluster_in router curl -sf --cacert "$CLUSTER_DIR/pki/ca.crt" \
      --cert "$CLUSTER_DIR/pki/admin.crt" --key "$CLUSTER_DIR/pki/admin.key" "$API_URL$1"
  fi
}

kubectl_out() {
  cluster_in router env HOME="$CLUSTER_DIR" "$KUBEBUILDER_ASSETS/kubectl" --server "$API_URL" \
    --certificate-authority "$CLUSTER_DIR/pki/ca.crt" \
    --client-certificate "$CLUSTER_DIR/pki/admin.crt" \
    --client-key "$CLUSTER_DIR/pki/admin.key" "$@"
}

kubectl_try() {
  kubectl_out "$@" >"$CLUSTER_DIR/kubectl.log" 2>&1
}

kubectl() {
  kubectl_try "$@" || fail "kubectl $*: $(tail -n 5 "$CLUSTER_DIR/kubectl.log")"
}

# Brings $MANIFESTS into the API: what is not in it any more is deleted.
api_apply() {
  local log=$CLUSTER_DIR/apply.log
  if [[ $API == fake ]]; then
    api_control POST refresh >/dev/null || fail 'the API server does not follow its folder'
    return
  fi
  kubectl_out apply --prune --all -f "$MANIFESTS" \
    --prune-allowlist core/v1/Service --prune-allowlist discovery.k8s.io/v1/EndpointSlice \
    >"$log" 2>&1 || fail "kubectl apply: $(tail -n 5 "$log")"
}

# The Nodes, with their addresses.
api_nodes() {
  local node
  nodes | manifest nodes.yaml
  api_apply
  [[ $API == real ]] || return 0
  for node in node-a node-b; do
    kubectl patch node $node --subresource status --type merge --patch "$(api_addresses $node)"
  done
}

api_addresses() {
  cat <<JSON
{"status": {"addresses": [{"type": "InternalIP", "address": "${CLUSTER_V4[$1]}"},
                          {"type": "InternalIP", "address": "${CLUSTER_V6[$1]}"}]}}
JSON
}

# api_agent <node> [flags]: an agent that follows the API, in force when this returns.
api_agent() {
  api_agent_start "$@"
  cluster_agent_ready "$1"
}

api_agent_start() {
  local node=$1
  shift
  mkdir -p "$CLUSTER_DIR/state-$node"
  cluster_spawn "sluiced-$node" "$node" "$CLUSTER_BIN/cmd/sluiced/sluiced" \
    --kubeconfig "$KUBECONFIG_FILE" --hostname-override "$node" \
    --bpffs "$CLUSTER_BPFFS-$node" --state-dir "$CLUSTER_DIR/state-$node" \
    "${CLUSTER_SOCKET_FLAGS[$node]}" "$@"
}

# Whether what the agent of a node has in its maps is what the API server holds now.
api_truth_holds() {
  local node=$1 resource
  for resource in api/v1/services apis/discovery.k8s.io/v1/endpointslices; do
    api_get "/$resource" >"$CLUSTER_DIR/truth-${resource##*/}.json" || return 1
  done
  cluster_ctl "$node" -o json service list >"$CLUSTER_DIR/agent-services.json" || return 1
  python3 "$CLUSTER_E2E/kubernetes/truth.py" "$CLUSTER_DIR"
}

# Returns when the agent of node-a has in force what the API server holds.
in_force() {
  local tries=100
  until api_truth_holds node-a >"$CLUSTER_DIR/truth.log" 2>&1; do
    ((--tries > 0)) || fail "the agent differs from the API: $(tail -n 8 "$CLUSTER_DIR/truth.log")"
    sleep 0.1
  done
}
