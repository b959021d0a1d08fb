#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects of a newer API server, with words that this agent does not know: as ../bad_input_test.sh
# has it for files.
# shellcheck source=api.sh
source "$(dirname "${BASH_SOURCE[0]}")/api.sh"
# shellcheck source=../words_of_tomorrow.sh
source "$(dirname "${BASH_SOURCE[0]}")/../words_of_tomorrow.sh"

[[ $API == fake ]] || skip 'a real API server of today refuses such objects'
open_api_cluster
cluster_serve a1 b1
api_nodes
api_agent node-a
usual_manifests a1 b1 "$DUAL"
in_force

# knows <word>: in_force compares with what the API says, which is not what the agent makes of it.
knows() {
  cluster_ctl node-a service show default/later 2>/dev/null | grep -qF "$1"
}

is_served() {
  [[ $(probe a2 10.96.0.81 80) == 'answer b1'* ]]
}

words_of_tomorrow | manifest later.yaml
api_apply
for word in Mesh MAC FQDN; do
  eventually "the agent knows of $word" knows $word
done
eventually 'what can be served is' is_served
words_are_told
ip_mode_of_tomorrow | manifest later.yaml
api_apply
eventually 'the agent knows of the mode' knows Tomorrow
ip_mode_is_told
expect_match 'the others are not touched' "$(probe a2 $WEB6 80)" '^answer'
