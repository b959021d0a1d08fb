/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 (RFC 8200): one of the two files that know a family. Included by packet.h. */
#pragma once

#include <linux/in6.h>
#include <linux/ipv6.h>

/* Hosts rarely send more than one or two; what has more is left alone. */
enum { IPV6_MAX_EXTENSIONS = 4 };

enum { IPV6_HOP_BY_HOP = 0, IPV6_ROUTING = 43, IPV6_FRAGMENT = 44, IPV6_DESTINATION = 60 };

enum { IPV6_FRAGMENT_OFFSET = 0xfff8, IPV6_FRAGMENT_MORE = 1 };

struct ipv6_fragment_header {
	__u8 next_header;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* By 8-byte words, though the packet's address may be aligned to 2: a lookup stalls on narrower
 * stores, and the kernels that sluice runs on allow the access. */
static __always_inline void l3_v6_copy(void *to, const void *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

/* Such an address has no place on a wire (RFC 4291 2.5.5.2), and would be taken for IPv4's. */
static __always_inline bool l3_v6_is_mapped(const struct addr *address)
{
	return !((const __u64 *)address)[0] && address->w[2] == bpf_htonl(0xffff);
}

static __always_inline bool l3_v6_icmp_is_error(__u8 type)
{
	return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
}

/*
 * Steps over extension headers from p->l4 with next header *protocol. Not inlined: a packet with
 * such headers is rare, and the loop is large.
 */
static __noinline int l3_v6_skip_extensions(sl_ctx *ctx, struct packet *p, __u32 *protocol)
{
	__u32 offset = p->l4;
	__u32 next = *protocol;

	for (int i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		struct ipv6_fragment_header *header;

		if (next != IPV6_HOP_BY_HOP && next != IPV6_ROUTING && next != IPV6_FRAGMENT &&
		    next != IPV6_DESTINATION)
			break;
		if (offset > 1024)
			return PACKET_OTHER;
		header = ctx_header(ctx, offset, sizeof(*header));
		if (!header)
			return PACKET_SHORT;
		if (next == IPV6_FRAGMENT) {
			__u16 where = bpf_ntohs(header->offset);

			next = header->next_header;
			offset += sizeof(*header);
			if (where & IPV6_FRAGMENT_OFFSET) {
				p->flags |= PACKET_LATER_FRAGMENT;
				p->fragment_id = header->id;
				break;
			}
			if (where & IPV6_FRAGMENT_MORE) {
				p->flags |= PACKET_FIRST_FRAGMENT;
				p->fragment_id = header->id;
			}
			continue;
		}
		next = header->next_header;
		offset += (header->reserved + 1) * 8; /* the length field, in other headers */
	}
	if (offset > 2048)
		return PACKET_OTHER;
	p->l4 = offset;
	*protocol = next;
	return PACKET_FLOW;
}

static __always_inline bool l3_v6_is_extension(__u32 next)
{
	return next == IPV6_HOP_BY_HOP || next == IPV6_ROUTING || next == IPV6_FRAGMENT ||
	       next == IPV6_DESTINATION;
}

/* Return: the protocol; an extension header's number is none of a transport. */
static __always_inline __u32 l3_v6_parse_plain(sl_ctx *ctx, struct packet *p)
{
	struct ipv6hdr *ip = ctx_header(ctx, ETH_HLEN, sizeof(*ip));

	if (!ip || ip->version != 6)
		return IPPROTO_RAW;
	p->family = SL_FAMILY_V6;
	p->l4 = ETH_HLEN + sizeof(*ip);
	l3_v6_copy(&p->flow.key.source, &ip->saddr);
	l3_v6_copy(&p->flow.key.destination, &ip->daddr);
	if (l3_v6_is_mapped(&p->flow.key.source) || l3_v6_is_mapped(&p->flow.key.destination))
		return IPPROTO_RAW;
	return ip->nexthdr;
}

static __always_inline enum packet_class l3_v6_parse(sl_ctx *ctx, struct packet *p, __u32 *protocol)
{
	struct ipv6hdr *ip = ctx_header(ctx, p->l3, sizeof(*ip));

	if (!ip)
		return PACKET_SHORT;
	if (ip->version != 6)
		return PACKET_OTHER;
	p->family = SL_FAMILY_V6;
	p->l4 = p->l3 + sizeof(*ip);
	l3_v6_copy(&p->flow.key.source, &ip->saddr);
	l3_v6_copy(&p->flow.key.destination, &ip->daddr);
	if (l3_v6_is_mapped(&p->flow.key.source) || l3_v6_is_mapped(&p->flow.key.destination))
		return PACKET_OTHER;
	*protocol = ip->nexthdr;
	if (l3_v6_is_extension(ip->nexthdr)) {
		int class = l3_v6_skip_extensions(ctx, p, protocol);

		if (class != PACKET_FLOW)
			return class;
		p->l4 &= 0xfff;
	}
	return PACKET_FLOW;
}

static __always_inline int l3_v6_rewrite(sl_ctx *ctx, __u32 l3, const struct addr *source,
					 const struct addr *destination, __u64 *diff)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	if (!ip)
		return -1;
	*diff = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		*diff = checksum_add(*diff, ip->saddr.in6_u.u6_addr32[i], source->w[i]);
		*diff = checksum_add(*diff, ip->daddr.in6_u.u6_addr32[i], destination->w[i]);
		/* Else clang loads all sixteen words first, and the stack is too small for that. */
		barrier_var(*diff);
	}
	l3_v6_copy(&ip->saddr, source);
	l3_v6_copy(&ip->daddr, destination);
	return 0;
}

