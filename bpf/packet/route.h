/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which way a packet goes out of the node again, once its flow has rewritten it. */
#pragma once

#include "packet/tunnel.h"

enum { ROUTE_AF_INET = 2, ROUTE_AF_INET6 = 10 };

static __always_inline __u32 route_ttl(sl_ctx *ctx, const struct packet *p)
{
	return p->family == SL_FAMILY_V4 ? l3_v4_ttl(ctx, p->l3) : l3_v6_ttl(ctx, p->l3);
}

/* Decrements it. Return: what it was; at 1 it stays. */
static __always_inline __u32 route_forward_ttl(sl_ctx *ctx, const struct packet *p)
{
	return p->family == SL_FAMILY_V4 ? l3_v4_forward_ttl(ctx, p->l3)
					 : l3_v6_forward_ttl(ctx, p->l3);
}

/* The bytes by which the packet grows on its way out. */
static __always_inline __u32 route_overhead(const struct packet *p)
{
	return p->flow.entry.path == SL_PATH_TO_NODE ? tunnel_header(p) : 0;
}

/*
 * Asks the FIB about what p->flow.entry makes of the packet, which is not changed yet, so that an
 * error can still quote it. @ifindex: the interface that it is of. Return: BPF_FIB_LKUP_RET_*, with
 * the way in @fib, which is zeroed.
 */
static __always_inline int route_find(sl_ctx *ctx, const struct packet *p, __u32 ifindex,
				      struct bpf_fib_lookup *fib)
{
	const struct flow_entry *entry = &p->flow.entry;
	bool v4 = p->family == SL_FAMILY_V4;
	__u32 segment = ctx_segment_size(ctx);

	fib->family = v4 ? ROUTE_AF_INET : ROUTE_AF_INET6;
	if (entry->path != SL_PATH_TO_NODE) {
		fib->l4_protocol = p->flow.key.protocol;
		fib->sport = entry->new_source_port;
		fib->dport = entry->new_destination_port;
	}
	fib->ifindex = ifindex;
	if (segment) /* what its segments will be: their payload and the headers before it */
		fib->tot_len = p->l4 - p->l3 + packet_l4_header_length(ctx, p) + segment;
	else
		fib->tot_len = v4 ? l3_v4_length(ctx, p->l3) : l3_v6_length(ctx, p->l3);
	fib->tot_len += route_overhead(p);
	if (v4) {
		fib->ipv4_src = entry->new_source.w[3];
		fib->ipv4_dst = entry->new_destination.w[3];
	} else {
		__builtin_memcpy(fib->ipv6_src, &entry->new_source, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, &entry->new_destination, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}
