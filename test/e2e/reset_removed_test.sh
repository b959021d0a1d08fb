#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Connections that got their backend at connect() and lost it: processes of the node and of pods see
# an error at once (--reset-removed); those whose backend is still there, and those that went to the
# same endpoint by themselves, go on.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
cluster_join_cgroups || skip 'no cgroup v2'
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"

ended() {
  cluster_in node-a curl -sS http://127.0.0.1:10249/metrics |
    awk '$1 == "sluice_sockets_ended_total" { print $2 }'
}
# hold_on <backend> <name> <from> <target> [flags]: a connection that went to this backend.
hold_on() {
  local backend=$1 name=$2 tries=0
  shift 2
  while true; do
    hold "$name$tries" "$@"
    [[ $(ask "$name$tries") != "answer $backend "* ]] || break
    cluster_kill "$name$tries"
    ((++tries < 40)) || fail "$name never reaches $backend"
  done
  CLUSTER_PIDS[$name]=${CLUSTER_PIDS[$name$tries]}
  HELD[$name]=${HELD[$name$tries]}
  ln -s "$name$tries.log" "$CLUSTER_DIR/$name.log"
  unset "CLUSTER_PIDS[$name$tries]"
}
# Waits, and sends nothing, until the process sees its connection end.
sees_its_end() {
  grep -q '^ended: ECONNABORTED$' "$CLUSTER_DIR/$1.log"
}

step 'connections to an endpoint that goes, and to one that stays'
hold_on b1 pod4 a1 "$WEB4:80" --watch
hold_on b1 pod6 a2 "[$WEB6]:80" --watch
hold_on b1 host4 node-a "$WEB4:80" --watch
hold_on b1 host6 node-a "[$WEB6]:80" --watch
hold_on b1 mapped a1 "[::ffff:$WEB4]:80" --watch
hold_on b1 udp node-a "$ECHO4:53" --protocol udp --watch
hold_on a1 stays a2 "$WEB4:80" --watch
hold direct a1 "${CLUSTER_V4[b1]}:8080" --watch
expect_match 'straight to the endpoint' "$(ask direct)" '^answer b1'
before=$(ended)

step 'terminating: they go on'
web_on a1 b1:terminating && in_force
for one in pod4 pod6 host4 host6 mapped; do
  expect_match "$one" "$(ask "$one")" '^answer b1'
done

step 'gone: who waits for an answer sees the end, without sending'
web_on a1 && echo_on a1 && in_force
for one in pod4 pod6 host4 host6 mapped udp; do
  eventually "$one sees the end" sees_its_end "$one"
done
expect_match 'what stays' "$(ask stays)" '^answer a1'
expect_match 'straight to the endpoint' "$(ask direct)" '^answer b1'
expect_equal 'counted' "$(($(ended) - before))" 6
expect_equal 'as reset' "$(cluster_ctl node-a -o json service show default/web |
  json 'd[0]["sockets"]["reset"] >= 5')" True

step 'while the agent is away nothing is lost, and its start catches up'
usual_manifests a1 b1 && in_force
hold_on b1 late a2 "$WEB4:80" --watch
cluster_kill sluiced-node-a KILL
expect_match 'without an agent' "$(ask late)" '^answer b1'
web_on a1
cluster_agent node-a "$MANIFESTS"
eventually 'late sees the end' sees_its_end late

step 'an endpoint that is taken out and put back keeps its connections'
applied() {
  cluster_ctl node-a -o json status | json 'd["appliedGeneration"]'
}
# Sockets are looked at 200 ms after an endpoint has gone. A busy machine may take longer to put it
# back, and then it was gone for good as far as anybody can tell; or take both changes for none.
for attempt in {1..40}; do
  web_on a1 b1 && in_force
  hold_on b1 "again$attempt-" a1 "$WEB4:80" --watch
  before=$(applied)
  web_on a1
  sleep 0.05
  web_on a1 b1 && in_force
  changes=$(($(applied) - before))
  sleep 1.5
  [[ $changes -lt 2 || $(ask "again$attempt-") != 'answer b1'* ]] || break
  cluster_kill "again$attempt-"
  ((attempt < 40)) || fail 'no connection outlives its endpoint being taken out and put back'
done
web_on a1 && in_force
eventually 'and ends when it goes for good' sees_its_end "again$attempt-"

step 'a process that sleeps in send() and holds its socket holds up nobody'
usual_manifests b1 && in_force
# shellcheck disable=SC2016  # of the inner shell
cluster_spawn held a1 sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$(cluster_cgroup node-a)" \
  python3 "$CLUSTER_E2E/sockets.py" held $WEB4 80
cluster_await_log held '^open$'
hold other a2 "$WEB4:80" --watch
expect_match 'another' "$(ask other)" '^answer b1'
web_on a1 && in_force
eventually 'another is ended' sees_its_end other
sleep 1.5
expect_match 'the agent answers' "$(ended)" '^[0-9]+$'
web_on b1 && in_force
expect_match 'and follows changes' "$(probe a2 $WEB4 80)" '^answer b1'
cluster_kill held KILL

step 'without --socket-lb those that are there are ended with their endpoint all the same'
usual_manifests b1 && in_force
hold before a1 "$WEB4:80" --watch
expect_match 'a request' "$(ask before)" '^answer b1'
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --socket-lb off
expect_match 'it goes on' "$(ask before)" '^answer b1'
expect_equal 'and is known' "$(cluster_ctl node-a -o json service show default/web |
  json 'd[0]["sockets"]["open"] >= 1')" True
web_on a1 && in_force
eventually 'it sees the end' sees_its_end before

step 'switched off'
usual_manifests b1 && in_force
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --no-reset-removed
hold_on b1 left a1 "$WEB4:80" --watch
web_on a1 && in_force
sleep 1.5
expect_match 'it goes on' "$(ask left)" '^answer b1'