/* As l3_v4_quoted. A quoted packet with extension headers is left alone. */
static __always_inline __u32 l3_v6_quoted(sl_ctx *ctx, __u32 l3, struct flow *inner)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	if (!ip || ip->version != 6)
		return 0;
	l3_v6_copy(&inner->source, &ip->saddr);
	l3_v6_copy(&inner->destination, &ip->daddr);
	inner->protocol = ip->nexthdr;
	return l3 + sizeof(*ip);
}

static __always_inline __u32 l3_v6_forward_ttl(sl_ctx *ctx, __u32 l3)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));
	__u32 limit;

	if (!ip)
		return 0;
	limit = ip->hop_limit;
	if (limit > 1)
		ip->hop_limit = limit - 1;
	return limit;
}

static __always_inline __u32 l3_v6_ttl(sl_ctx *ctx, __u32 l3)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip ? ip->hop_limit : 0;
}

static __always_inline __u32 l3_v6_length(sl_ctx *ctx, __u32 l3)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));

	return ip ? bpf_ntohs(ip->payload_len) + sizeof(*ip) : 0;
}

/* As IPV4_SECOND_CHANCE, in the flow label, which arrives as it was sent too (RFC 6437 2). Its
 * other bits tell flows apart. */
enum { IPV6_SECOND_CHANCE = 1 };

/* As l3_v4_wrap. @entropy: what tells flows apart. */
static __always_inline void l3_v6_wrap(struct ipv6hdr *ip, const struct flow_entry *entry, __u8 tos,
				       __u32 length, __u32 header, bool second, __u32 entropy)
{
	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)tos << 20 | (entropy & 0xffff) << 1 |
				  (second ? IPV6_SECOND_CHANCE : 0));
	ip->payload_len = bpf_htons(length + header - sizeof(*ip));
	ip->nexthdr = header == sizeof(*ip) ? IPPROTO_IPV6 : IPPROTO_UDP;
	ip->hop_limit = PACKET_TTL;
	__builtin_memcpy(&ip->saddr, &entry->new_source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &entry->new_destination, sizeof(ip->daddr));
}

