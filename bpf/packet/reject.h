/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers to packets that cannot be forwarded, made in place of the packet and sent back out of the
 * interface it came from: TCP RST (RFC 9293 3.10.7.1), SCTP ABORT (RFC 9260 8.4), ICMP (RFC 792)
 * and ICMPv6 (RFC 4443) errors.
 */
#pragma once

#include "packet/packet.h"

/* ICMP errors a tick, in all: as many as Linux sends itself by default (icmp_msgs_per_sec). */
enum { REJECT_ERRORS_PER_TICK = 1000 };

/* Racy on purpose, as the samples in core/reason.h are. */
__u32 sl_error_tick;
__u32 sl_errors;

static __always_inline bool reject_may_send_error(void)
{
	__u32 now = now_ticks();

	if (sl_error_tick != now) {
		sl_error_tick = now;
		sl_errors = 0;
	}
	return sl_errors++ < REJECT_ERRORS_PER_TICK;
}

/* Is the source one that an answer can be sent to? (RFC 1122 3.2.2, RFC 4443 2.4 e) */
static __always_inline bool reject_may_answer(const struct packet *p)
{
	const struct addr *source = &p->flow.key.source;
	__u32 first = bpf_ntohl(source->w[3]);

	if (p->family == SL_FAMILY_V4)
		return first >> 24 && first >> 24 != 127 && first >> 28 < 14;
	return (source->w[0] | source->w[1] | source->w[2] || first > 1) &&
	       (bpf_ntohl(source->w[0]) >> 24) != 0xff;
}

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
	out->ack_seq =
		bpf_htonl(bpf_ntohl(in->seq) + payload + !!(flags & TCP_SYN) + !!(flags & TCP_FIN));
}

/* Turns the packet into the RST that answers it. Return: 0, or -1. */
static __noinline int reject_reset(sl_ctx *ctx, struct packet *p)
{
	bool v4 = p->family == SL_FAMILY_V4;
	bool unfinished = ctx_checksum_unfinished(ctx, packet_checksum_offset(p));
	__u32 length = v4 ? l3_v4_length(ctx, p->l3) : l3_v6_length(ctx, p->l3);
	struct tcphdr reset, *tcp;
	__u32 header;
	__u64 sum;

	tcp = ctx_header(ctx, p->l4, sizeof(*tcp));
	if (!tcp || !reject_may_answer(p))
		return -1;
	/* A length of 0 is a GSO packet of more than 64 KiB; the frame's own says it. */
	header = p->l4 - p->l3 + tcp->doff * 4;
	if (!length)
		length = ctx_length(ctx) - p->l3;
	reject_fill_reset(tcp, length > header ? length - header : 0, &reset);
	sum = checksum_pseudo(&p->flow.key.source, &p->flow.key.destination, v4, sizeof(reset),
			      IPPROTO_TCP);
	if (unfinished) {
		reset.check = checksum_fold16(sum); /* the device adds the rest */
	} else {
#pragma unroll
		for (unsigned int i = 0; i < sizeof(reset) / 4; i++)
			sum += ((__u32 *)&reset)[i];
		reset.check = ~checksum_fold16(sum);
	}
	/* Never longer than what it answers. The kernel cuts no packet that was wrapped when it
	 * came (ENOTSUPP, as over a veth): the rest then goes along behind the IP packet, as
	 * padding. */
	ctx_resize(ctx, p->l4 + sizeof(reset));
	if (reject_swap_macs(ctx) || ctx_store(ctx, p->l4, &reset, sizeof(reset)))
		return -1;
	return v4 ? l3_v4_turn(ctx, p->l3, p->l4 - p->l3 + sizeof(reset), PACKET_TTL)
		  : l3_v6_turn(ctx, p->l3, p->l4 - p->l3 + sizeof(reset), PACKET_TTL);
}

/* Is it what nothing answers (RFC 9260 8.4, 6 and 7)? (ABORTs do not come here.) */
static __always_inline bool reject_is_final(sl_ctx *ctx, const struct packet *p, __u8 chunk_type)
{
	struct sctp_chunk *chunk;
	struct sctp_cause *cause;

	if (chunk_type != SCTP_ERROR)
		return chunk_type == SCTP_SHUTDOWN_COMPLETE || chunk_type == SCTP_COOKIE_ACK;
	chunk = ctx_header(ctx, p->l4 + sizeof(struct sctp_header),
			   sizeof(*chunk) + sizeof(*cause));
	if (!chunk)
		return true;
	cause = (struct sctp_cause *)(chunk + 1);
	return bpf_ntohs(chunk->length) >= sizeof(*chunk) + sizeof(*cause) &&
	       cause->code == bpf_htons(SCTP_CAUSE_STALE_COOKIE);
}

/*
 * Turns the packet into what a host says to an association that it does not know (RFC 9260 8.4).
 * Return: 0, or -1.
 */
static __noinline int reject_abort(sl_ctx *ctx, struct packet *p)
{
	__u32 length = p->l4 - p->l3 + sizeof(struct sctp_start);
	bool v4 = p->family == SL_FAMILY_V4;
	struct sctp_start *in, abort = {};
	sctp_initiate_tag *tag;

	in = ctx_header(ctx, p->l4, sizeof(*in));
	if (!in || !reject_may_answer(p) || reject_is_final(ctx, p, in->chunk.type))
		return -1;
	in = ctx_header(ctx, p->l4, sizeof(*in));
	if (!in)
		return -1;
	abort.header.source = in->header.destination;
	abort.header.destination = in->header.source;
	abort.header.tag = in->header.tag;
	abort.chunk.type =
		in->chunk.type == SCTP_SHUTDOWN_ACK ? SCTP_SHUTDOWN_COMPLETE : SCTP_ABORT;
	abort.chunk.flags = SCTP_TAG_REFLECTED;
	abort.chunk.length = bpf_htons(sizeof(abort.chunk));
	if (in->chunk.type == SCTP_INIT) {
		tag = ctx_header(ctx, p->l4 + sizeof(*in), sizeof(*tag));
		if (!tag)
			return -1;
		abort.header.tag = *tag;
		abort.chunk.flags = 0;
	}
	/* A device that is to finish the packet finishes the answer too. */
	if (in->header.checksum)
		abort.header.checksum = sctp_crc((__u32 *)&abort, sizeof(abort) / 4);
	if (reject_swap_macs(ctx) || ctx_resize(ctx, p->l4 + sizeof(abort)) ||
	    ctx_store(ctx, p->l4, &abort, sizeof(abort)))
		return -1;
	return v4 ? l3_v4_turn(ctx, p->l3, length, PACKET_TTL)
		  : l3_v6_turn(ctx, p->l3, length, PACKET_TTL);
}

/*
 * Turns the packet into an ICMP error about it, as if from its destination.
 * @mtu: for ICMP_ERROR_TOO_BIG. Return: 0, or -1: send nothing, its headers are too long to quote.
 */
static __always_inline int reject_icmp(sl_ctx *ctx, struct packet *p, enum icmp_error_kind kind,
				       __u32 mtu)
{
	if (!reject_may_answer(p) || !reject_may_send_error())
		return -1;
	if (p->family == SL_FAMILY_V4 ? l3_v4_icmp_error(ctx, p, kind, mtu)
				      : l3_v6_icmp_error(ctx, p, kind, mtu))
		return -1;
	return reject_swap_macs(ctx);
}
