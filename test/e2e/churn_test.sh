#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Endpoints leave (as Kubernetes has it: terminating, then gone) and come back while requests run,
# from a pod and from outside, in both families and both protocols: none fails.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 a2 b1 b2
usual_manifests a1 a2 b1 b2
cluster_agent node-a "$MANIFESTS"

loads=(pod-tcp pod-udp outside-tcp outside-udp)
node4=${CLUSTER_V4[node-a]} node6=${CLUSTER_V6[node-a]}
load_start pod-tcp a1 $WEB4:80 "[$WEB6]:80" --concurrency 3
load_start pod-udp a2 $ECHO4:53 "[$ECHO6]:53" --protocol udp --concurrency 2
load_start outside-tcp client "$node4:30080" "[$node6]:30080" --concurrency 3
load_start outside-udp client "$node4:30053" "[$node6]:30053" --protocol udp --concurrency 2

for pod in b2 a1 a2 b1; do
  others=()
  for other in a1 a2 b1 b2; do
    [[ $other == "$pod" ]] || others+=("$other")
  done
  step "$pod terminates, is gone, comes back"
  web_on "${others[@]}" "$pod:terminating"
  echo_on "${others[@]}" "$pod:terminating"
  in_force
  load_some_more "${loads[@]}"
  web_on "${others[@]}"
  echo_on "${others[@]}"
  in_force
  load_some_more "${loads[@]}"
  web_on "${others[@]}" "$pod"
  echo_on "${others[@]}" "$pod"
  in_force
  load_some_more "${loads[@]}"
done
for name in "${loads[@]}"; do
  load_stop_without_failure "$name"
done

step 'one backend only, then the others again'
web_on b2
in_force
spread a1 $WEB4 80 200 b2
web_on a1 a2 b1 b2
in_force
spread a1 $WEB4 80 2000 a1,a2,b1,b2
