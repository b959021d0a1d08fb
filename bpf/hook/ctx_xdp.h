/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet as XDP sees it, before the kernel has made an skb of it: the names of hook/ctx_tc.h,
 * as far as the front door (core/early.h) needs them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "maps_xdp.h"

typedef struct xdp_md sl_ctx;

enum {
	CTX_NEXT = XDP_PASS, /* to the stack, and so to TC */
	CTX_DROP = XDP_DROP,
};

enum { CTX_MAX_OFFSET = 0x3fff };

/* As in hook/ctx_tc.h; of a packet in several buffers, the first is the linear part. */
static __always_inline void *ctx_header(sl_ctx *ctx, __u32 offset, __u32 length)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	barrier_var(data);
	barrier_var(data_end);
	barrier_var(offset);
	if (offset > CTX_MAX_OFFSET)
		return NULL;
	if (data + offset + length > data_end)
		return NULL;
	return data + offset;
}

/* Buffers are as the driver made them. */
static __always_inline int ctx_pull(sl_ctx *ctx, __u32 length)
{
	return ctx_header(ctx, 0, length) ? 0 : -1;
}

static __always_inline __u32 ctx_length(sl_ctx *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

/* What is on the wire is one packet. (LRO and GRO come behind, or are off while a program is here.)
 */
static __always_inline __u32 ctx_segments(sl_ctx *ctx)
{
	(void)ctx;
	return 1;
}

static __always_inline __u32 ctx_segment_size(sl_ctx *ctx)
{
	(void)ctx;
	return 0;
}

/* By hand: clang would keep the field's address, where the verifier takes only the context's own.
 */
static __always_inline __u32 ctx_ifindex(sl_ctx *ctx)
{
	__u32 ifindex;

	asm volatile("%[to] = *(u32 *)(%[ctx] + %[at])"
		     : [to] "=r"(ifindex)
		     : [ctx] "r"(ctx), [at] "i"(offsetof(struct xdp_md, ingress_ifindex)));
	return ifindex;
}

/* As in hook/ctx_tc.h. The frame's header moves to the new start. Return: 0, or negative errno. */
static __always_inline int ctx_push(sl_ctx *ctx, __u32 length, bool v4, bool udp)
{
	struct ethhdr eth, *at = ctx_header(ctx, 0, sizeof(eth));
	int failed;

	(void)v4;
	(void)udp;
	if (!at)
		return -1;
	eth = *at;
	failed = bpf_xdp_adjust_head(ctx, -(int)length);
	if (failed)
		return failed;
	at = ctx_header(ctx, 0, sizeof(eth));
	if (!at)
		return -1;
	*at = eth;
	return 0;
}

static __always_inline int ctx_pop(sl_ctx *ctx, __u32 length)
{
	struct ethhdr eth, *at = ctx_header(ctx, 0, sizeof(eth));
	int failed;

	if (!at)
		return -1;
	eth = *at;
	failed = bpf_xdp_adjust_head(ctx, (int)length);
	if (failed)
		return failed;
	at = ctx_header(ctx, 0, sizeof(eth));
	if (!at)
		return -1;
	*at = eth;
	return 0;
}

static __always_inline int ctx_load(sl_ctx *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(ctx, offset, to, length);
}

static __always_inline int ctx_store(sl_ctx *ctx, __u32 offset, void *from, __u32 length)
{
	return bpf_xdp_store_bytes(ctx, offset, from, length);
}

static __always_inline int ctx_resize(sl_ctx *ctx, __u32 length)
{
	return bpf_xdp_adjust_tail(ctx, (int)(length - ctx_length(ctx)));
}

/* As in hook/ctx_tc.h. Here checksums are those of the wire: whole, in the pseudo header too. */
static __always_inline int ctx_checksum_diff(sl_ctx *ctx, __u32 offset, __u32 diff, bool pseudo,
					     bool udp)
{
	__u16 *field = ctx_header(ctx, offset, sizeof(*field));
	__u64 sum;

	(void)pseudo;
	if (!field)
		return -1;
	if (udp && !*field) /* the sender has made none (RFC 768) */
		return 0;
	sum = (__u64)(__u16) ~*field + diff;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*field = ~(__u16)sum;
	if (udp && !*field)
		*field = 0xffff;
	return 0;
}

/* Nobody has summed up the packet yet. */
static __always_inline void ctx_checksum_complete(sl_ctx *ctx, __u32 diff)
{
	(void)ctx;
	(void)diff;
}

/* Is it in several buffers, as jumbo frames are? */
static __always_inline bool ctx_in_buffers(sl_ctx *ctx)
{
	return ctx_length(ctx) != ctx->data_end - ctx->data;
}

/* A frame's header with one tag of IEEE 802.1Q. */
struct ctx_tagged {
	struct ethhdr eth; /* its protocol is ETH_P_8021Q */
	__be16 tag;	   /* priority, and the id in the low 12 bits */
	__be16 protocol;
};

enum { CTX_TAG_SIZE = sizeof(struct ctx_tagged) - ETH_HLEN, CTX_TAG_ID = 0xfff };

/* The id of the one tag that the frame begins with; 0: it has none; -1: a tag that is no 802.1Q. */
static __always_inline int ctx_tag_id(sl_ctx *ctx)
{
	const struct ctx_tagged *frame = ctx_header(ctx, 0, sizeof(*frame));

	if (!frame || frame->eth.h_proto != bpf_htons(ETH_P_8021Q))
		return frame && frame->eth.h_proto == bpf_htons(ETH_P_8021AD) ? -1 : 0;
	return bpf_ntohs(frame->tag) & CTX_TAG_ID;
}

/* Takes away the tag that the frame has. Return: 0, or negative. */
static __always_inline int ctx_untag(sl_ctx *ctx)
{
	struct ctx_tagged *frame = ctx_header(ctx, 0, sizeof(*frame));
	struct ethhdr eth, *at;

	if (!frame)
		return -1;
	eth = frame->eth;
	eth.h_proto = frame->protocol;
	if (bpf_xdp_adjust_head(ctx, CTX_TAG_SIZE))
		return -1;
	at = ctx_header(ctx, 0, sizeof(*at));
	if (!at)
		return -1;
	*at = eth;
	return 0;
}

/* Gives a frame without a tag one, of no priority, as the stack does. Return: 0, or negative. */
static __always_inline int ctx_tag(sl_ctx *ctx, __u16 id)
{
	struct ethhdr eth, *at = ctx_header(ctx, 0, sizeof(eth));
	struct ctx_tagged *frame;

	if (!at)
		return -1;
	eth = *at;
	if (bpf_xdp_adjust_head(ctx, -CTX_TAG_SIZE))
		return -1;
	frame = ctx_header(ctx, 0, sizeof(*frame));
	if (!frame)
		return -1;
	frame->protocol = eth.h_proto;
	frame->tag = bpf_htons(id);
	eth.h_proto = bpf_htons(ETH_P_8021Q);
	frame->eth = eth;
	return 0;
}

/* Sends the frame out of a device: its own, or one that sl_xdp_ports has. Return: an XDP action. */
static __always_inline int ctx_send(sl_ctx *ctx, __u32 device, const __u8 *source,
				    const __u8 *destination)
{
	struct ethhdr *eth = ctx_header(ctx, 0, sizeof(*eth));

	if (!eth)
		return CTX_DROP;
	__builtin_memcpy(eth->h_source, source, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, destination, ETH_ALEN);
	if (device == ctx_ifindex(ctx))
		return XDP_TX;
	return bpf_redirect_map(&sl_xdp_ports, device, XDP_DROP);
}
