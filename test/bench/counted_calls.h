/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts a counter before each map helper of what is included after it. The names of the helpers are
 * given to the counting functions, which is the one way to count in a source that stays as it is.
 */
#pragma once

#include "bpf/maps.h"

__u64 counted_hash_lookups;
__u64 counted_array_reads;
__u64 counted_updates;
__u64 counted_deletes;

/* Inlined, so that which map it is is known to the compiler, and the map's address to the verifier.
 */
static __always_inline void *counted_map_lookup_elem(void *map, const void *key)
{
	if (map == &sl_flows || map == &sl_services || map == &sl_affinity || map == &sl_frags ||
	    map == &sl_drops || map == &sl_src_ranges)
		counted_hash_lookups++;
	else
		counted_array_reads++;
	return bpf_map_lookup_elem(map, key);
}

static __always_inline long counted_map_update_elem(void *map, const void *key, const void *value,
						    __u64 flags)
{
	counted_updates++;
	return bpf_map_update_elem(map, key, value, flags);
}

static __always_inline long counted_map_delete_elem(void *map, const void *key)
{
	counted_deletes++;
	return bpf_map_delete_elem(map, key);
}

#define bpf_map_lookup_elem counted_map_lookup_elem
#define bpf_map_update_elem counted_map_update_elem
#define bpf_map_delete_elem counted_map_delete_elem
