#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a node needs before an unprivileged sluiced can start; in the DaemonSet's privileged init
# container, in the node's network namespace. Doing it again changes nothing.
set -eu

# Not asked by `mountpoint`: in the container the folder always is one, bound from the node.
[ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf

# sluiced keeps its SNAT ports and NodePorts from processes that ask for any port; what others
# reserved stays. The same ranges as --snat-ports has by default.
reserved=/proc/sys/net/ipv4/ip_local_reserved_ports
present=$(cat "$reserved")
echo "${present:+$present,}${SNAT_PORTS:-5000-29999},30000-32767" >"$reserved"
