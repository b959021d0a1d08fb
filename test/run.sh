#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs all tests of sluice on this machine, from the packages on: installs what is missing, builds,
# runs every label, and ends in one summary.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=$root/build/test-results

usage() {
  cat <<'TEXT'
usage: sudo test/run.sh [label...]

Labels: check  sources: layout, scripts, forbidden patterns
        unit   control/ and maps/, without a kernel, under the address and undefined-behaviour
               sanitizers
        bpf    the loaded programs, packet by packet
        e2e    whole clusters in network namespaces, with real servers
Without a label: all of them. Exit code 0 only if every test passed and every skipped one is
justified in test/skips.txt.
TEXT
}

fail() {
  printf 'test/run.sh: %s\n' "$1" >&2
  exit 2
}

labels=(check unit bpf e2e)
case ${1:-} in -h | --help) usage && exit 0 ;; esac
if [[ $# -gt 0 ]]; then
  for label in "$@"; do
    [[ " ${labels[*]} " == *" $label "* ]] || { usage >&2 && fail "no such label: $label"; }
  done
  labels=("$@")
fi
[[ $EUID -eq 0 ]] ||
  fail 'the tests load BPF programs and make network namespaces; as root: sudo test/run.sh'

export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export CCACHE_BASEDIR=$root
cd "$root" || exit 2

wanted() {
  [[ " ${labels[*]} " == *" $1 "* ]]
}

# build <preset> [target...]
build() {
  local preset=$1 log=$results/build-$1.log
  shift
  printf 'Building %s ...' "$preset"
  local start=$SECONDS
  if ! { cmake --preset "$preset" && cmake --build --preset "$preset" ${1:+--target "$@"}; } \
    >"$log" 2>&1 </dev/null; then
    printf ' failed\n'
    grep -E -A4 'error:|FAILED:|CMake Error' "$log" | head -n 40 >&2
    fail "build of preset $preset failed; all of it: $log"
  fi
  printf ' %d s\n' $((SECONDS - start))
}

# run <label> <build folder> [ctest flags]
run() {
  local label=$1 folder=$2
  shift 2
  printf '\n== %s\n' "$label"
  ctest --test-dir "$folder" --label-regex "^$label\$" --no-tests=error --output-on-failure \
    --test-output-size-passed 1000000 --output-junit "$results/$label.xml" "$@" </dev/null ||
    printf 'ctest of %s ended with %d\n' "$label" $?
}

rm -rf "$results"
mkdir -p "$results"
third_party/install.sh || fail 'the packages in third_party/packages.txt are needed'
if wanted check || wanted bpf || wanted e2e; then
  build dev system_tests
fi
wanted unit && build asan unit_tests

jobs=$(nproc)
wanted check && run check build/dev -j "$jobs"
wanted unit && run unit build/asan -j "$jobs"
# One kernel, one set of program statistics and pins: one after the other.
wanted bpf && run bpf build/dev
# Each cluster has its own namespaces and pins: two at a time.
wanted e2e && run e2e build/dev -j 2

python3 test/summary.py test/skips.txt "$results" "${labels[@]}"
