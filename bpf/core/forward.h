/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The way of a packet through a hook: parse, find its flow or decide about it, rewrite, count.
 * Ingress rewrites destinations before routing, egress sources after it; a flow whose both ends
 * change is rewritten at ingress in both directions and redirected (design.md section 3).
 */
#pragma once

#include "core/decide.h"
#include "core/echo.h"
#include "core/established.h"
#include "core/icmp.h"
#include "core/relevance.h"
#include "packet/reject.h"
#include "packet/segment.h"

static __always_inline void forward_answer(sl_ctx *ctx, const struct packet *p, __u32 verdict)
{
	if (p->flags & PACKET_TRACED)
		ctx_answer(ctx, p->flow.entry.service_id, p->reason, verdict, p->frontend);
}

/* Makes of the packet what its sender takes for a refusal. Return: 0, or -1. */
static __always_inline int forward_reject(sl_ctx *ctx, struct packet *p)
{
	if (p->flow.key.protocol == IPPROTO_TCP)
		return reject_reset(ctx, p);
	if (p->flow.key.protocol == IPPROTO_SCTP)
		return reject_abort(ctx, p);
	return reject_icmp(ctx, p, ICMP_ERROR_PORT_UNREACHABLE, 0);
}

/* Sends the answer that the packet has become back to who sent it. Return: a TC action. */
static __always_inline int forward_send_back(sl_ctx *ctx, const struct packet *p)
{
	return p->flags & PACKET_TUNNELLED ? ctx_route(ctx) : ctx_bounce(ctx);
}

/* Drops or rejects for p->reason; what cannot be answered is dropped. Return: a TC action. */
static __noinline int forward_refuse(sl_ctx *ctx, struct packet *p, int verdict)
{
	__u32 id = p->flow.entry.service_id;
	struct service_stats *stats;

	if (p->flags & PACKET_TRACED) {
		ctx_answer(ctx, id, p->reason, verdict, p->frontend);
		return CTX_DROP;
	}
	reason_count(p, ctx_ifindex(ctx), ctx_length(ctx));
	if (verdict == SL_VERDICT_REJECT && (tunnel_unwrap(ctx, p) || forward_reject(ctx, p)))
		verdict = SL_VERDICT_DROP;
	stats = bpf_map_lookup_elem(&sl_svc_stats, &id);
	if (stats && id) {
		if (verdict == SL_VERDICT_REJECT)
			stats->rejected++;
		else
			stats->dropped++;
	}
	return verdict == SL_VERDICT_REJECT ? forward_send_back(ctx, p) : CTX_DROP;
}

/* Sends a packet of a flow whose both ends change out again. Return: a TC action. */
static __noinline int forward_redirect(sl_ctx *ctx, struct packet *p)
{
	struct next_hop hop = {};
	__u32 reason = redirect_find(ctx, p, &hop);
	int action;

	if (reason == SL_REASON_NONE) {
		action = redirect_send(ctx, p, &hop);
		if (action >= 0) {
			forward_answer(ctx, p, SL_VERDICT_FORWARD);
			return action;
		}
		reason = SL_REASON_REWRITE_FAILED;
	}
	p->reason = reason;
	action = forward_refuse(ctx, p, SL_VERDICT_DROP);
	if (p->flags & PACKET_TRACED)
		return action;
	if (reason != SL_REASON_TTL_EXCEEDED && reason != SL_REASON_TOO_BIG)
		return CTX_DROP;
	if (tunnel_unwrap(ctx, p) ||
	    reject_icmp(ctx, p,
			reason == SL_REASON_TOO_BIG ? ICMP_ERROR_TOO_BIG : ICMP_ERROR_TTL_EXCEEDED,
			hop.mtu))
		return CTX_DROP;
	return forward_send_back(ctx, p);
}

/* The kernel refused to change the packet, perhaps half-way. */
static __noinline int forward_failed(sl_ctx *ctx, struct packet *p, __u32 service_id)
{
	packet_clear_decision(p);
	p->flow.entry.service_id = service_id;
	p->reason = SL_REASON_REWRITE_FAILED;
	return forward_refuse(ctx, p, SL_VERDICT_DROP);
}

