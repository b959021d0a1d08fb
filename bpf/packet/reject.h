/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers to packets that cannot be forwarded, made in place of the packet and sent back out of the
 * interface it came from: TCP RST (RFC 9293 3.10.7.1), ICMP (RFC 792) and ICMPv6 (RFC 4443) errors.
 */
#pragma once

#include "packet/packet.h"

enum reject_kind {
	REJECT_PORT_UNREACHABLE,
	REJECT_TTL_EXCEEDED,
	REJECT_TOO_BIG,
};

enum {
	REJECT_TTL = 64,
	/* An error quotes the IP header and 8 bytes (RFC 792); so does ours over IPv6, where more is
	 * allowed: what a socket is found by is there. */
	REJECT_QUOTE_L4 = 8,
	REJECT_V4_QUOTE = 20 + REJECT_QUOTE_L4,
	REJECT_V6_QUOTE = 40 + REJECT_QUOTE_L4,
};

struct reject_v4 {
	struct iphdr ip;
	struct icmp_header icmp;
	__u8 quote[REJECT_V4_QUOTE];
};

struct reject_v6 {
	struct ipv6hdr ip;
	struct icmp_header icmp;
	__u8 quote[REJECT_V6_QUOTE];
};

/* Exchanges the MAC addresses. */
static __always_inline int reject_swap_macs(sl_ctx *ctx)
{
	struct ethhdr *eth = ctx_header(ctx, 0, sizeof(*eth));
	__u8 mac[ETH_ALEN];

	if (!eth)
		return -1;
	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	return 0;
}

/* Return: the sum of the pseudo header {@a, @b, length, protocol}, for one's complement folding. */
static __always_inline __u64 reject_pseudo_sum(const struct addr *a, const struct addr *b, bool v4,
					       __u32 length, __u32 protocol)
{
	__u64 sum = (__u64)bpf_htonl(length) + bpf_htonl(protocol);

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (!v4 || i == 3)
			sum += (__u64)a->w[i] + b->w[i];
	}
	return sum;
}

/* The segment that resets the connection of @in (RFC 9293 3.10.7.1: "CLOSED state"). */
static __always_inline void reject_fill_reset(const struct tcphdr *in, __u32 payload,
					      struct tcphdr *out)
{
	__u8 flags = ((const __u8 *)in)[13];

	__builtin_memset(out, 0, sizeof(*out));
	out->source = in->dest;
	out->dest = in->source;
	out->doff = sizeof(*out) / 4;
	out->rst = 1;
	if (flags & TCP_ACK) {
		out->seq = in->ack_seq;
		return;
	}
	out->ack = 1;
	out->ack_seq = bpf_htonl(bpf_ntohl(in->seq) + payload + !!(flags & TCP_SYN) +
				 !!(flags & TCP_FIN));
}

/* Turns the packet into the RST that answers it. Return: 0, or -1. */
static __noinline int reject_reset(sl_ctx *ctx, struct packet *p)
{
	bool v4 = p->family == SL_FAMILY_V4;
	__u32 length = v4 ? l3_v4_length(ctx, p->l3) : l3_v6_length(ctx, p->l3);
	struct tcphdr reset, *tcp;
	__u32 header;
	__u64 sum;

	tcp = ctx_header(ctx, p->l4, sizeof(*tcp));
	if (!tcp)
		return -1;
	/* A length of 0 is a GSO packet of more than 64 KiB; the frame's own says it. */
	header = p->l4 - p->l3 + tcp->doff * 4;
	if (!length)
		length = ctx_length(ctx) - p->l3;
	reject_fill_reset(tcp, length > header ? length - header : 0, &reset);
	sum = reject_pseudo_sum(&p->flow.key.source, &p->flow.key.destination, v4, sizeof(reset),
				IPPROTO_TCP);
#pragma unroll
	for (unsigned int i = 0; i < sizeof(reset) / 4; i++)
		sum += ((__u32 *)&reset)[i];
	reset.check = ~checksum_fold16(sum);
	if (reject_swap_macs(ctx) || ctx_resize(ctx, p->l4 + sizeof(reset)) ||
	    ctx_store(ctx, p->l4, &reset, sizeof(reset)))
		return -1;
	return v4 ? l3_v4_turn(ctx, p->l3, p->l4 - p->l3 + sizeof(reset), REJECT_TTL) :
		    l3_v6_turn(ctx, p->l3, p->l4 - p->l3 + sizeof(reset), REJECT_TTL);
}

