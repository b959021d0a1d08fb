/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts a counter before each map helper. To be included before all else; the macros expand where
 * the maps are known, and tell a hash from an array by the map's type, which is its own for each.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 counted_hash_lookups;
__u64 counted_array_reads;
__u64 counted_updates;
__u64 counted_deletes;

#define COUNTED_IS(map, name) __builtin_types_compatible_p(typeof(map), typeof(&(name)))
#define COUNTED_IS_HASH(map)                                                                       \
	(COUNTED_IS(map, sl_flows) || COUNTED_IS(map, sl_services) ||                              \
	 COUNTED_IS(map, sl_affinity) || COUNTED_IS(map, sl_frags) || COUNTED_IS(map, sl_drops) || \
	 COUNTED_IS(map, sl_src_ranges))

#define bpf_map_lookup_elem(map, key)                                                              \
	(COUNTED_IS_HASH(map) ? counted_hash_lookups++ : counted_array_reads++,                    \
	 bpf_map_lookup_elem(map, key))
#define bpf_map_update_elem(map, key, value, flags)                                                \
	(counted_updates++, bpf_map_update_elem(map, key, value, flags))
#define bpf_map_delete_elem(map, key) (counted_deletes++, bpf_map_delete_elem(map, key))
