# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The table of test/data/semantics in a cluster; what e2e.semantics_trace and e2e.semantics_packets
# have in common. To be sourced.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

# For Python programs: the modules beside table.py.
SEMANTICS=$CLUSTER_ROOT/test/support/semantics
export PYTHONPATH=$SEMANTICS PYTHONDONTWRITEBYTECODE=1

# The cluster, with the addresses and networks that the table adds. The processes of node-a and its
# pods are in the agent's cgroup, so that the node's own have services.
open_semantics() {
  local role address
  open_cluster
  cluster_join_cgroups || skip 'no cgroup v2'
  TABLE=$CLUSTER_DIR/semantics.json
  python3 "$SEMANTICS/table.py" "$TABLE" || fail 'the table'
  while read -r role address; do
    case $role:$address in
      router:*) cluster_address router lo "$address" ;;
      # Deprecated: not to be the source of what the node itself sends.
      node-a:*:*:*) ip -n "$CLUSTER-node-a" addr add "$address/64" dev eth0 nodad preferred_lft 0 ;;
      *:*:*) cluster_address "$role" eth0 "$address/64" ;;
      *) cluster_address "$role" eth0 "$address/24" ;;
    esac
  done < <(json '"\n".join(f"{role} {one}" for role in d["added"] for one in d["added"][role])' \
    <"$TABLE")
  for address in $(json '" ".join(d["routes"])' <"$TABLE"); do
    if [[ $address == *:* ]]; then
      cluster_route router "$address" via "${CLUSTER_V6[node-a]}"
    else
      cluster_route router "$address" via "${CLUSTER_V4[node-a]}"
    fi
  done
}

# of_setup <name> <expression>: a Python expression of `one`, that setup.
of_setup() {
  json "[$2 for one in d['setups'] if one['name'] == '$1'][0]" <"$TABLE"
}

# each_setup <runner> <command...>: runs it with the name of each setup, while an agent on node-a
# serves it. It prints how many flows it ran; all of them together have to be what the table has for
# that runner.
each_setup() {
  local runner=$1 setup flags out flows=0
  shift
  for setup in $(json '" ".join(one["name"] for one in d["setups"])' <"$TABLE"); do
    step "$setup"
    of_setup "$setup" 'one["manifests"]' | manifest semantics.yaml
    mapfile -t flags < <(of_setup "$setup" '"\n".join(one["flags"])')
    cluster_agent node-a "$MANIFESTS" "${flags[@]}"
    "$@" "$setup" >"$CLUSTER_DIR/$setup.out" || {
      grep -v ' 0 failed$' "$CLUSTER_DIR/$setup.out"
      fail "$setup"
    }
    out=$(<"$CLUSTER_DIR/$setup.out")
    printf '%s\n' "$out"
    [[ $out =~ .*[^0-9]([0-9]+)' flows' ]] || fail "$setup: not said how many flows"
    flows=$((flows + BASH_REMATCH[1]))
    cluster_kill sluiced-node-a
  done
  expect_equal 'flows that were run' "$flows" "$(json "d['flow_count']['$runner']" <"$TABLE")"
  printf '%s\n' "$flows flows"
}
