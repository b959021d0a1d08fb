#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A thousand changes of services and endpoints in twenty rounds, and what the agent serves in the
# end, and in the middle, is what the API server holds.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"

open_api_cluster
api_nodes
api_agent node-a

changes=0 round=0
while ((changes < 1000)); do
  ((++round))
  changed=$(python3 "$CLUSTER_E2E/kubernetes/churn.py" "$MANIFESTS" "$round" 50)
  changes=$((changes + changed))
  api_apply
  if ((round % 5 == 0)); then
    # Watches break on the way too: by the server's hand, in the middle of what they say.
    [[ $API == real ]] || api_control POST cut-watches >/dev/null
    in_force
  fi
done
in_force
step "$changes changes in $round rounds: $(head -n 1 "$CLUSTER_DIR/truth.log")"
