/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sends a packet whose both ends change out of the node again: it must not enter the stack with one
 * of the node's own addresses as its source (it would be dropped as martian).
 */
#pragma once

#include "packet/route.h"

/* The next hop for what p->flow.entry makes of the packet. */
struct next_hop {
	struct bpf_redir_neigh neighbour;
	__u32 ifindex;
	__u32 mtu; /* set with SL_REASON_TOO_BIG */
};

/* Return: enum sl_reason: NONE, NO_ROUTE, TTL_EXCEEDED or TOO_BIG with hop->mtu. */
static __noinline int redirect_find(sl_ctx *ctx, const struct packet *p, struct next_hop *hop)
{
	struct bpf_fib_lookup fib = {};
	int found;

	if (route_ttl(ctx, p) <= 1)
		return SL_REASON_TTL_EXCEEDED;
	found = route_find(ctx, p, ctx_ifindex(ctx), &fib);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		hop->mtu = fib.mtu_result - route_overhead(p);
		return SL_REASON_TOO_BIG;
	}
	/* An unresolved neighbour is fine: the redirect resolves it and queues the packet. */
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return SL_REASON_NO_ROUTE;
	hop->ifindex = fib.ifindex;
	hop->neighbour.nh_family = fib.family;
	__builtin_memcpy(&hop->neighbour.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
	return SL_REASON_NONE;
}

/* Takes the VLAN tags off: the next hop is reached through another link. Return: 0, or -1. */
static __noinline int redirect_untag_all(sl_ctx *ctx, struct packet *p)
{
	for (int i = 0; i < PACKET_MAX_VLANS + 1; i++) {
		bool beside = ctx_has_vlan(ctx); /* in the skb: offsets in the frame stay */

		if (!beside && p->l3 - p->outer <= ETH_HLEN)
			break;
		if (ctx_pop_vlan(ctx))
			return -1;
		/* Taking an outer tag off moves the next one out of the frame to its place. */
		if (p->l3 - p->outer > ETH_HLEN) {
			p->l3 -= 4;
			p->l4 -= 4;
		}
	}
	return 0;
}

static __always_inline int redirect_untag(sl_ctx *ctx, struct packet *p)
{
	if (!ctx_has_vlan(ctx) && p->l3 - p->outer <= ETH_HLEN)
		return 0;
	return redirect_untag_all(ctx, p);
}

/*
 * Decrements the TTL, which redirect_find has seen to be above 1, and sends a packet that has been
 * rewritten. Return: a TC action.
 */
static __always_inline int redirect_out(sl_ctx *ctx, struct packet *p, struct next_hop *hop)
{
	if (route_forward_ttl(ctx, p) <= 1)
		return CTX_DROP;
	return ctx_redirect(ctx, hop->ifindex, &hop->neighbour);
}

/* Rewrites or wraps, and sends. Return: a TC action, or -1: not possible. */
static __noinline int redirect_send(sl_ctx *ctx, struct packet *p, struct next_hop *hop)
{
	if (p->flow.entry.path == SL_PATH_TO_NODE) {
		/* The packet inside is forwarded here; the one around it begins here. */
		if (redirect_untag(ctx, p) || route_forward_ttl(ctx, p) <= 1 || tunnel_wrap(ctx, p))
			return -1;
		return ctx_redirect(ctx, hop->ifindex, &hop->neighbour);
	}
	if (redirect_untag(ctx, p) || packet_rewrite(ctx, p, &p->flow.entry))
		return -1;
	return redirect_out(ctx, p, hop);
}
