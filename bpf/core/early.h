/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The front door: what of a node's traffic from outside can be finished before the kernel makes an
 * skb of it. Packets of established flows that leave the node again go out here; what is refused
 * without an answer is dropped here. All else is left as it came, for TC, which has the whole of
 * the rules: new flows, answers, errors, fragments, and whatever has no next hop yet.
 */
#pragma once

#include "core/decide.h"
#include "core/established.h"
#include "core/relevance.h"
#include "packet/route.h"

/* Sends a packet of an established flow on. It is changed only if it then goes out. */
static __always_inline int early_forward(sl_ctx *ctx, struct packet *p, struct flow_entry *entry)
{
	struct bpf_fib_lookup fib = {};

	p->flow.entry = *entry;
	if (route_ttl(ctx, p) <= 1 || route_find(ctx, p, &fib) != BPF_FIB_LKUP_RET_SUCCESS ||
	    !ctx_may_send(ctx, fib.ifindex))
		return CTX_NEXT;
	conntrack_touch(p, entry);
	established_count(ctx, &p->flow.entry);
	if (p->flow.entry.path == SL_PATH_TO_NODE) {
		if (route_forward_ttl(ctx, p) <= 1 || tunnel_wrap(ctx, p))
			return CTX_DROP;
	} else if (packet_rewrite(ctx, p, &p->flow.entry) || route_forward_ttl(ctx, p) <= 1) {
		return CTX_DROP;
	}
	return ctx_send(ctx, fib.ifindex, fib.smac, fib.dmac);
}

static __noinline int early_drop(sl_ctx *ctx, struct packet *p)
{
	__u32 id = p->flow.entry.service_id;
	struct service_stats *stats;

	/* A frame that the network has flooded may be somebody's behind a bridge. */
	if (!ctx_for_us(ctx))
		return CTX_NEXT;
	reason_count(p, ctx_ifindex(ctx), ctx_length(ctx));
	stats = bpf_map_lookup_elem(&sl_svc_stats, &id);
	if (stats && id)
		stats->dropped++;
	return CTX_DROP;
}

/* Does the packet open a flow, as far as can be told without asking who is being opened? */
static __always_inline bool early_opens(const struct packet *p)
{
	return p->flow.key.protocol != IPPROTO_UDP &&
	       (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A packet that sl_flows does not know: dropped for the reasons that TC would drop it for. */
static __noinline int early_miss(sl_ctx *ctx, struct packet *p)
{
	struct service *service = service_find(p);

	packet_clear_decision(p);
	if (!service) {
		/* The answer to a flow that is being opened comes to the node, not to a service. */
		return decide_unknown(p) == SL_VERDICT_DROP ? early_drop(ctx, p) : CTX_NEXT;
	}
	p->flow.entry.service_id = service->id;
	p->reason = SL_REASON_EXTERNAL_DENIED;
	if (service->flags & SL_SERVICE_DENY_EXTERNAL)
		return early_drop(ctx, p);
	p->reason = SL_REASON_SOURCE_DENIED;
	if (early_opens(p) && !select_source_allowed(service, &p->flow.key.source, p->family))
		return early_drop(ctx, p);
	return CTX_NEXT;
}

/*
 * What another node has passed on is unwrapped here if its flow is established and its backend on
 * this node; TC, which does the rest, then sees the client's own packet. Return: an XDP action.
 */
static __noinline int early_tunnelled(sl_ctx *ctx, struct packet *p, int class)
{
	struct flow_entry *entry;

	if (tunnel_parse(ctx, p, class) != PACKET_FLOW ||
	    p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return CTX_NEXT;
	entry = bpf_map_lookup_elem(&sl_flows, &p->flow.key);
	if (!entry || (entry->flags & (SL_FLOW_FORWARD | SL_FLOW_SNAT)) != SL_FLOW_FORWARD ||
	    entry->path == SL_PATH_TO_NODE || established_must_renew(p, entry))
		return CTX_NEXT;
	/* Half-way there is no going back. */
	return tunnel_unwrap(ctx, p) ? CTX_DROP : CTX_NEXT;
}

/* The whole of the hook. Return: an XDP action. */
static __always_inline int early_ingress(sl_ctx *ctx)
{
	struct flow_entry *entry;
	struct packet p;
	int class;

	p.hook = SL_HOOK_FROM_NET;
	p.flags = 0;
	p.outer = 0;
	/* A tagged frame is another interface's, whose own hook it will meet. */
	class = packet_parse(ctx, &p);
	if (p.l3 != ETH_HLEN || p.flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return CTX_NEXT;
	if (class == PACKET_IP_IN_IP)
		return early_tunnelled(ctx, &p, class);
	if (class != PACKET_FLOW)
		return CTX_NEXT;
	if (relevance_none(&p))
		return tunnel_is_wrapped(&p, class) ? early_tunnelled(ctx, &p, class) : CTX_NEXT;
	entry = bpf_map_lookup_elem(&sl_flows, &p.flow.key);
	if (!entry)
		return tunnel_is_wrapped(&p, class) ? early_tunnelled(ctx, &p, class)
						    : early_miss(ctx, &p);
	if (!(entry->flags & SL_FLOW_SNAT || entry->path == SL_PATH_TO_NODE) ||
	    (entry->flags & SL_FLOW_FORWARD && established_must_renew(&p, entry)))
		return CTX_NEXT;
	return early_forward(ctx, &p, entry);
}
