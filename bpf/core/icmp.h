/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about packets of a service's flow, in both directions: the packet quoted inside is
 * given the addresses that its sender knows, and the error is sent to that sender. That is what
 * makes path MTU discovery work through a service (RFC 5508 section 4).
 */
#pragma once

#include "core/decide.h"
#include "packet/redirect.h"

/* Where the quoted packet's headers are, and the word by which the error's checksum changes. */
struct icmp_quote {
	__u32 l3;
	__u32 l4;
	__u64 diff;
};

/*
 * Reads the quoted packet. Return: 0 and p->flow.key: the flow of packets that would answer the
 * quoted one, which is the flow that the error travels with; -1: not about a flow.
 */
static __always_inline int icmp_read(sl_ctx *ctx, struct packet *p, struct icmp_quote *quote)
{
	struct flow inner;
	__u32 *ports;

	quote->l3 = p->l4 + sizeof(struct icmp_header);
	if (quote->l3 > 512)
		return -1;
	quote->l4 = p->family == SL_FAMILY_V4 ? l3_v4_quoted(ctx, quote->l3, &inner)
					      : l3_v6_quoted(ctx, quote->l3, &inner);
	if (!quote->l4 || quote->l4 > 1024)
		return -1;
	if (inner.protocol != IPPROTO_TCP && inner.protocol != IPPROTO_UDP &&
	    inner.protocol != IPPROTO_SCTP)
		return -1;
	ports = ctx_header(ctx, quote->l4, 8);
	if (!ports)
		return -1;
	flow_set_ports(&p->flow.key, swap_ports(*ports), inner.protocol);
	p->flow.key.source = inner.destination;
	p->flow.key.destination = inner.source;
	return 0;
}

/* Return: 1 and p->flow.entry, if the flow is known. */
static __always_inline int icmp_find(struct packet *p)
{
	struct flow_entry *entry = bpf_map_lookup_elem(&sl_flows, &p->flow.key);

	if (entry) {
		p->flow.entry = *entry;
		return 1;
	}
	opening_set_client(p);
	return opening_find(p) > 0 || opening_find_reply(p, 0);
}

/* Passes the error on to the node of the flow that it is about. Return: as icmp_error. */
static __noinline int icmp_pass(sl_ctx *ctx, struct packet *p)
{
	struct next_hop hop = {};
	int action;

	if (p->flags & PACKET_SECOND_CHANCE)
		return CTX_NEXT;
	p->reason = redirect_find(ctx, p, &hop);
	if (p->reason)
		return CTX_DROP;
	action = redirect_send(ctx, p, &hop);
	if (action >= 0)
		return action;
	p->reason = SL_REASON_REWRITE_FAILED;
	return CTX_DROP;
}

/* An error about a flow that is not known here, and whose packets are passed on, if any. */
static __always_inline bool icmp_find_node(struct packet *p)
{
	struct service *service =
		p->flags & PACKET_TUNNELLED ? service_find_tunnelled(p) : service_find(p);

	return p->hook == SL_HOOK_FROM_NET && service &&
	       decide_pass(p, service) == SL_VERDICT_FORWARD;
}

/* Gives the quoted packet back what its sender wrote: ports, and its checksum if it is there. */
static __always_inline int icmp_restore_l4(sl_ctx *ctx, const struct packet *p,
					   struct icmp_quote *quote, __u64 addresses)
{
	__u32 new_ports = swap_ports(entry_ports(&p->flow.entry));
	bool udp = p->flow.key.protocol == IPPROTO_UDP;
	__u32 *ports = ctx_header(ctx, quote->l4, sizeof(*ports));
	__u32 old_ports;
	__u16 *check, old;
	__u64 diff;

