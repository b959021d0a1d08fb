#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent says by sd_notify that it is ready, and then its services are in force; and that it is
# stopping.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1
usual_manifests a1
cluster_spawn notify node-a python3 -u -c '
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
print("waiting")
while True:
    print(server.recv(4096).decode().strip())' "$CLUSTER_DIR/notify.sock"
cluster_await_log notify waiting
NOTIFY_SOCKET=$CLUSTER_DIR/notify.sock cluster_agent_start node-a "$MANIFESTS"
cluster_await_log notify '^READY=1' || fail 'READY=1 never came'
expect_match 'ready means in force' "$(probe a2 $WEB4 80)" '^answer a1'
cluster_kill sluiced-node-a
cluster_await_log notify '^STOPPING=1' || fail 'STOPPING=1 never came'
