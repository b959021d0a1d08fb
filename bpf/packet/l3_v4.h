/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 (RFC 791): one of the two files that know a family. Included by packet.h. */
#pragma once

#include <linux/ip.h>

enum { IPV4_MORE_FRAGMENTS = 0x2000, IPV4_OFFSET = 0x1fff, IPV4_DONT_FRAGMENT = 0x4000 };

/* RFC 792. */
enum {
	ICMP_ECHO_REPLY = 0,
	ICMP_DEST_UNREACH = 3,
	ICMP_ECHO_REQUEST = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,
};

enum { ICMP_PORT_UNREACH = 3, ICMP_FRAG_NEEDED = 4 };

static __always_inline void l3_v4_map(struct addr *to, __be32 address)
{
	((__u64 *)to)[0] = 0;
	((__u64 *)to)[1] = (__u64)address << 32 | bpf_htonl(0xffff);
}

static __always_inline bool l3_v4_icmp_is_error(__u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

/* Return: the protocol, if the header is one without options, of no fragment; else IPPROTO_RAW. */
static __always_inline __u32 l3_v4_parse_plain(sl_ctx *ctx, struct packet *p)
{
	struct iphdr *ip = ctx_header(ctx, ETH_HLEN, sizeof(*ip));

	if (!ip || *(__u8 *)ip != 0x45 || ip->frag_off & ~bpf_htons(IPV4_DONT_FRAGMENT))
		return IPPROTO_RAW;
	p->family = SL_FAMILY_V4;
	p->l4 = ETH_HLEN + sizeof(*ip);
	l3_v4_map(&p->flow.key.source, ip->saddr);
	l3_v4_map(&p->flow.key.destination, ip->daddr);
	return ip->protocol;
}

static __always_inline enum packet_class l3_v4_parse(sl_ctx *ctx, struct packet *p, __u32 *protocol)
{
	struct iphdr *ip = ctx_header(ctx, p->l3, sizeof(*ip));
	__u16 fragment;

	if (!ip)
		return PACKET_SHORT;
	if (ip->version != 4 || ip->ihl < 5)
		return PACKET_OTHER;
	p->family = SL_FAMILY_V4;
	p->l4 = p->l3 + ip->ihl * 4;
	l3_v4_map(&p->flow.key.source, ip->saddr);
	l3_v4_map(&p->flow.key.destination, ip->daddr);
	*protocol = ip->protocol;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET)) {
		p->flags |= fragment & IPV4_OFFSET ? PACKET_LATER_FRAGMENT : PACKET_FIRST_FRAGMENT;
		p->fragment_id = ip->id;
	}
	return PACKET_FLOW;
}

/* Sets both addresses; @diff becomes what a transport's pseudo header changes by. */
static __always_inline int l3_v4_rewrite(sl_ctx *ctx, __u32 l3, const struct addr *source,
					 const struct addr *destination, __u64 *diff)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	if (!ip)
		return -1;
	*diff = checksum_add(0, ip->saddr, source->w[3]);
	*diff = checksum_add(*diff, ip->daddr, destination->w[3]);
	ip->saddr = source->w[3];
	ip->daddr = destination->w[3];
	ip->check = checksum_update(ip->check, *diff);
	return 0;
}

/*
 * Reads the packet inside an ICMP error at @l3 into @inner, as it is there.
 * Return: the offset of its transport header, 0: none to be had.
 */
static __always_inline __u32 l3_v4_quoted(sl_ctx *ctx, __u32 l3, struct flow *inner)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(IPV4_OFFSET))
		return 0;
	l3_v4_map(&inner->source, ip->saddr);
	l3_v4_map(&inner->destination, ip->daddr);
	inner->protocol = ip->protocol;
	return l3 + ip->ihl * 4;
}

/* Return: the TTL before it was decremented, 0 if it could not be. */
static __always_inline __u32 l3_v4_forward_ttl(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));
	__u32 ttl;

	if (!ip)
		return 0;
	ttl = ip->ttl;
	if (ttl > 1) {
		/* RFC 1141: the TTL is the high byte of its word. */
		ip->check = checksum_update(ip->check, checksum_add(0, bpf_htons(0x0100), 0));
		ip->ttl = ttl - 1;
	}
	return ttl;
}

static __always_inline __u32 l3_v4_ttl(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip ? ip->ttl : 0;
}

static __always_inline __u32 l3_v4_length(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip ? bpf_ntohs(ip->tot_len) : 0;
}

/* Makes the header that of an answer: addresses exchanged, @length in all, a TTL of its own. */
static __always_inline int l3_v4_turn(sl_ctx *ctx, __u32 l3, __u32 length, __u32 ttl)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));
	__be16 tot_len = bpf_htons(length);
	__be32 source;
	__u64 diff;

	if (!ip)
		return -1;
	diff = checksum_add(0, ip->tot_len, tot_len);
	diff = checksum_add(diff, bpf_htons(ip->ttl << 8), bpf_htons(ttl << 8));
	diff = checksum_add(diff, ip->frag_off, 0);
	ip->check = checksum_update(ip->check, diff);
	ip->tot_len = tot_len;
	ip->frag_off = 0;
	ip->ttl = ttl;
	source = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	return 0;
}