	if (!ports)
		return -1;
	old_ports = *ports;
	*ports = new_ports;
	diff = checksum_add(0, old_ports, new_ports);
	quote->diff += diff;
	/* A CRC cannot be mended without all that it is of; who reads the quote goes by the tag. */
	if (p->flow.key.protocol == IPPROTO_SCTP)
		return 0;
	check = ctx_header(ctx,
			   quote->l4 + (udp ? __builtin_offsetof(struct udphdr, check)
					    : __builtin_offsetof(struct tcphdr, check)),
			   sizeof(*check));
	/* A quote may end after 8 bytes: TCP's checksum is then not there to be restored. */
	if (!check || (udp && !*check))
		return 0;
	old = *check;
	*check = checksum_update(old, diff + addresses);
	quote->diff = checksum_add(quote->diff, old, *check);
	return 0;
}

/* Rewrites the quoted packet, and the error around it to come from @source. Return: 0, or -1. */
static __noinline int icmp_rewrite(sl_ctx *ctx, struct packet *p, struct icmp_quote *quote,
				   const struct addr *source)
{
	const struct flow_entry *entry = &p->flow.entry;
	__u32 check = p->l4 + __builtin_offsetof(struct icmp_header, checksum);
	bool v4 = p->family == SL_FAMILY_V4;
	__u64 inner, outer;

	quote->diff = 0;
	if (packet_set_addresses(ctx, p, quote->l3, &entry->new_destination, &entry->new_source,
				 &inner))
		return -1;
	/* IPv4: the quoted header's own checksum has taken the difference up. */
	if (!v4)
		quote->diff += inner;
	if (icmp_restore_l4(ctx, p, quote, inner))
		return -1;
	if (packet_set_addresses(ctx, p, p->l3, source, &entry->new_destination, &outer))
		return -1;
	if (ctx_checksum_diff(ctx, check, checksum_fold32(quote->diff), false, false))
		return -1;
	return v4 ? 0 : packet_checksum_addresses(ctx, p, check, outer, false);
}

/*
 * Handles an ICMP error that @p has been parsed as. Return: a TC action; CTX_NEXT also if it is
 * about no flow of ours; CTX_DROP with p->reason.
 */
static __always_inline int icmp_error(sl_ctx *ctx, struct packet *p)
{
	bool ingress = p->hook == SL_HOOK_FROM_POD || p->hook == SL_HOOK_FROM_NET;
	struct addr source = p->flow.key.source;
	struct icmp_quote quote = {};
	struct next_hop hop = {};
	__u32 outer;
	__u8 flags;

	packet_clear_decision(p);
	p->tcp_flags = 0;
	if (ctx_pull(ctx, PACKET_PULL) || icmp_read(ctx, p, &quote) ||
	    (!icmp_find(p) && !icmp_find_node(p)))
		return CTX_NEXT;
	if (p->flow.entry.path == SL_PATH_TO_NODE)
		return icmp_pass(ctx, p);
	flags = p->flow.entry.flags;
	if (ingress != !!(flags & (SL_FLOW_FORWARD | SL_FLOW_SNAT)))
		return CTX_NEXT;
	if (!ingress && flags & SL_FLOW_SNAT)
		return CTX_NEXT;
	outer = p->outer;
	if (outer) {
		if (tunnel_unwrap(ctx, p)) {
			p->reason = SL_REASON_REWRITE_FAILED;
			return CTX_DROP;
		}
		quote.l3 -= outer;
		quote.l4 -= outer;
	}
	/* An error that is redirected must not leave with the address of a router that it comes
	 * from: that router may be the way to its receiver, and would take it for a martian. */
	if (flags & SL_FLOW_SNAT || same_address(&source, &p->flow.key.source))
		source = p->flow.entry.new_source;
	if (flags & SL_FLOW_SNAT) {
		__u32 l3 = p->l3;

		p->reason = redirect_find(ctx, p, &hop);
		if (p->reason || redirect_untag(ctx, p))
			return CTX_DROP;
		quote.l3 -= l3 - p->l3;
		quote.l4 -= l3 - p->l3;
	}
	if (icmp_rewrite(ctx, p, &quote, &source)) {
		p->reason = SL_REASON_REWRITE_FAILED;
		return CTX_DROP;
	}
	return flags & SL_FLOW_SNAT ? redirect_out(ctx, p, &hop) : CTX_NEXT;
}
