/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every packet hook does with a packet of an established flow. */
#pragma once

#include "core/conntrack.h"

/* Counts the packet for its service: one array read. */
static __always_inline void established_count(sl_ctx *ctx, const struct flow_entry *entry)
{
	__u32 id = entry->service_id;
	struct service_stats *stats = bpf_map_lookup_elem(&sl_svc_stats, &id);

	if (!stats)
		return;
	if (entry->flags & SL_FLOW_FORWARD) {
		stats->packets_in += ctx_segments(ctx);
		stats->bytes_in += ctx_length(ctx);
	} else {
		stats->packets_out += ctx_segments(ctx);
		stats->bytes_out += ctx_length(ctx);
	}
}

/* Must a forward packet leave the flow it belongs to? One array read. */
static __always_inline bool established_must_renew(const struct packet *p,
						   const struct flow_entry *entry)
{
	__u32 id = entry->backend_id;
	struct backend *backend = bpf_map_lookup_elem(&sl_backends, &id);

	/* Which of its backends a node has chosen is known there: as is whether it is gone. */
	if (!backend_present(backend, entry->backend_generation) &&
	    (entry->path != SL_PATH_TO_NODE || p->flow.key.protocol == IPPROTO_UDP ||
	     !conntrack_has_node(entry, p->family)))
		return true;
	if (p->flow.key.protocol == IPPROTO_UDP)
		return !backend || !(backend->flags & SL_BACKEND_USABLE) ||
		       entry->flags & SL_FLOW_STALE;
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       (conntrack_is_closed(entry) || conntrack_lost_frontend(p, entry));
}
