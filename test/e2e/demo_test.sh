#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's first command shows what it says, leaves its cluster standing when asked to, takes
# it down again, and cleans up when it is interrupted.
# shellcheck source=expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

[[ $EUID -eq 0 ]] || fail 'e2e tests need root'
DEMO=$(dirname "${BASH_SOURCE[0]}")/../../cmd/demo.sh
log=$(mktemp)
CLUSTER_DIR=$log.none
kept=
trap 'rm -f "$log"; [[ -z $kept ]] || "$DEMO" --down >/dev/null 2>&1' EXIT
export CLUSTER_BIN

# What is left of a cluster.
left() {
  { ip netns list | cut -d' ' -f1; ls /sys/fs/bpf; } | grep "^$1-" || true
}

step 'to its end, and left standing'
kept=1
"$DEMO" --keep >"$log" 2>&1 || { cat "$log" && fail 'the demo'; }
expect_equal 'its last word' "$(grep -c '^All of it as it should be\.$' "$log")" 1
name=$(sed -n 's|.*/run/netns/\(sl[0-9]*\)-node-a .*|\1|p' "$log" | head -n 1)
[[ -n $(left "$name") ]] || fail "nothing of $name is left standing"
dump=$(sed -n 's/^ *sudo \(bpftool map dump .*\)/\1/p' "$log")
expect_match 'what it says to look at' "$($dump)" 'frontend|key'
"$DEMO" >"$log" 2>&1 && fail 'a second one ran beside it'
expect_match 'a second one' "$(cat "$log")" 'still standing; first: sudo cmd/demo\.sh --down'

step 'taken down'
"$DEMO" --down >"$log" 2>&1 || { cat "$log" && fail '--down'; }
kept=
expect_equal 'left over' "$(left "$name")" ''

step 'interrupted'
# As at a terminal: in a group of its own, where SIGINT is not ignored as it is in the background.
python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$DEMO" >"$log" 2>&1 &
demo=$!
until grep -q '^1\. ' "$log"; do
  kill -0 "$demo" || fail 'it ended before it asked'
  sleep 0.1
done
name=sl$demo
[[ -n $(left "$name") ]] || fail 'its cluster is not found'
kill -INT "-$demo"
wait "$demo" && fail 'it ended well'
expect_equal 'left over' "$(left "$name")" ''
