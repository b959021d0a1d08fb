/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Live connections of backends that are chosen by them. Counted from the choice on, not from the
 * handshake: a backend that never answers would else look idle and be given everything.
 */
#pragma once

#include <stdbool.h>

#include "maps.h"

enum load_kind { LOAD_FLOW, LOAD_SOCKET };

/* Are connections of the backend that had this id at @generation counted? One array read. */
static __always_inline bool load_is_counted(__u32 backend_id, __u32 generation)
{
	struct backend *backend = bpf_map_lookup_elem(&sl_backends, &backend_id);

	return backend && backend->generation == generation && backend->flags & SL_BACKEND_COUNTED;
}

/*
 * @by more connections of the backend that had this id at @generation. Return: 1, if they are
 * counted. Maps: one array read if not.
 */
static __noinline int load_add(__u32 backend_id, __u32 generation, enum load_kind kind, int by)
{
	struct backend *backend = bpf_map_lookup_elem(&sl_backends, &backend_id);
	struct backend_load *load;

	if (!backend || backend->generation != generation)
		return 0;
	/* What was counted is taken off also after the counting has ended: it may begin again. */
	if (!(backend->flags & SL_BACKEND_COUNTED) && (kind == LOAD_FLOW || by > 0))
		return 0;
	load = bpf_map_lookup_elem(&sl_loads, &backend_id);
	if (!load)
		return 0;
	__sync_fetch_and_add(kind == LOAD_FLOW ? &load->flows : &load->sockets, by);
	return 1;
}

/* Return: how many connections the backend has; one that nobody counts has none. */
static __always_inline __s32 load_of(__u32 backend_id)
{
	struct backend_load *load = bpf_map_lookup_elem(&sl_loads, &backend_id);
	__s32 sum;

	if (!load)
		return 0;
	sum = load->flows + load->sockets;
	return sum > 0 ? sum : 0;
}
