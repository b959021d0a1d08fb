/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts a counter before each map helper of what is included after it. The names of the helpers are
 * given to the counting functions, which is the one way to count in a source that stays as it is.
 */
#pragma once

#include "bpf/maps.h"
#include "test/bench/bench_frame.h"

/* A section of its own: the first thing in its map. */
struct counted_calls counted SEC(".data.counted");

/*
 * Inlined, so that which map it is is known to the compiler, and the map's address to the verifier.
 * Arrays are all in maps.h; what only sl_xdp has is hashes.
 */
static __always_inline void *counted_map_lookup_elem(void *map, const void *key)
{
	if (map == &sl_svc_stats || map == &sl_slots || map == &sl_backends ||
	    map == &sl_be_stats || map == &sl_loads || map == &sl_filter || map == &sl_opening ||
	    map == &sl_snat_ports || map == &sl_clients || map == &sl_nodes || map == &sl_config)
		counted.array_reads++;
	else
		counted.hash_lookups++;
	return bpf_map_lookup_elem(map, key);
}

static __always_inline long counted_map_update_elem(void *map, const void *key, const void *value,
						    __u64 flags)
{
	counted.updates++;
	return bpf_map_update_elem(map, key, value, flags);
}

static __always_inline long counted_map_delete_elem(void *map, const void *key)
{
	counted.deletes++;
	return bpf_map_delete_elem(map, key);
}

#define bpf_map_lookup_elem counted_map_lookup_elem
#define bpf_map_update_elem counted_map_update_elem
#define bpf_map_delete_elem counted_map_delete_elem
