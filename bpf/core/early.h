/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The front door: what of a node's traffic from outside can be finished before the kernel makes an
 * skb of it. Packets that leave the node again go out here, from a flow's first on; what is refused
 * without an answer is dropped here. All else is left as it came, for TC, which has the whole of
 * the rules: local backends, refusals that are answered, errors, fragments, and whatever has no
 * next hop yet. A frame with a VLAN tag is the VLAN's interface's, as to the stack.
 */
#pragma once

#include "core/decide.h"
#include "core/established.h"
#include "core/relevance.h"
#include "packet/route.h"

/* What the agent says of the interface that the frame is of; NULL: nothing. One hash lookup. */
static __always_inline const struct uplink *early_uplink(sl_ctx *ctx)
{
	int vlan = ctx_tag_id(ctx);
	struct uplink_key key;

	/* One store: two would stall the lookup (design.md section 4). */
	*(__u64 *)&key = (__u64)(__u32)vlan << 32 | ctx_ifindex(ctx);
	return vlan < 0 ? NULL : bpf_map_lookup_elem(&sl_uplinks, &key);
}

static __always_inline bool early_same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b &&
	       *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

/*
 * Is the frame of an uplink, and for this node by its MAC address? What the network has flooded may
 * be somebody's behind a bridge, and what another interface of the device gets is not ours at all,
 * whatever flow it seems to be of. Return: the uplink's ifindex; 0: no. One hash lookup.
 */
static __always_inline __u32 early_for_us(sl_ctx *ctx)
{
	const struct ethhdr *eth = ctx_header(ctx, 0, sizeof(*eth));
	const struct uplink *uplink = early_uplink(ctx);

	return eth && uplink && early_same_mac(eth->h_dest, uplink->mac) ? uplink->ifindex : 0;
}

/*
 * The same of a frame without a tag whose way out is known already. Most leave by the interface
 * that they came in by, and then the FIB has told the address that they must have come to: no
 * lookup.
 */
static __always_inline bool early_was_for_us(sl_ctx *ctx, const struct bpf_fib_lookup *fib)
{
	const struct ethhdr *eth = ctx_header(ctx, 0, sizeof(*eth));

	if (!eth)
		return false;
	if (fib->ifindex == ctx_ifindex(ctx))
		return early_same_mac(eth->h_dest, fib->smac);
	return early_for_us(ctx) == ctx_ifindex(ctx);
}

/*
 * How the frame can leave by the interface that the FIB names. Return: false: not from here. One
 * hash lookup, none where it leaves as it came, without a tag.
 */
static __always_inline bool early_way(sl_ctx *ctx, __u32 ifindex, struct uplink_way *way)
{
	const struct uplink_way *found;

	way->device = ifindex;
	way->vlan = 0;
	if (ifindex == ctx_ifindex(ctx))
		return true;
	found = bpf_map_lookup_elem(&sl_xdp_ways, &ifindex);
	if (!found)
		return false;
	*way = *found;
	if (way->device == ctx_ifindex(ctx))
		return true;
	return way->flags & SL_WAY_TAKES_FRAMES &&
	       (way->flags & SL_WAY_TAKES_BUFFERS || !ctx_in_buffers(ctx));
}

/* Counts p->reason, also against the service. Return: CTX_DROP. */
static __noinline int early_count_drop(sl_ctx *ctx, const struct packet *p)
{
	__u32 id = p->flow.entry.service_id;
	struct service_stats *stats;

	reason_count(p, ctx_ifindex(ctx), ctx_length(ctx));
	stats = bpf_map_lookup_elem(&sl_svc_stats, &id);
	if (stats && id)
		stats->dropped++;
	return CTX_DROP;
}

/* What has been changed in part cannot go on. */
static __noinline int early_lost(sl_ctx *ctx, struct packet *p)
{
	p->reason = SL_REASON_REWRITE_FAILED;
	return early_count_drop(ctx, p);
}

/*
 * Sends a packet on as p->flow.entry says; @entry: its row in sl_flows, NULL: it has none yet;
 * @ifindex: the uplink that it is of, 0: it has no tag, and is still to be looked at for whether it
 * is for us. The packet is changed, and what it leaves behind written, only if it then goes out;
 * else CTX_NEXT.
 */
static __noinline int early_forward(sl_ctx *ctx, struct packet *p, struct flow_entry *entry,
				    __u32 ifindex)
{
	struct bpf_fib_lookup fib = {};
	bool tagged = p->l3 != ETH_HLEN;
	struct uplink_way way;

	if (route_ttl(ctx, p) <= 1 ||
	    route_find(ctx, p, ifindex ? ifindex : ctx_ifindex(ctx), &fib) !=
		    BPF_FIB_LKUP_RET_SUCCESS ||
	    (!ifindex && !early_was_for_us(ctx, &fib)) || !early_way(ctx, fib.ifindex, &way))
		return CTX_NEXT;
	if (tagged) {
		if (ctx_untag(ctx))
			return early_lost(ctx, p);
		p->l3 -= CTX_TAG_SIZE;
		p->l4 -= CTX_TAG_SIZE;
	}
	if (entry)
		conntrack_touch(p, entry);
	established_count(ctx, &p->flow.entry);
	if (p->flow.entry.path == SL_PATH_TO_NODE) {
		if (route_forward_ttl(ctx, p) <= 1 || tunnel_wrap(ctx, p))
			return early_lost(ctx, p);
	} else if (packet_rewrite(ctx, p, &p->flow.entry) || route_forward_ttl(ctx, p) <= 1) {
		return early_lost(ctx, p);
	}
	if (way.vlan && ctx_tag(ctx, way.vlan))
		return early_lost(ctx, p);
	return ctx_send(ctx, way.device, fib.smac, fib.dmac);
}