static __noinline int reject_icmp_v4(sl_ctx *ctx, const struct packet *p, enum reject_kind kind,
				     __u32 mtu)
{
	struct reject_v4 error = {};

	if (ctx_load(ctx, p->l3, error.quote, sizeof(error.quote)))
		return -1;
	error.ip.version = 4;
	error.ip.ihl = sizeof(error.ip) / 4;
	error.ip.tot_len = bpf_htons(sizeof(error));
	error.ip.ttl = REJECT_TTL;
	error.ip.protocol = IPPROTO_ICMP;
	error.ip.saddr = p->flow.key.destination.w[3];
	error.ip.daddr = p->flow.key.source.w[3];
	error.ip.check = ~checksum_fold16(
		(__u32)bpf_csum_diff(NULL, 0, (__be32 *)&error.ip, sizeof(error.ip), 0));
	if (kind == REJECT_TTL_EXCEEDED) {
		error.icmp.type = ICMP_TIME_EXCEEDED;
	} else {
		error.icmp.type = ICMP_DEST_UNREACH;
		error.icmp.code = kind == REJECT_TOO_BIG ? ICMP_FRAG_NEEDED : ICMP_PORT_UNREACH;
		error.icmp.rest = bpf_htonl(mtu & 0xffff);
	}
	error.icmp.checksum = ~checksum_fold16((__u32)bpf_csum_diff(
		NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp) + sizeof(error.quote), 0));
	if (ctx_resize(ctx, p->l3 + sizeof(error)))
		return -1;
	return ctx_store(ctx, p->l3, &error, sizeof(error));
}

static __noinline int reject_icmp_v6(sl_ctx *ctx, const struct packet *p, enum reject_kind kind,
				     __u32 mtu)
{
	struct reject_v6 error = {};
	__u32 length = sizeof(error.icmp) + sizeof(error.quote);
	__u64 sum;

	if (ctx_load(ctx, p->l3, error.quote, sizeof(error.quote)))
		return -1;
	error.ip.version = 6;
	error.ip.payload_len = bpf_htons(length);
	error.ip.nexthdr = IPPROTO_ICMPV6;
	error.ip.hop_limit = REJECT_TTL;
	__builtin_memcpy(&error.ip.saddr, &p->flow.key.destination, sizeof(struct addr));
	__builtin_memcpy(&error.ip.daddr, &p->flow.key.source, sizeof(struct addr));
	if (kind == REJECT_TTL_EXCEEDED) {
		error.icmp.type = ICMPV6_TIME_EXCEED;
	} else if (kind == REJECT_TOO_BIG) {
		error.icmp.type = ICMPV6_PKT_TOOBIG;
		error.icmp.rest = bpf_htonl(mtu);
	} else {
		error.icmp.type = ICMPV6_DEST_UNREACH;
		error.icmp.code = ICMPV6_PORT_UNREACH;
	}
	sum = reject_pseudo_sum(&p->flow.key.source, &p->flow.key.destination, false, length,
				IPPROTO_ICMPV6);
	sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, length, 0);
	error.icmp.checksum = ~checksum_fold16(sum);
	if (ctx_resize(ctx, p->l3 + sizeof(error)))
		return -1;
	return ctx_store(ctx, p->l3, &error, sizeof(error));
}

/*
 * Turns the packet into an ICMP error about it, as if from its destination. IP options and extension
 * headers are not quoted rightly and get none.
 * @mtu: for REJECT_TOO_BIG. Return: 0, or -1: send nothing.
 */
static __always_inline int reject_icmp(sl_ctx *ctx, struct packet *p, enum reject_kind kind,
				       __u32 mtu)
{
	bool v4 = p->family == SL_FAMILY_V4;

	if (p->l4 - p->l3 != (v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return -1;
	if (v4 ? reject_icmp_v4(ctx, p, kind, mtu) : reject_icmp_v6(ctx, p, kind, mtu))
		return -1;
	return reject_swap_macs(ctx);
}
