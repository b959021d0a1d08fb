/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets inside packets: how a packet is wrapped to be passed on to the node of its backend, and
 * unwrapped there. IP in IP of the same family (RFC 2003, RFC 2473), or behind UDP (GUE variant 1,
 * draft-ietf-intarea-gue 4); ECN as RFC 6040 wants it. No device is needed at either end.
 */
#pragma once

#include "packet/packet.h"

/* The bytes of headers that this node wraps the packet in; as those that it came in, if any. */
static __always_inline __u32 tunnel_header(const struct packet *p)
{
	__u32 ip = p->family == SL_FAMILY_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 zero = 0;
	struct node_config *config;

	if (p->outer)
		return p->outer;
	config = bpf_map_lookup_elem(&sl_config, &zero);
	return config && config->tunnel_kind == SL_TUNNEL_GUE ? ip + sizeof(struct udphdr) : ip;
}

/* The source port of GUE, by which networks spread flows: of the dynamic ones (RFC 6335 6). */
static __always_inline __be16 tunnel_source_port(__u32 entropy)
{
	return bpf_htons(0xc000 | (entropy & 0x3fff));
}

/* Writes GUE's UDP header at @at. Return: 0, or -1. */
static __always_inline int tunnel_store_udp(sl_ctx *ctx, __u32 at, __u32 entropy, __u32 length)
{
	struct udphdr *udp = ctx_header(ctx, at, sizeof(*udp));

	if (!udp)
		return -1;
	udp->source = tunnel_source_port(entropy);
	udp->dest = bpf_htons(SL_GUE_PORT);
	udp->len = bpf_htons(length + sizeof(*udp));
	udp->check = 0; /* over IPv6 too: RFC 6935; what is inside has its own */
	return 0;
}

/* A number of the flow, the same for all of its packets. */
static __always_inline __u32 tunnel_entropy(const struct packet *p)
{
	__u32 hash = p->flow.key.source.w[3] ^ flow_ports(&p->flow.key) * 0x9e3779b9U;

	return hash ^ hash >> 16;
}

static __always_inline int tunnel_store_v4(sl_ctx *ctx, const struct packet *p, __u32 at,
					   __u32 header)
{
	__u32 length = l3_v4_length(ctx, p->l3), tos = l3_v4_tos(ctx, p->l3);
	struct iphdr *ip = ctx_header(ctx, at, sizeof(*ip));

	if (!ip)
		return -1;
	l3_v4_wrap(ip, &p->flow.entry, tos, length, header, p->flags & PACKET_TUNNELLED);
	if (header == sizeof(*ip))
		return 0;
	return tunnel_store_udp(ctx, at + sizeof(*ip), tunnel_entropy(p), length);
}

static __always_inline int tunnel_store_v6(sl_ctx *ctx, const struct packet *p, __u32 at,
					   __u32 header)
{
	__u32 length = l3_v6_length(ctx, p->l3), tos = l3_v6_tos(ctx, p->l3);
	struct ipv6hdr *ip = ctx_header(ctx, at, sizeof(*ip));

	if (!ip)
		return -1;
	l3_v6_wrap(ip, &p->flow.entry, tos, length, header, p->flags & PACKET_TUNNELLED,
		   tunnel_entropy(p));
	if (header == sizeof(*ip))
		return 0;
	return tunnel_store_udp(ctx, at + sizeof(*ip), tunnel_entropy(p), length);
}

/*
 * Wraps the packet for p->flow.entry.new_destination, from new_source; one that came wrapped gets
 * other headers in place of those. Without VLAN tags. Return: 0, or -1.
 */
static __noinline int tunnel_wrap(sl_ctx *ctx, struct packet *p)
{
	bool v4 = p->family == SL_FAMILY_V4;
	__u32 ip = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 header = tunnel_header(p);

	if (header != ip && header != ip + sizeof(struct udphdr))
		return -1;
	if (p->flags & PACKET_FIRST_FRAGMENT)
		packet_note_fragment(p);
	if (!p->outer) {
		if (p->l3 != ETH_HLEN || ctx_push(ctx, header, v4, header != ip))
			return -1;
		p->l3 += header;
		p->l4 += header;
		p->outer = header;
	}
	return v4 ? tunnel_store_v4(ctx, p, ETH_HLEN, header)
		  : tunnel_store_v6(ctx, p, ETH_HLEN, header);
}

/* Takes away what the packet came in, if anything. Return: 0, or -1: as it was. */
static __noinline int tunnel_unwrap(sl_ctx *ctx, struct packet *p)
{
	__u32 outer = p->outer, at = p->l3 - outer;
	bool v4 = p->family == SL_FAMILY_V4;
	__u32 tos;

	if (!outer)
		return 0;
	if (outer > PACKET_MAX_INNER)
		return -1;
	tos = v4 ? l3_v4_tos(ctx, at) : l3_v6_tos(ctx, at);
	if ((tos & ECN_MASK) == ECN_CONGESTED) {
		if (v4)
			l3_v4_set_congested(ctx, p->l3);
		else
			l3_v6_set_congested(ctx, p->l3);
	}
	if (ctx_pop(ctx, outer))
		return -1;
	p->l3 -= outer;
	p->l4 -= outer;
	p->outer = 0;
	return 0;
}

/* Do the headers of @p, which has been parsed, hold another node's packet? @class: what it is. */
static __always_inline bool tunnel_is_wrapped(const struct packet *p, int class)
{
	if (class == PACKET_IP_IN_IP)
		return true;
	return class == PACKET_FLOW && p->flow.key.protocol == IPPROTO_UDP &&
	       p->flow.key.destination_port == bpf_htons(SL_GUE_PORT) &&
	       !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT));
}

/*
 * Parses what is inside, if the packet is for this node and from another of the cluster: who else
 * could write the source of it as he likes. Return: enum packet_class of what is inside;
 * -1: not ours, @p is as it was. Maps: one array read, one hash lookup.
 */
static __noinline int tunnel_parse(sl_ctx *ctx, struct packet *p, int class)
{
	struct addr source = p->flow.key.source;
	__u32 zero = 0, l3 = p->l3, inner = p->l4;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	const __u64 *own, *to = (const __u64 *)&p->flow.key.destination;
	bool v4 = p->family == SL_FAMILY_V4, second;
	__u8 *version;

	if (!config || p->family >= SL_FAMILY_COUNT)
		return -1;
	own = (const __u64 *)&config->node_address[p->family];
	if (own[0] != to[0] || own[1] != to[1] || !bpf_map_lookup_elem(&sl_node_ids, &source))
		return -1;
	second = v4 ? l3_v4_second_chance(ctx, l3) : l3_v6_second_chance(ctx, l3);
	if (class == PACKET_FLOW)
		inner += sizeof(struct udphdr);
	version = ctx_header(ctx, inner, 1);
	if (!version || *version >> 4 != (v4 ? 4 : 6))
		return -1;
	p->flags = PACKET_TUNNELLED | (second ? PACKET_SECOND_CHANCE : 0);
	class = packet_parse_ip(ctx, p, inner, p->family);
	if (class == PACKET_SHORT && !ctx_pull(ctx, PACKET_PULL))
		class = packet_parse_ip(ctx, p, inner, p->family);
	p->outer = inner - l3;
	return class;
}
