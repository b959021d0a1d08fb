/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Choosing a backend for a new flow: session affinity, else a random slot. */
#pragma once

#include "packet/packet.h"

/*
 * Tries to find another backend than the one that did not answer, or past rows just replaced: as
 * many as make a failure unheard of as long as half of the slots are good.
 */
enum { SELECT_TRIES = 16 };

/* Is @backend still the endpoint that it was at @generation? */
static __always_inline bool backend_present(const struct backend *backend, __u32 generation)
{
	return backend && backend->generation == generation && backend->flags & SL_BACKEND_PRESENT;
}

/*
 * The backend that the client is bound to, as long as the binding is fresh and its backend usable,
 * and on this node where the policy says so. Return: its id, or 0.
 */
static __noinline __u32 affinity_find(const struct packet *p, const struct service *service,
				      bool local_only)
{
	struct affinity_key key = { .service_id = service->id, .client = p->flow.key.source };
	struct affinity *bound = bpf_map_lookup_elem(&sl_affinity, &key);
	struct backend *backend;
	__u64 idle_ticks;

	if (!bound)
		return 0;
	idle_ticks = now_ticks() - bound->last_used;
	if (idle_ticks << SL_TICK_SHIFT > service->affinity_s * 1000000000ULL)
		return 0;
	backend = bpf_map_lookup_elem(&sl_backends, &bound->backend_id);
	if (!backend_present(backend, bound->backend_generation) ||
	    !(backend->flags & SL_BACKEND_USABLE) ||
	    (local_only && !(backend->flags & SL_BACKEND_LOCAL)))
		return 0;
	return bound->backend_id;
}

static __noinline int affinity_bind(const struct packet *p, const struct service *service,
				    __u32 backend_id, __u32 generation)
{
	struct affinity_key key = { .service_id = service->id, .client = p->flow.key.source };
	struct affinity bound = {
		.backend_id = backend_id,
		.backend_generation = generation,
		.last_used = now_ticks(),
	};

	return bpf_map_update_elem(&sl_affinity, &key, &bound, BPF_ANY);
}

/*
 * A usable backend of @slots at random, not @avoid if there is another. A slot may be read while
 * its service's row is being replaced: what it names is checked.
 * Return: its row and *id; NULL: the slots name no usable backend.
 */
static __always_inline struct backend *select_random(const struct slot_range *slots, __u32 avoid,
						     __u32 *id)
{
	struct backend *chosen = NULL;

	for (int i = 0; i < SELECT_TRIES; i++) {
		__u32 index = slots->offset + ((__u64)bpf_get_prandom_u32() * slots->count >> 32);
		struct slot *slot = bpf_map_lookup_elem(&sl_slots, &index);
		struct backend *backend;
		__u32 backend_id;

		if (!slot)
			return NULL;
		backend_id = slot->backend_id;
		backend = bpf_map_lookup_elem(&sl_backends, &backend_id);
		if (!backend || !(backend->flags & SL_BACKEND_USABLE))
			continue;
		chosen = backend;
		*id = backend_id;
		if (backend_id != avoid || slots->count == 1)
			break;
	}
	return chosen;
}
