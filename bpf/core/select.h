/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Choosing a backend for a new flow: who may ask, session affinity, else the service's algorithm.
 * Knows neither packets nor sockets.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/load.h"
#include "core/tick.h"
#include "maps/maglev.h"

/*
 * Tries to find another backend than the one that did not answer, or past rows just replaced: as
 * many as make a failure unheard of as long as half of the slots are good.
 */
enum { SELECT_TRIES = 16 };

static __always_inline bool same_address(const struct addr *a, const struct addr *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

static __always_inline bool address_in_range(const struct addr_range *range,
					     const struct addr *addr)
{
	const __u64 *prefix = (const __u64 *)&range->prefix, *mask = (const __u64 *)&range->mask;
	const __u64 *words = (const __u64 *)addr;

	return (mask[0] | mask[1]) && (words[0] & mask[0]) == prefix[0] &&
	       (words[1] & mask[1]) == prefix[1];
}

/* Is @backend still the endpoint that it was at @generation? */
static __always_inline bool backend_present(const struct backend *backend, __u32 generation)
{
	return backend && backend->generation == generation && backend->flags & SL_BACKEND_PRESENT;
}

/* Is @client in one of the ranges that may reach @service? */
static __noinline int select_source_found(const struct service *service, const struct addr *client)
{
	struct source_range_key key = {
		.prefix_len = 32 + 128,
		.service_id = service->id,
		.address = *client,
	};

	return bpf_map_lookup_elem(&sl_src_ranges, &key) ? 1 : 0;
}

/* Does loadBalancerSourceRanges let @client in? */
static __always_inline bool select_source_allowed(const struct service *service,
						  const struct addr *client, __u32 family)
{
	__u16 guard = family == SL_FAMILY_V4 ? SL_SERVICE_RANGES_V4 : SL_SERVICE_RANGES_V6;

	return !(service->flags & guard) || select_source_found(service, client);
}

/*
 * The backend that @client is bound to, as long as the binding is fresh and its backend usable, and
 * on this node where the policy says so. Return: its id, or 0.
 */
static __noinline __u32 affinity_find(const struct service *service, const struct addr *client,
				      bool local_only)
{
	struct affinity_key key = { .service_id = service->id, .client = *client };
	struct affinity *bound = bpf_map_lookup_elem(&sl_affinity, &key);
	struct backend *backend;
	__u64 idle_ticks;

	if (!bound)
		return 0;
	/* One more on both sides: another CPU's tick may be ahead of this one's. */
	idle_ticks = now_ticks() + 1 - bound->last_used;
	if (idle_ticks << SL_TICK_SHIFT >
	    service->affinity_s * 1000000000ULL + (1ULL << SL_TICK_SHIFT))
		return 0;
	backend = bpf_map_lookup_elem(&sl_backends, &bound->backend_id);
	if (!backend_present(backend, bound->backend_generation) ||
	    !(backend->flags & SL_BACKEND_USABLE) ||
	    (local_only && !(backend->flags & SL_BACKEND_LOCAL)))
		return 0;
	return bound->backend_id;
}

/*
 * Binds @client to the backend, or renews that. Return: the id of the backend that it is bound to:
 * another's, if another CPU was first with a new binding.
 */
static __noinline __u32 affinity_bind(const struct service *service, const struct addr *client,
				      __u32 backend_id, __u32 generation, bool local_only)
{
	struct affinity_key key = { .service_id = service->id, .client = *client };
	struct affinity bound = {
		.backend_id = backend_id,
		.backend_generation = generation,
		.last_used = now_ticks(),
	};

	struct affinity *there = bpf_map_lookup_elem(&sl_affinity, &key);
	__u64 before, after, found;

	if (!there) {
		if (!bpf_map_update_elem(&sl_affinity, &key, &bound, BPF_NOEXIST))
			return backend_id;
		there = bpf_map_lookup_elem(&sl_affinity, &key);
		return there ? there->backend_id : backend_id;
	}
	before = *(volatile __u64 *)there;
	after = *(__u64 *)&bound;
	if (before == after) {
		there->last_used = bound.last_used;
		return backend_id;
	}
	/* Over when this backend was chosen, it may since have been renewed. */
	found = affinity_find(service, client, local_only);
	if (found)
		return found;
	/* Id and generation are one word. The time first: with an old one the new binding were
	 * over.
	 */
	there->last_used = bound.last_used;
	found = __sync_val_compare_and_swap((__u64 *)there, before, after);
	return found == before ? backend_id : (__u32)found;
}

/* Return: the id of the usable backend that slot @index names; 0: it names none. */
static __always_inline __u32 select_slot(__u32 index)
{
	struct slot *slot = bpf_map_lookup_elem(&sl_slots, &index);
	struct backend *backend;
	__u32 id;

	if (!slot)
		return 0;
	id = slot->backend_id;
	backend = bpf_map_lookup_elem(&sl_backends, &id);
	return backend && backend->flags & SL_BACKEND_USABLE ? id : 0;
}

/*
 * A usable backend of the @count slots from @offset on by @algorithm, not @avoid if there is
 * another. @point: where Maglev begins; else each try is at random. A slot may be read while its
 * service's row is being replaced: what it names is checked. Return: its id; 0: the slots name no
 * usable backend. Global, so that the verifier looks at it once.
 *
 * Weights, slow start and suspicion are to come in here: as the share of slots that a backend has,
 * as a factor of its load, and as one more reason to try again.
 */
__noinline __u32 select_by(__u32 algorithm, __u32 offset, __u32 count, __u32 point, __u32 avoid)
{
	bool by_load = algorithm == SL_ALGORITHM_LEAST_CONNECTION;
	bool by_point = algorithm == SL_ALGORITHM_MAGLEV || algorithm == SL_ALGORITHM_MAGLEV_SOURCE;
	__u32 chosen = 0;

	for (int i = 0; i < SELECT_TRIES; i++) {
		__u32 id;

		if (!by_point)
			point = bpf_get_prandom_u32();
		else if (i)
			point = maglev_next_point(point);
		id = select_slot(offset + maglev_slot(point, count));
		if (!id)
			continue;
		if (!chosen || chosen == avoid) {
			chosen = id;
			if (count == 1 || (id != avoid && !by_load))
				break;
			continue;
		}
		/* The second of two, whose loads decide. */
		if (id == chosen || id == avoid)
			continue;
		if (load_of(id) < load_of(chosen))
			chosen = id;
		break;
	}
	return chosen;
}

/* Does the scope's set hold this node's endpoints only? */
static __always_inline bool select_local_only(const struct service *service, bool external)
{
	return service->flags & (external ? SL_SERVICE_LOCAL_EXTERNAL : SL_SERVICE_LOCAL_INTERNAL);
}

/*
 * Where packets are passed on to other nodes, a backend is not drawn but found by the flow's hash:
 * the slots are in the order of the endpoints' addresses, the same on every node, and so is what
 * a node chooses that gets a flow from another by a change of the network's ways.
 */
static __always_inline __u32 select_algorithm(const struct service *service, bool external)
{
	return external && service->flags & SL_SERVICE_DSR &&
			       service->algorithm == SL_ALGORITHM_RANDOM
		       ? SL_ALGORITHM_MAGLEV
		       : service->algorithm;
}

/*
 * The backend for a new flow to @service, not @avoid if there is another. @client: asked whether it
 * may come in; @bound: as whom it is bound by affinity, mostly the same; @point: of the flow, for
 * Maglev. Return: its row and *id; NULL: none, for *reason.
 */
static __always_inline struct backend *
select_backend(const struct service *service, const struct addr *client, const struct addr *bound,
	       __u32 family, bool external, __u32 point, __u32 avoid, __u32 *id, __u32 *reason)
{
	bool local_only = select_local_only(service, external);
	struct slot_range slots = service->slots[external ? SL_SCOPE_EXTERNAL : SL_SCOPE_INTERNAL];

	if (!select_source_allowed(service, client, family)) {
		*reason = SL_REASON_SOURCE_DENIED;
		return NULL;
	}
	if (!slots.count) {
		*reason = local_only && service->flags & SL_SERVICE_HAS_ENDPOINTS
				  ? SL_REASON_NO_LOCAL_BACKEND
				  : SL_REASON_NO_BACKEND;
		return NULL;
	}
	*reason = SL_REASON_BAD_SLOT;
	/* Affinity outweighs a lost SYN: one that is sent again must not move a client for hours.
	 */
	if (service->flags & SL_SERVICE_AFFINITY)
		*id = affinity_find(service, bound, local_only);
	if (!*id)
		*id = select_by(select_algorithm(service, external), slots.offset, slots.count,
				point, avoid);
	return *id ? bpf_map_lookup_elem(&sl_backends, id) : NULL;
}