/*
 * In the identification, which nobody looks at where DF is set (RFC 6864) and which arrives as it
 * was sent: the packet is passed on for the second time. The highest bit: segments that a device
 * makes of one packet count up from it.
 */
enum { IPV4_SECOND_CHANCE = 0x8000 };

/* The header around an IP packet of @length bytes, @header bytes long in all. */
static __always_inline void l3_v4_wrap(struct iphdr *ip, const struct flow_entry *entry, __u8 tos,
				       __u32 length, __u32 header, bool second)
{
	__u32 protocol = header == sizeof(*ip) ? IPPROTO_IPIP : IPPROTO_UDP;
	__be16 first = bpf_htons(4 << 12 | sizeof(*ip) / 4 << 8 | tos);
	__be16 total = bpf_htons(length + header);
	__be16 id = bpf_htons(second ? IPV4_SECOND_CHANCE : 0);
	__be16 fragment = bpf_htons(IPV4_DONT_FRAGMENT);
	__be16 hops = bpf_htons(PACKET_TTL << 8 | protocol);
	__be32 source = entry->new_source.w[3], destination = entry->new_destination.w[3];
	__u16 *words = (__u16 *)ip;

	words[0] = first;
	ip->tot_len = total;
	ip->id = id;
	ip->frag_off = fragment;
	words[4] = hops;
	ip->check = ~checksum_fold16((__u64)source + destination + first + total + id + fragment +
				     hops);
	ip->saddr = source;
	ip->daddr = destination;
}

static __always_inline bool l3_v4_second_chance(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip && ip->id & bpf_htons(IPV4_SECOND_CHANCE);
}

static __always_inline __u32 l3_v4_tos(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip ? ip->tos : 0;
}

/* Notes that the network was congested (RFC 3168): of a packet that can tell its receiver so. */
static __always_inline void l3_v4_set_congested(sl_ctx *ctx, __u32 l3)
{
	struct iphdr *ip = ctx_header(ctx, l3, sizeof(*ip));
	__u16 old, new;

	if (!ip || !(ip->tos & ECN_MASK))
		return;
	old = *(__u16 *)ip;
	ip->tos |= ECN_CONGESTED;
	new = *(__u16 *)ip;
	ip->check = checksum_update(ip->check, checksum_add(0, old, new));
}

enum { IPV4_MAX_HEADER = 60 };

struct l3_v4_error {
	struct iphdr ip;
	struct icmp_header icmp;
	__u8 quote[IPV4_MAX_HEADER + ICMP_QUOTE_L4];
};

/*
 * Makes the packet an ICMP error about it, from its destination to its source, but for the MAC
 * addresses. @mtu: for ICMP_ERROR_TOO_BIG. Return: 0, or -1.
 */
static __noinline __attribute__((unused)) int l3_v4_icmp_error(sl_ctx *ctx, const struct packet *p,
							       enum icmp_error_kind kind, __u32 mtu)
{
	__u32 quote = p->l4 - p->l3 + ICMP_QUOTE_L4;
	struct l3_v4_error error = {};

	if (quote < sizeof(error.ip) || quote > sizeof(error.quote) ||
	    ctx_load(ctx, p->l3, error.quote, quote))
		return -1;
	error.ip.version = 4;
	error.ip.ihl = sizeof(error.ip) / 4;
	error.ip.tot_len = bpf_htons(sizeof(error.ip) + sizeof(error.icmp) + quote);
	error.ip.ttl = PACKET_TTL;
	error.ip.protocol = IPPROTO_ICMP;
	error.ip.saddr = p->flow.key.destination.w[3];
	error.ip.daddr = p->flow.key.source.w[3];
	error.ip.check = ~checksum_fold16(
		(__u32)bpf_csum_diff(NULL, 0, (__be32 *)&error.ip, sizeof(error.ip), 0));
	if (kind == ICMP_ERROR_TTL_EXCEEDED) {
		error.icmp.type = ICMP_TIME_EXCEEDED;
	} else {
		error.icmp.type = ICMP_DEST_UNREACH;
		error.icmp.code = kind == ICMP_ERROR_TOO_BIG ? ICMP_FRAG_NEEDED : ICMP_PORT_UNREACH;
		error.icmp.rest = bpf_htonl(mtu & 0xffff);
	}
	/* Of the whole buffer: what follows the quote is zero. */
	error.icmp.checksum = ~checksum_fold16((__u32)bpf_csum_diff(
		NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp) + sizeof(error.quote), 0));
	/* All of the buffer, then cut: the verifier of Linux 6.1 does not follow a length here. */
	if (ctx_resize(ctx, p->l3 + sizeof(error)) || ctx_store(ctx, p->l3, &error, sizeof(error)))
		return -1;
	return ctx_resize(ctx, p->l3 + sizeof(error.ip) + sizeof(error.icmp) + quote);
}
