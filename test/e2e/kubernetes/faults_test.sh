#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What goes wrong with an API server: each is named by `sluicectl status`, none costs a request, and
# when it is over the agent follows again, with what changed in between. All of the faults are in
# unit/source/kube_faults_test.cc; here are those in which a whole agent may do something else.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

open_api_cluster
[[ $API == fake ]] || skip 'a real API server does not go wrong when it is told to'
cluster_serve a1 a2 b1
api_nodes
usual_manifests a1 "$DUAL"
api_apply
api_agent node-a
in_force
LOAD_STEP=30
load_start tcp a2 $WEB4:80 "[$WEB6]:80" --concurrency 2 --pause 0.02
load_start udp a2 $ECHO4:53 --protocol udp --concurrency 1 --pause 0.02
load_some_more tcp udp

faults_over() {
  api_control DELETE faults >/dev/null
}

# says <extended regular expression>: the status does, and is not healthy.
says() {
  ! cluster_ctl node-a status >"$CLUSTER_DIR/status" 2>&1 && grep -qE "$1" "$CLUSTER_DIR/status"
}

# Waits longer than the agent between two tries (15 s). After garbage the agent believes in a watch
# with its first good event, which a bookmark is; by itself the server would send one each minute.
becomes_healthy() {
  local tries=300
  api_control POST bookmarks >/dev/null
  until cluster_ctl node-a status >"$CLUSTER_DIR/status" 2>&1; do
    ((--tries > 0)) || fail "not healthy again: $(cat "$CLUSTER_DIR/status")"
    sleep 0.1
    ((tries % 20)) || api_control POST bookmarks >/dev/null
  done
}

# A backend comes or goes with each fault, so that what was lost on the way would be seen.
backends=(a1)
change_backends() {
  if ((${#backends[@]} == 1)); then
    backends=(a1 b1)
    web_on a1 b1
  else
    backends=(a1)
    web_on a1 b1:terminating
  fi
  api_apply
}

# meets <what> <regular expression> <command that ends it...>: the fault is told, the old state in
# force under load; when it has ended, the agent follows and is healthy.
meets() {
  local what=$1 pattern=$2
  shift 2
  step "$what"
  eventually "the status says it ($pattern)" says "$pattern"
  load_some_more tcp udp
  "$@" >/dev/null
  in_force
  becomes_healthy
  spread a2 $WEB4 80 50 "$(IFS=,; echo "${backends[*]}")"
}

api_control POST tokens '{"another": "system:nobody"}' >/dev/null
api_control POST cut-watches >/dev/null
change_backends
meets 'the token is not known any more' '(list|watch) endpointslices.*([Uu]nauthorized|401)' \
  api_control POST tokens "{\"a-token\": \"$API_USER\"}"

api_control POST faults '{"verb": "event", "kind": "garbage", "after": 6, "times": -1}' >/dev/null
change_backends
meets 'garbage in the middle of a frame' 'endpointslices' faults_over

step 'cut in the middle of a frame, once'
api_control POST faults '{"verb": "event", "kind": "cut", "after": 100}' >/dev/null
change_backends
in_force
becomes_healthy

step 'a past that is forgotten'
api_control POST kill >/dev/null
change_backends
api_control POST compact >/dev/null
api_control POST restart >/dev/null
in_force
becomes_healthy

api_control POST kill >/dev/null
rm "$MANIFESTS/nodes.yaml"
api_apply
api_control POST restart >/dev/null
meets 'no Node of our name' 'node-a' api_nodes

step 'an authority that we do not know'
api_ca other-ca
kubeconfig "$CLUSTER_DIR/wrong" a-token "$API_URL" "$CLUSTER_DIR/pki/other-ca.crt"
cluster_kill sluiced-node-a
KUBECONFIG_FILE=$CLUSTER_DIR/wrong api_agent_start node-a
eventually 'the status says it' says '[Cc]ertificate'
load_some_more tcp udp
cluster_kill sluiced-node-a
api_agent node-a
in_force
becomes_healthy

for name in tcp udp; do
  load_stop_without_failure $name
done
