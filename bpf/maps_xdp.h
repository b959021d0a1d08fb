/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of sl_xdp alone. Apart from maps.h, of which every object has all: a device map that is
 * pinned has a flag that the kernel adds, and libbpf takes it for another map.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/uplink.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct uplink_key);
	__type(value, struct uplink);
	__uint(max_entries, 256);
} sl_uplinks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32); /* ifindex, as the FIB says it */
	__type(value, struct uplink_way);
	__uint(max_entries, 256);
} sl_xdp_ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);   /* ifindex of a device that takes frames from others */
	__type(value, __u32); /* the same */
	__uint(max_entries, 256);
} sl_xdp_ports SEC(".maps");