/* Does what p->flow.entry says. */
static __always_inline int forward_apply(sl_ctx *ctx, struct packet *p)
{
	if (!(p->flags & PACKET_TRACED))
		established_count(ctx, &p->flow.entry);
	if (p->outer && p->flow.entry.path != SL_PATH_TO_NODE && tunnel_unwrap(ctx, p))
		return forward_failed(ctx, p, p->flow.entry.service_id);
	if (p->flow.entry.flags & SL_FLOW_SNAT || p->flow.entry.path == SL_PATH_TO_NODE)
		return forward_redirect(ctx, p);
	if (packet_rewrite(ctx, p, &p->flow.entry))
		return forward_failed(ctx, p, p->flow.entry.service_id);
	forward_answer(ctx, p, SL_VERDICT_FORWARD);
	return CTX_NEXT;
}

/* A packet at ingress that sl_flows does not know, and that is @service's, or may matter. */
static __noinline int forward_miss(sl_ctx *ctx, struct packet *p, const struct service *service)
{
	int verdict;

	packet_clear_decision(p);
	opening_set_client(p);
	packet_read_numbers(ctx, p);
	if (!service && opening_may_answer(p) &&
	    (opening_find_reply(p, 1) || conntrack_find(p, 0))) {
		if (p->flow.entry.flags & SL_FLOW_SNAT)
			return forward_apply(ctx, p);
		return CTX_NEXT;
	}
	verdict = decide(p, service);
	if (verdict == SL_VERDICT_NONE) {
		forward_answer(ctx, p, verdict);
		return CTX_NEXT;
	}
	if (verdict != SL_VERDICT_FORWARD)
		return forward_refuse(ctx, p, verdict);
	if (p->reason)
		reason_count(p, ctx_ifindex(ctx), ctx_length(ctx));
	p->reason = 0;
	return forward_apply(ctx, p);
}

/* Ends an established flow whose backend has left, or in whose place a new one starts. */
static __noinline int forward_end(struct packet *p, const struct flow_entry *entry)
{
	packet_clear_decision(p);
	p->flow.entry = *entry;
	if (p->flags & PACKET_TRACED)
		return 0;
	if (!conntrack_is_closed(entry))
		load_add(entry->backend_id, entry->backend_generation, LOAD_FLOW, -1);
	return conntrack_delete(&p->flow.key, &p->flow.entry);
}

/*
 * A later fragment of which nothing more is known, or a packet of a transport that services do not
 * have: dropped if it is for a service's address or the range of those. The stack would send it on
 * to the default route, and a router might send it back.
 */
static __noinline int forward_other(sl_ctx *ctx, struct packet *p, int class)
{
	struct service_key key = { .address = p->flow.key.destination };

	if (!relevance_in_range(p) &&
	    (class != PACKET_FRAGMENT || !bpf_map_lookup_elem(&sl_services, &key)))
		return CTX_NEXT;
	packet_clear_decision(p);
	flow_set_ports(&p->flow.key, 0, 0);
	p->reason =
		class == PACKET_FRAGMENT ? SL_REASON_FRAGMENT_UNKNOWN : SL_REASON_NO_SUCH_SERVICE;
	return forward_refuse(ctx, p, SL_VERDICT_DROP);
}

/* An ICMP error, if it is about one of our flows. */
static __noinline int forward_icmp(sl_ctx *ctx, struct packet *p)
{
	int action = icmp_error(ctx, p);

	return action == CTX_DROP ? forward_refuse(ctx, p, SL_VERDICT_DROP) : action;
}

