#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The image, made in a root folder by the steps of deploy/Containerfile's second stage on a base
# made with debootstrap: it holds what it should and no more, every library is found, and sluiced
# serves a node out of it with the rights that the DaemonSet gives.
#
# The base is kept in the build folder; the packages on it are fetched each time.
# shellcheck source=../e2e/expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/expect.sh"

PAYLOAD_LIMIT_MB=60
cache=$CLUSTER_BIN/image-base

# Debian's mirror and release as this machine's apt has them.
mirror() {
  # shellcheck disable=SC2016  # apt's own variables
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$1" '$2 == codename && $3 == "main" { print $1; exit }'
}

# A slim base at $cache.tar: what `debootstrap --variant=minbase` makes, without package lists.
make_base() {
  local codename from
  # shellcheck source=/dev/null
  codename=$(source /etc/os-release && echo "$VERSION_CODENAME")
  from=$(mirror "$codename")
  [[ -n $from ]] || fail "apt knows no mirror of $codename"
  debootstrap --variant=minbase "$codename" "$CLUSTER_DIR/base" "$from" \
    >"$CLUSTER_DIR/debootstrap.log" 2>&1 ||
    fail "debootstrap from $from: $(tail -n 3 "$CLUSTER_DIR/debootstrap.log")"
  rm -rf "$CLUSTER_DIR"/base/var/{lib/apt/lists,cache/apt}/*
  tar -C "$CLUSTER_DIR/base" --one-file-system -cf "$cache.new" .
  mv "$cache.new" "$cache.tar"
  rm -rf "$CLUSTER_DIR/base"
}

files_of() {
  (cd "$1" && find . -xdev -type f -o -type l | sort)
}

kilobytes() {
  du -skx "$1" | cut -f1
}

# Runs a script in the root with node-a's network. Its mounts end with it: nothing of this machine
# may be mounted there when the folder is removed.
in_root() {
  cluster_in node-a unshare --mount --propagation private chroot "$root" sh -ec "$1"
}

open_cluster
cluster_join_cgroups || skip 'no cgroup v2'
root=$CLUSTER_DIR/root

step 'the base'
[[ -s $cache.tar ]] || make_base
mkdir "$root"
tar -C "$root" -xf "$cache.tar"
cp /etc/resolv.conf "$root/etc/resolv.conf"
files_of "$root" >"$CLUSTER_DIR/files.base"
base_size=$(kilobytes "$root")

step 'the second stage'
"$CLUSTER_ROOT/deploy/image/stage.sh" "$CLUSTER_BIN" "$root"
chroot "$root" /usr/lib/sluice/install-packages.sh >"$CLUSTER_DIR/install.log" 2>&1 ||
  fail "install-packages.sh: $(tail -n 5 "$CLUSTER_DIR/install.log")"

step 'what is in it'
files_of "$root" | comm -13 "$CLUSTER_DIR/files.base" - >"$CLUSTER_DIR/files.added"
ours=$(while read -r file; do
  chroot "$root" dpkg -S "${file#.}" >/dev/null 2>&1 || echo "${file#.}"
done < <(grep -E '^\./(usr/bin|usr/lib/sluice|usr/share/doc/sluice|opt|srv|root|home|tmp)/' \
  "$CLUSTER_DIR/files.added"))
expect_equal 'files of no package' "$ours" '/usr/bin/sluicectl
/usr/bin/sluiced
/usr/lib/sluice/install-packages.sh
/usr/lib/sluice/packages.txt
/usr/lib/sluice/prepare-node.sh
/usr/share/doc/sluice/copyright'
if grep -E '\.(a|la|h|o)$|/man/man|/var/lib/apt/lists/.*Packages|/__pycache__/' \
  "$CLUSTER_DIR/files.added"; then
  fail 'things that nobody needs to run sluice'
fi
payload=$(($(kilobytes "$root") - base_size))
printf '   payload %d KiB in %d files; sluiced %d KiB\n' "$payload" \
  "$(wc -l <"$CLUSTER_DIR/files.added")" "$(kilobytes "$root/usr/bin/sluiced")"
expect_equal "payload under $PAYLOAD_LIMIT_MB MB" "$((payload < PAYLOAD_LIMIT_MB * 1000))" 1

step 'every library is there, and no package without need'
libraries=$(chroot "$root" sh -c 'ldd /usr/bin/sluiced /usr/bin/sluicectl')
if grep 'not found' <<<"$libraries"; then fail 'libraries are missing'; fi
needed=$(awk '$2 == "=>" { print $3 }' <<<"$libraries" | sort -u |
  while read -r file; do
    file=$(chroot "$root" readlink -f "$file")
    chroot "$root" dpkg -S "$file" 2>/dev/null || chroot "$root" dpkg -S "${file#/usr}"
  done | cut -d: -f1 | sort -u)
listed=$(sed 's/#.*//; /^$/d' "$CLUSTER_ROOT/deploy/image/packages.txt" | grep '^lib' | sort)
expect_equal 'libraries in packages.txt that nothing needs' \
  "$(comm -23 <(echo "$listed") <(echo "$needed"))" ''

step 'the programs run'
expect_match 'sluiced --help' "$(chroot "$root" sluiced --help)" '--cleanup-kube-proxy'
expect_match 'sluicectl --version' "$(chroot "$root" sluicectl --version)" '^sluice(ctl)? [0-9]'
for program in iptables-{nft,legacy}-save ip6tables-{nft,legacy}-restore nft ipset ipvsadm; do
  chroot "$root" sh -c "command -v $program" >/dev/null || fail "no $program"
done
in_root 'mount -t proc proc /proc && sluiced --cleanup-kube-proxy' 2>"$CLUSTER_DIR/cleanup.log" ||
  fail "--cleanup-kube-proxy: $(cat "$CLUSTER_DIR/cleanup.log")"

# The container, as the DaemonSet describes it: its node folders, a root that cannot be written, its
# capabilities. The network namespace is the node's.
capabilities=$(python3 - "$CLUSTER_ROOT/deploy/base/daemonset.yaml" <<'PY'
import re, sys
added = re.search(r"^ *add: \[(.*)\]$", open(sys.argv[1], encoding="utf-8").read(), re.M)[1]
print("-all" + "".join(",+" + name.strip().lower() for name in added.split(",")))
PY
)
mkdir -p "$root"/{run/netns,run/sluice/cgroup2,var/lib/sluice,etc/sluice/manifests} \
  "$CLUSTER_DIR/state-node-a"
cat >"$CLUSTER_DIR/container.sh" <<'SH'
set -eu
root=$1 directory=$2 cgroup2=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -o remount,ro,bind "$root/proc/sys" 2>/dev/null || {
  mount --bind "$root/proc/sys" "$root/proc/sys" && mount -o remount,ro,bind "$root/proc/sys"
}
mount --rbind /sys/fs/bpf "$root/sys/fs/bpf" 2>/dev/null || {
  mount -t sysfs sysfs "$root/sys" && mount --bind /sys/fs/bpf "$root/sys/fs/bpf"
}
mount --bind "$directory/state-node-a" "$root/var/lib/sluice"
mount --bind "$directory/manifests" "$root/etc/sluice/manifests"
mount --bind "$cgroup2" "$root/run/sluice/cgroup2"
mount --rbind /run/netns "$root/run/netns"
mount -o remount,ro,bind "$root"
exec chroot "$root" "$@"
SH
in_container() {
  local name=$1
  shift
  cluster_spawn "$name" node-a unshare --mount --propagation private \
    sh "$CLUSTER_DIR/container.sh" "$root" "$CLUSTER_DIR" "$(cluster_cgroup node-a)" \
    setpriv --bounding-set "$capabilities" --inh-caps=-all \
    --no-new-privs "$@"
}
flags=(--manifests /etc/sluice/manifests --hostname-override node-a
  --bpffs "$CLUSTER_BPFFS-node-a" --cgroup /run/sluice/cgroup2)

step 'sluiced before the node is prepared'
cluster_serve a1 b1
usual_manifests a1 b1
in_container sluiced-unprepared sluiced "${flags[@]}"
wait "${CLUSTER_PIDS[sluiced-unprepared]}" && fail 'it wrote what it may not write'
unset 'CLUSTER_PIDS[sluiced-unprepared]'
expect_match 'what it said' "$(cat "$CLUSTER_DIR/sluiced-unprepared.log")" \
  'ip_local_reserved_ports.*Read-only file system'

step 'the node is prepared, twice'
for _ in 1 2; do
  # Bound on itself, as the container has it from a node that mounts none there.
  # shellcheck disable=SC2016  # of the shell in the root
  in_root 'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount --bind /sys/fs/bpf /sys/fs/bpf
    /usr/lib/sluice/prepare-node.sh
    [ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ]
    mounts=$(wc -l </proc/self/mounts)
    /usr/lib/sluice/prepare-node.sh
    [ "$(wc -l </proc/self/mounts)" = "$mounts" ]'
done
expect_equal 'reserved ports' \
  "$(cluster_in node-a sysctl -n net.ipv4.ip_local_reserved_ports)" 5000-32767

step "sluiced with $capabilities serves"
in_container sluiced-node-a sluiced "${flags[@]}"
cluster_agent_ready node-a
expect_match 'a pod to a service' "$(probe a2 $WEB4 80)" '^answer'
expect_match 'the network to a node port' "$(probe client "${CLUSTER_V6[node-a]}" 30080)" '^answer'
expect_match 'the node to a service' "$(probe node-a $WEB4 80)" '^answer'
web_on a1 && in_force
hold lost a2 "$WEB4:80" --watch
expect_match 'a connection' "$(ask lost)" '^answer a1'
web_on b1 && in_force
cluster_await_log lost '^ended: ECONNABORTED$' || fail 'its endpoint is gone, and it goes on'
if grep -E 'warning|error' "$CLUSTER_DIR/sluiced-node-a.log"; then fail 'it is not content'; fi
cluster_kill sluiced-node-a
expect_equal 'exit code' "$CLUSTER_EXIT" 0

step 'without SYS_ADMIN it serves, and says what it cannot reach'
capabilities=${capabilities/,+sys_admin/}
in_container sluiced-node-a sluiced "${flags[@]}"
cluster_agent_ready node-a
hold left a2 "$WEB4:80" --watch
expect_match 'a connection' "$(ask left)" '^answer b1'
web_on a1 && in_force
cluster_await_log sluiced-node-a 'warning .*network namespace.*CAP_SYS_ADMIN' ||
  fail 'it does not say so'
expect_match 'it goes on' "$(ask left)" '^answer b1'
cluster_kill sluiced-node-a

step 'without one of the others it does not start'
IFS=, read -ra each <<<"${capabilities#-all,}"
for one in "${each[@]}"; do
  all=$capabilities
  capabilities=${capabilities/,$one/}
  in_container sluiced-less sluiced "${flags[@]}"
  wait "${CLUSTER_PIDS[sluiced-less]}" && fail "$one is not needed"
  unset 'CLUSTER_PIDS[sluiced-less]'
  expect_match "without $one" "$(cat "$CLUSTER_DIR/sluiced-less.log")" \
    'critical .*(CAP_BPF|not permitted|Permission denied)'
  capabilities=$all
done
