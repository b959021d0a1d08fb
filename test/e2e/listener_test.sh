#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A NodePort that a process of the node listens on: said, in the log and by sluicectl; ports that
# would lock people out (22, 6443, 2379, 2380, 10250) are refused unless --force-node-ports.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

listen() {
  cluster_spawn "listener-$1" node-a python3 -c '
import socket, sys, time
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"the node itself\n")
    connection.close()' "$1"
  cluster_await_log "listener-$1" listening
}

who_answers() {
  cluster_in client python3 -c '
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as connection:
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print("node" if b"the node" in connection.recv(1000) else "service")' "$1" "$2"
}

open_cluster
cluster_serve a1
nodes | manifest nodes.yaml
service web NodePort TCP 80 30080 $WEB4 $WEB6 | manifest web.yaml
web_on a1
service ssh NodePort TCP 80 22 10.96.0.22 fd00:10:96::22 | manifest ssh.yaml
slices ssh TCP 8080 a1 | manifest ssh-endpoints.yaml
listen 30080
listen 22
cluster_agent node-a "$MANIFESTS"

status=$(cluster_ctl node-a -o json status || true)
shadowed=$(json '[one for one in d["listenersShadowed"] if one["port"] == 30080]' <<<"$status")
expect_match 'sluicectl names the listener and the service' "$shadowed" 'default/web'
expect_match 'the log does too' "$(cat "$CLUSTER_DIR/sluiced-node-a.log")" '30080'
expect_equal 'the service has the port' "$(who_answers "${CLUSTER_V4[node-a]}" 30080)" service
expect_equal 'port 22 stays with the node' "$(who_answers "${CLUSTER_V4[node-a]}" 22)" node
expect_match 'and that is said' "$status" '22'
expect_match 'its ClusterIP works' "$(probe a2 10.96.0.22 80)" '^answer a1'

step 'with --force-node-ports'
cluster_kill sluiced-node-a
cluster_agent node-a "$MANIFESTS" --force-node-ports
expect_equal 'port 22 is the service' "$(who_answers "${CLUSTER_V4[node-a]}" 22)" service