/* An ICMP echo: answered, refused, or no service's. */
static __noinline int forward_echo(sl_ctx *ctx, struct packet *p)
{
	int verdict;

	if (!relevance_in_range(p) && !filter_has(&p->flow.key.destination, 0, 0))
		return CTX_NEXT;
	if (p->hook == SL_HOOK_FROM_NET && !ctx_for_us(ctx))
		return CTX_NEXT;
	packet_clear_decision(p);
	verdict = echo_decide(p);
	if (verdict == SL_VERDICT_NONE)
		return CTX_NEXT;
	if (verdict == SL_VERDICT_DROP)
		return forward_refuse(ctx, p, verdict);
	if (echo_answer(ctx, p))
		return CTX_DROP;
	/* The node's own is on its way out, and the answer comes in. */
	return p->hook == SL_HOOK_TO_NET ? ctx_take_in(ctx) : ctx_bounce(ctx);
}

static __always_inline int forward_parse(sl_ctx *ctx, struct packet *p, enum sl_hook hook)
{
	p->hook = hook;
	p->flags = 0;
	p->outer = 0;
	p->client = 0;
	return packet_parse(ctx, p);
}

/* Ends what is left of a flow, of which @p is in the middle. Return: a TC action. */
static __always_inline int forward_refuse_rest(sl_ctx *ctx, struct packet *p)
{
	return forward_refuse(ctx, p, decide_reject(p, SL_REASON_BACKEND_GONE));
}

