#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SCTP, packet by packet: whole associations through ClusterIPs and NodePorts, to backends here and
# on another node, with CRCs that are right at both ends; an ABORT where there is no backend.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

SIGNAL4=10.96.0.70 SIGNAL6=fd00:10:96::70

open_cluster
for pod in a1 b1; do
  cluster_spawn "sctp-$pod" $pod python3 "$CLUSTER_E2E/sctp.py" serve $pod 3868
done
for pod in a1 b1; do
  cluster_await_log "sctp-$pod" '^ready$'
done
nodes | manifest nodes.yaml
service signal NodePort SCTP 3000 30868 $SIGNAL4 $SIGNAL6 | manifest signal.yaml

# signal_on <pod[:state]...>
signal_on() {
  slices signal SCTP 3868 "$@" | manifest signal-endpoints.yaml
}

# sctp <from> <address> <port> [source port]
sctp() {
  cluster_in "$1" python3 "$CLUSTER_E2E/sctp.py" ask "${@:2}"
}

# opened: associations that the service has been asked for.
opened() {
  cluster_ctl node-a -o json service show default/signal | json 'd[0]["stats"]["opened"]'
}

signal_on a1
cluster_agent node-a "$MANIFESTS"
for backend in a1 b1; do
  signal_on $backend
  in_force
  for family in 4 6; do
    declare -n signal=SIGNAL$family at=CLUSTER_V$family
    step "$backend answers, IPv$family"
    before=$(opened)
    expect_equal 'a pod' "$(sctp a2 "$signal" 3000)" "answer $backend ${at[a2]}"
    expect_equal 'a pod, by node port' "$(sctp a2 "${at[node-a]}" 30868)" \
      "answer $backend ${at[a2]}"
    seen=${at[client]}
    [[ $backend == a1 ]] || seen=${at[node-a]}
    expect_equal 'from outside' "$(sctp client "${at[node-a]}" 30868)" "answer $backend $seen"
    expect_equal 'from outside, the same port again' \
      "$(sctp client "${at[node-a]}" 30868 3001)$(sctp client "${at[node-a]}" 30868 3001)" \
      "answer $backend ${seen}answer $backend $seen"
    expect_equal 'counted' "$(opened)" $((before + 5))
  done
done

step 'both are chosen'
signal_on a1 b1
in_force
chosen=
for port in $(seq 4001 4020); do
  chosen+=$(sctp a2 $SIGNAL4 3000 "$port" | cut -d' ' -f2)$'\n'
done
expect_equal 'of 20' "$(sort -u <<<"$chosen" | tr -d '\n')" a1b1

step 'a pod that reaches itself'
signal_on a1
in_force
for family in 4 6; do
  declare -n signal=SIGNAL$family at=CLUSTER_V$family
  expect_equal "IPv$family" "$(sctp a1 "$signal" 3000)" "answer a1 ${at[node-a]}"
done

step 'no endpoint, a port that there is not'
signal_on
in_force
for family in 4 6; do
  declare -n signal=SIGNAL$family at=CLUSTER_V$family
  expect_equal 'a pod' "$(sctp a2 "$signal" 3000)" aborted
  expect_equal 'from outside' "$(sctp client "${at[node-a]}" 30868)" aborted
  expect_equal 'no such port' "$(sctp a2 "$signal" 3001)" aborted
done
expect_equal 'counted' "$(dropped no_backend) $(dropped no_such_port)" '4 2'

step 'nothing wrong was seen by the servers'
for pod in a1 b1; do
  expect_equal $pod "$(grep wrong "$CLUSTER_DIR/sctp-$pod.log" || true)" ''
done
