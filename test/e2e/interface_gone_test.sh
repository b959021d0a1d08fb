#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pods come and go while the agent runs: a new pod's interface is attached to by itself, one that is
# gone is let go of, and nobody else notices.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

open_cluster
cluster_serve a1 b1
usual_manifests a1 b1
cluster_agent node-a "$MANIFESTS"
load_start pod a1 "$WEB4:80" --concurrency 2

attached() {
  cluster_ctl node-a -o json interfaces | grep -c '"calia2"' || true
}

is_attached() {
  [[ $(attached) -gt 0 ]]
}

is_let_go() {
  [[ $(attached) -eq 0 ]]
}

for _ in 1 2 3; do
  step 'a2 goes'
  eventually 'calia2 is attached to' is_attached
  ip -n "$CLUSTER-node-a" link del calia2
  eventually 'calia2 is let go of' is_let_go
  step 'and comes back'
  cluster_pod a2
  eventually 'the new pod reaches the service' \
    bash -c "$(declare -f probe traffic cluster_in cluster_host_port)
      CLUSTER=$CLUSTER CLUSTER_E2E='$CLUSTER_E2E'
      [[ \$(probe a2 $WEB4 80 --timeout 1) == answer* ]]"
done
spread a2 $WEB6 80 300 a1,b1
load_stop_without_failure pod
expect_match 'no link of a dead interface stays pinned' \
  "$(find "$CLUSTER_BPFFS-node-a/v1/links" -name 'calia2*' | wc -l)" '^[0-2]$'