/* Does the packet belong to what came before it, or open a flow? */
static __always_inline bool forward_is_rest(const struct packet *p)
{
	return p->flow.key.protocol != IPPROTO_UDP &&
	       (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN;
}

/*
 * A pod's packet to another node that looks like what nodes pass on to each other. Behind the
 * node's address, which a masquerade may give it, it would be believed, and with it whatever source
 * the packet inside has.
 */
static __noinline int forward_deny_tunnel(sl_ctx *ctx, struct packet *p, int class)
{
	packet_clear_decision(p);
	if (class != PACKET_FLOW)
		flow_set_ports(&p->flow.key, 0, 0);
	p->reason = SL_REASON_TUNNEL_DENIED;
	return forward_refuse(ctx, p, SL_VERDICT_DROP);
}

/* Is the row one by which a packet goes that another node has passed on to this one? */
static __always_inline bool forward_is_end(const struct packet *p, const struct flow_entry *entry)
{
	return entry->flags & SL_FLOW_FORWARD &&
	       !(entry->path == SL_PATH_TO_NODE && p->flags & PACKET_SECOND_CHANCE);
}

/* The whole of an ingress hook. Return: a TC action. */
static __always_inline int forward_ingress(sl_ctx *ctx, enum sl_hook hook)
{
	struct service *service = NULL;
	struct flow_entry *entry = NULL;
	struct packet p;
	int class = forward_parse(ctx, &p, hook);

	if (tunnel_is_wrapped(&p, class)) {
		int inner = -1;

		if (hook == SL_HOOK_FROM_NET)
			inner = tunnel_parse(ctx, &p, class);
		else if (bpf_map_lookup_elem(&sl_node_ids, &p.flow.key.destination))
			return forward_deny_tunnel(ctx, &p, class);
		if (inner >= 0)
			class = inner;
	}
	if (class != PACKET_FLOW) {
		if (p.flags & PACKET_TUNNELLED && class != PACKET_ICMP_ERROR)
			return CTX_NEXT;
		if (class == PACKET_ICMP_ERROR)
			return forward_icmp(ctx, &p);
		if (class == PACKET_ICMP_ECHO)
			return forward_echo(ctx, &p);
		if (class == PACKET_FRAGMENT || class == PACKET_IP || class == PACKET_IP_IN_IP)
			return forward_other(ctx, &p, class);
		return CTX_NEXT;
	}
	if (ctx_traced(ctx))
		p.flags |= PACKET_TRACED;
	else if (!(p.flags & PACKET_TUNNELLED) && relevance_none(&p))
		return CTX_NEXT;
	/* Of what the network has flooded the stack knows what to do: nothing, mostly. */
	if (hook == SL_HOOK_FROM_NET && !(p.flags & PACKET_TRACED) && !ctx_for_us(ctx))
		return CTX_NEXT;
	if (!decide_opens(&p) || !decide_is_first(&p, &service))
		entry = bpf_map_lookup_elem(&sl_flows, &p.flow.key);
	if (p.flags & PACKET_TUNNELLED && entry && !forward_is_end(&p, entry))
		entry = NULL;
	if (entry && entry->flags & SL_FLOW_FORWARD && established_must_renew(&p, entry)) {
		forward_end(&p, entry);
		if (forward_is_rest(&p))
			return forward_refuse_rest(ctx, &p);
		entry = NULL;
	}
	if (!entry) {
		if (p.flags & PACKET_TUNNELLED)
			service = service_find_tunnelled(&p);
		else if (!decide_opens(&p))
			service = service_find(&p);
		/* Others' tunnels may end here too. */
		if (p.flags & PACKET_TUNNELLED && !service)
			return CTX_NEXT;
		if (service || p.flags & PACKET_TRACED || relevance_may_matter(&p))
			return forward_miss(ctx, &p, service);
		return CTX_NEXT;
	}
	if (!(entry->flags & (SL_FLOW_FORWARD | SL_FLOW_SNAT)))
		return CTX_NEXT; /* a reply that the stack routes: its source is for egress */
	if (p.flags & (PACKET_TRACED | PACKET_TUNNELLED) || entry->flags & SL_FLOW_SNAT ||
	    entry->path == SL_PATH_TO_NODE) {
		packet_clear_decision(&p);
		p.flow.entry = *entry;
		if (!(p.flags & PACKET_TRACED))
			conntrack_touch(&p, entry);
		return forward_apply(ctx, &p);
	}
	conntrack_touch(&p, entry);
	established_count(ctx, entry);
	if (packet_rewrite(ctx, &p, entry))
		return forward_failed(ctx, &p, entry->service_id);
	return CTX_NEXT;
}

/* A packet at egress that sl_flows does not know: the answer to a flow that is being opened? */
static __noinline int forward_egress_miss(sl_ctx *ctx, struct packet *p)
{
	packet_clear_decision(p);
	packet_read_numbers(ctx, p);
	if (!opening_find_reply(p, 1) && !conntrack_find(p, 0))
		return CTX_NEXT;
	if (p->flow.entry.flags & SL_FLOW_SNAT)
		return CTX_NEXT;
	established_count(ctx, &p->flow.entry);
	if (packet_rewrite(ctx, p, &p->flow.entry) ||
	    (p->flow.entry.path == SL_PATH_FROM_NODE && segment_clamp(ctx, p)))
		return forward_failed(ctx, p, p->flow.entry.service_id);
	return CTX_NEXT;
}

/* The whole of an egress hook: replies get the service's address back. Return: a TC action. */
static __always_inline int forward_egress(sl_ctx *ctx, enum sl_hook hook)
{
	struct flow_entry *entry;
	struct packet p;
	int class = forward_parse(ctx, &p, hook);

	if (class != PACKET_FLOW) {
		if (class == PACKET_ICMP_ERROR)
			return forward_icmp(ctx, &p);
		if (class == PACKET_ICMP_ECHO && hook == SL_HOOK_TO_NET)
			return forward_echo(ctx, &p);
		return CTX_NEXT;
	}
	if (!filter_has(&p.flow.key.source, p.flow.key.source_port,
			p.flow.key.protocol | SL_FILTER_BACKEND))
		return CTX_NEXT;
	entry = bpf_map_lookup_elem(&sl_flows, &p.flow.key);
	if (!entry)
		return opening_may_answer(&p) ? forward_egress_miss(ctx, &p) : CTX_NEXT;
	if (entry->flags & (SL_FLOW_FORWARD | SL_FLOW_SNAT))
		return CTX_NEXT;
	conntrack_touch(&p, entry);
	established_count(ctx, entry);
	if (packet_rewrite(ctx, &p, entry))
		return forward_failed(ctx, &p, entry->service_id);
	return CTX_NEXT;
}