/* Does a flow leave the node again, once its packets have been rewritten or wrapped? */
static __always_inline bool early_leaves(const struct flow_entry *entry)
{
	return entry->flags & SL_FLOW_SNAT || entry->path == SL_PATH_TO_NODE;
}

/* The answer to a flow that is being opened comes to the node, not to a service. */
static __noinline int early_no_service(sl_ctx *ctx, struct packet *p, __u32 ifindex)
{
	packet_clear_decision(p);
	packet_read_numbers(ctx, p);
	if (relevance_may_matter(p) && opening_may_answer(p) &&
	    (opening_find_reply(p, 1) || conntrack_find(p, 0)))
		return early_leaves(&p->flow.entry) ? early_forward(ctx, p, NULL, ifindex)
						    : CTX_NEXT;
	return decide_unknown(p) == SL_VERDICT_DROP ? early_count_drop(ctx, p) : CTX_NEXT;
}

/*
 * The packet that has opened p->flow, or sent its first again, goes on to TC as it came, which is
 * to do what has been decided: without this it would take the packet for one sent again.
 */
static __noinline int early_hand(const struct packet *p)
{
	opening_act(p->client, &p->flow.key, OPENING_HAND, 0);
	return 0;
}

/*
 * A packet to a service that sl_flows does not know: what opens a flow is decided about here, as at
 * TC, and sent on if it leaves the node again. What does not is left for TC with what was decided;
 * what is to be answered is left for TC to find that out again.
 */
static __noinline int early_miss(sl_ctx *ctx, struct packet *p, const struct service *service,
				 __u32 ifindex)
{
	int action = CTX_NEXT, verdict;

	packet_clear_decision(p);
	opening_set_client(p);
	packet_read_numbers(ctx, p);
	/* TC does without being told where every backend is this node's. */
	if (service->flags & SL_SERVICE_LOCAL_EXTERNAL &&
	    !(service->flags & SL_SERVICE_MASQUERADE) &&
	    select_source_allowed(service, &p->flow.key.source, p->family))
		return CTX_NEXT;
	verdict = decide(p, service);
	if (verdict == SL_VERDICT_DROP)
		return early_count_drop(ctx, p);
	if (verdict != SL_VERDICT_FORWARD)
		return CTX_NEXT;
	if (p->reason)
		reason_count(p, ctx_ifindex(ctx), ctx_length(ctx));
	if (early_leaves(&p->flow.entry))
		action = early_forward(ctx, p, NULL, ifindex);
	if (action == CTX_NEXT)
		early_hand(p);
	return action;
}

/*
 * What another node has passed on is unwrapped here if its flow is established and its backend on
 * this node; TC, which does the rest, then sees the client's own packet. Return: an XDP action.
 */
static __noinline int early_tunnelled(sl_ctx *ctx, struct packet *p, int class)
{
	struct flow_entry *entry;

	if (p->l3 != ETH_HLEN || !early_for_us(ctx) || tunnel_parse(ctx, p, class) != PACKET_FLOW ||
	    p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return CTX_NEXT;
	/* A NodePort of another node's address: TC would not know the packet without what is
	 * around it, and the stack would send it there. */
	if (relevance_none(p))
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
	struct service *service = NULL;
	struct flow_entry *entry = NULL;
	struct packet p;
	__u32 ifindex;
	int class;

	p.hook = SL_HOOK_FROM_NET;
	p.flags = 0;
	p.outer = 0;
	p.client = 0;
	class = packet_parse(ctx, &p);
	/* Of several tags the stack knows what to make. */
	if (p.l3 > ETH_HLEN + CTX_TAG_SIZE ||
	    p.flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return CTX_NEXT;
	if (class == PACKET_IP_IN_IP)
		return early_tunnelled(ctx, &p, class);
	if (class != PACKET_FLOW)
		return CTX_NEXT;
	if (relevance_none(&p))
		return tunnel_is_wrapped(&p, class) ? early_tunnelled(ctx, &p, class) : CTX_NEXT;
	if (!decide_opens(&p) || !decide_is_first(&p, &service))
		entry = bpf_map_lookup_elem(&sl_flows, &p.flow.key);
	if (!entry && tunnel_is_wrapped(&p, class))
		return early_tunnelled(ctx, &p, class);
	ifindex = entry && p.l3 == ETH_HLEN ? 0 : early_for_us(ctx);
	if (!ifindex && (!entry || p.l3 != ETH_HLEN))
		return CTX_NEXT;
	if (!entry) {
		if (!decide_opens(&p))
			service = service_find(&p);
		return service ? early_miss(ctx, &p, service, ifindex)
			       : early_no_service(ctx, &p, ifindex);
	}
	if (!early_leaves(entry) ||
	    (entry->flags & SL_FLOW_FORWARD && established_must_renew(&p, entry)))
		return CTX_NEXT;
	p.flow.entry = *entry;
	return early_forward(ctx, &p, entry, ifindex);
}
