#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every flow of the table of test/data/semantics as `sluicectl trace` sees it: verdict, reason, the
# endpoints that it may be given and the source that they see.
# shellcheck source=semantics.sh
source "$(dirname "${BASH_SOURCE[0]}")/semantics.sh"

trace_flows() {
  cluster_in node-a python3 "$CLUSTER_E2E/semantics_trace.py" "$TABLE" "$1" \
    "$CLUSTER_BIN/cmd/sluicectl/sluicectl" --state-dir "$CLUSTER_DIR/state-node-a"
}

open_semantics
each_setup trace trace_flows
