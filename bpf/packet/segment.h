/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The largest segment that a TCP handshake offers (RFC 9293 3.7.1). */
#pragma once

#include "packet/packet.h"

enum { SEGMENT_END = 0, SEGMENT_NOP = 1, SEGMENT_MSS = 2 };

/* Options looked at before that of the size: senders have it first, or nearly so. */
enum { SEGMENT_OPTIONS = 8 };

struct segment_option {
	__u8 kind;
	__u8 length;
	__be16 mss;
};

/*
 * Has the sender of what answers @p, a SYN-ACK, send no larger segments than still fit where a node
 * passes them on to another (sl_config). A SYN-ACK without the option stands for 536 or 1,220 bytes
 * and is left as it is. Return: 0, or -1: half done.
 */
static __noinline int segment_clamp(sl_ctx *ctx, const struct packet *p)
{
	__u32 zero = 0, at = p->l4 + sizeof(struct tcphdr), end;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	struct segment_option option = {};
	struct tcphdr *tcp;
	__be16 limit;

	if (p->flow.key.protocol != IPPROTO_TCP || !(p->tcp_flags & TCP_SYN) || !config ||
	    p->family >= SL_FAMILY_COUNT || !config->tunnel_mss[p->family])
		return 0;
	limit = bpf_htons(config->tunnel_mss[p->family]);
	tcp = ctx_header(ctx, p->l4, sizeof(*tcp));
	if (!tcp)
		return 0;
	end = p->l4 + tcp->doff * 4;
	for (int i = 0; i < SEGMENT_OPTIONS; i++) {
		if (at + sizeof(option) > end || ctx_load(ctx, at, &option, sizeof(option)) ||
		    option.kind == SEGMENT_END)
			return 0;
		if (option.kind == SEGMENT_NOP) {
			at++;
			continue;
		}
		if (option.kind == SEGMENT_MSS)
			break;
		if (option.length < 2)
			return 0;
		at += option.length;
	}
	if (option.kind != SEGMENT_MSS || option.length != sizeof(option) ||
	    bpf_ntohs(option.mss) <= bpf_ntohs(limit))
		return 0;
	at += __builtin_offsetof(struct segment_option, mss);
	if (ctx_store(ctx, at, &limit, sizeof(limit)))
		return 0;
	/* At an odd offset the value's bytes are the low and high ones of two words (RFC 1071). */
	if ((at - p->l4) & 1) {
		option.mss = option.mss << 8 | option.mss >> 8;
		limit = limit << 8 | limit >> 8;
	}
	return ctx_checksum_diff(ctx, packet_checksum_offset(p),
				 checksum_fold32(checksum_add(0, option.mss, limit)), false, false);
}