static __always_inline bool l3_v6_second_chance(sl_ctx *ctx, __u32 l3)
{
	__be32 *word = ctx_header(ctx, l3, sizeof(struct ipv6hdr));

	return word && *word & bpf_htonl(IPV6_SECOND_CHANCE);
}

static __always_inline __u32 l3_v6_tos(sl_ctx *ctx, __u32 l3)
{
	__be32 *word = ctx_header(ctx, l3, sizeof(struct ipv6hdr));

	return word ? bpf_ntohl(*word) >> 20 & 0xff : 0;
}

static __always_inline void l3_v6_set_congested(sl_ctx *ctx, __u32 l3)
{
	__be32 *word = ctx_header(ctx, l3, sizeof(struct ipv6hdr));

	if (word && *word & bpf_htonl(ECN_MASK << 20))
		*word |= bpf_htonl(ECN_CONGESTED << 20);
}

/* As l3_v4_turn; @length counts from the header's start. */
static __always_inline int l3_v6_turn(sl_ctx *ctx, __u32 l3, __u32 length, __u32 limit)
{
	struct ipv6hdr *ip = ctx_header(ctx, l3, sizeof(*ip));
	struct addr source;

	if (!ip)
		return -1;
	ip->payload_len = bpf_htons(length - sizeof(*ip));
	ip->hop_limit = limit;
	l3_v6_copy(&source, &ip->saddr);
	l3_v6_copy(&ip->saddr, &ip->daddr);
	l3_v6_copy(&ip->daddr, &source);
	return 0;
}

/* A header and a few extensions: what is longer gets no error. */
enum { IPV6_MAX_QUOTED_HEADERS = 40 + 16 };

struct l3_v6_error {
	struct ipv6hdr ip;
	struct icmp_header icmp;
	__u8 quote[IPV6_MAX_QUOTED_HEADERS + ICMP_QUOTE_L4];
};

/* As l3_v4_icmp_error. */
static __noinline __attribute__((unused)) int l3_v6_icmp_error(sl_ctx *ctx, const struct packet *p,
							       enum icmp_error_kind kind, __u32 mtu)
{
	__u32 quote = p->l4 - p->l3 + ICMP_QUOTE_L4;
	struct l3_v6_error error = {};
	__u64 sum;

	if (quote < sizeof(error.ip) || quote > sizeof(error.quote) ||
	    ctx_load(ctx, p->l3, error.quote, quote))
		return -1;
	error.ip.version = 6;
	error.ip.payload_len = bpf_htons(sizeof(error.icmp) + quote);
	error.ip.nexthdr = IPPROTO_ICMPV6;
	error.ip.hop_limit = PACKET_TTL;
	l3_v6_copy(&error.ip.saddr, &p->flow.key.destination);
	l3_v6_copy(&error.ip.daddr, &p->flow.key.source);
	if (kind == ICMP_ERROR_TTL_EXCEEDED) {
		error.icmp.type = ICMPV6_TIME_EXCEED;
	} else if (kind == ICMP_ERROR_TOO_BIG) {
		error.icmp.type = ICMPV6_PKT_TOOBIG;
		error.icmp.rest = bpf_htonl(mtu);
	} else {
		error.icmp.type = ICMPV6_DEST_UNREACH;
		error.icmp.code = ICMPV6_PORT_UNREACH;
	}
	sum = checksum_pseudo(&p->flow.key.source, &p->flow.key.destination, false,
			      sizeof(error.icmp) + quote, IPPROTO_ICMPV6);
	sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp,
				    sizeof(error.icmp) + sizeof(error.quote), 0);
	error.icmp.checksum = ~checksum_fold16(sum);
	/* All of the buffer, then cut: the verifier of Linux 6.1 does not follow a length here. */
	if (ctx_resize(ctx, p->l3 + sizeof(error)) || ctx_store(ctx, p->l3, &error, sizeof(error)))
		return -1;
	return ctx_resize(ctx, p->l3 + sizeof(error.ip) + sizeof(error.icmp) + quote);
}
