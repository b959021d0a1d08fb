#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether sluice is faster than what it replaces, shown in one run on one machine: table and plots.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/test/bench

usage() {
  cat <<'TEXT'
usage: sudo test/bench/run.sh [--quick] [--output FOLDER] [what to measure...]

Installs what is missing, builds, measures, and writes table.md, *.svg and results.jsonl to FOLDER
(build/bench/<time>), all in network namespaces of its own. On two processors it takes three
quarters of an hour, with --quick four minutes; leave the machine alone meanwhile.

Sides, each in a cluster of its own, all standing at the same time and measured in turn, 50 ms each:
straight to the backend; sluice (at connect() and by packet); sluice-xdp; and the iptables and
nftables rules that kube-proxy 1.36 writes for the same Services. kube-proxy itself, in these two
modes and with an API server, is measured as well where KUBEBUILDER_ASSETS names a folder with etcd,
kube-apiserver, kubectl and kube-proxy, of one release.

  --services N,N     numbers of Services (1,10,100,1000,10000; quick: 10,1000)
  --sides A,B        of straight,sluice,sluice-xdp,iptables,nftables,kube-proxy-iptables,
                     kube-proxy-nftables
  --paths A,B        of pod-local,pod-remote,outside-local,outside-remote
  --traffic A,B      of CRR,RR,stream,UDP RR (quick: CRR,RR)
  --rounds N         of each measurement (100; quick: 10)
  --milliseconds N   of each side in a round
  --family 4|6       IPv4 or IPv6
  --iptables legacy|nft  which iptables; legacy is the faster one at everything here
TEXT
}

fail() {
  printf 'test/bench/run.sh: %s\n' "$1" >&2
  exit 2
}

output='' flags=()
services=1,10,100,1000,10000 rounds=100
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --quick)
      services=10,1000 rounds=10
      flags+=(--traffic "CRR,RR" --changes 6)
      shift
      continue
      ;;
  esac
  [[ $# -gt 1 ]] || { usage >&2 && fail "what is $1?"; }
  case $1 in
    --output) output=$2 ;;
    --services) services=$2 ;;
    --rounds) rounds=$2 ;;
    --sides | --paths | --traffic | --milliseconds | --family | --iptables) flags+=("$1" "$2") ;;
    *) usage >&2 && fail "what is $1?" ;;
  esac
  shift 2
done
[[ $EUID -eq 0 ]] ||
  fail 'it makes network namespaces and loads BPF programs; as root: sudo test/bench/run.sh'
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Programs that are built already.
built=${CLUSTER_BIN:-}
export CLUSTER_BIN=${built:-$root/build/release}
output=${output:-$root/build/bench/$(date +%Y%m%d-%H%M%S)}

build() {
  local log=$output/build.log start=$SECONDS
  printf 'Building (the first time takes minutes) ... '
  if ! (cd "$root" && CCACHE_BASEDIR=$root cmake --preset release &&
    CCACHE_BASEDIR=$root cmake --build --preset release --target sluiced sluicectl \
      sluice_connection_bench sluice_kubernetes_bench xdp_pass_skeleton) \
    >"$log" 2>&1 </dev/null; then
    printf 'failed\n'
    grep -E -A4 'error:|FAILED:|CMake Error' "$log" | head -n 30 >&2 || true
    fail "the build failed; all it said: $log"
  fi
  printf 'done, %d s\n' $((SECONDS - start))
}

# What figures hold for.
machine() {
  python3 - <<'PY'
import json, os, re, subprocess

def said(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip() or "unknown"

with open("/proc/cpuinfo", encoding="utf-8") as file:
    model = re.search(r"model name\s*: (.*)", file.read())
with open("/proc/meminfo", encoding="ascii") as file:
    memory = int(re.search(r"MemTotal: +(\d+)", file.read())[1]) / (1 << 20)
with open("/etc/os-release", encoding="utf-8") as file:
    system = re.search(r'PRETTY_NAME="(.*)"', file.read())
root = os.environ["BENCH_ROOT"]
proxy = os.path.join(os.environ.get("KUBEBUILDER_ASSETS", ""), "kube-proxy")
print(json.dumps({
    "Linux": os.uname().release,
    "on": system[1] if system else "unknown",
    "processor": model[1] if model else os.uname().machine,
    "processors": os.cpu_count(),
    "memory": f"{memory:.0f} GiB",
    "sluice": said("git", "-C", root, "describe", "--always", "--dirty"),
    "iptables": said("iptables-legacy", "--version").removeprefix("iptables "),
    "nft": said("nft", "--version").removeprefix("nftables "),
    **({"kube-proxy": said(proxy, "--version")} if os.access(proxy, os.X_OK) else {}),
    "load before": f"{os.getloadavg()[0]:.1f}",
    "at": said("date", "--iso-8601=minutes")}))
PY
}

measure=(python3 -B "$here/bench_run.py" "$CLUSTER_BIN" "$output" --services "$services"
  --rounds "$rounds" "${flags[@]}")
[[ -n $built ]] || "$root/third_party/install.sh" || exit 2
# Before the build, which takes longer.
"${measure[@]}" --check || exit 2
mkdir -p "$output"
[[ -n $built ]] || build
trap 'rm -rf "$output/work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
BENCH_ROOT=$root machine >"$output/machine.json"
code=0
"${measure[@]}" || code=$?
[[ -s $output/results.jsonl ]] || exit $((code ? code : 1))
python3 -B "$here/bench_report.py" "$output"
printf '\nAll of it: %s\n' "$output"
exit $code
