/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet as TC sees it. Every hook's ctx header gives the same names with the same contracts,
 * so that packet/ and core/ are written once; an entry file includes exactly one of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "maps/trace.h"

typedef struct __sk_buff sl_ctx;

enum {
	CTX_NEXT = TC_ACT_UNSPEC, /* go on: other programs on the interface still run */
	CTX_DROP = TC_ACT_SHOT,
};

enum { CTX_MAX_OFFSET = 0x3fff };

enum { CTX_PACKET_HOST = 0 }; /* PACKET_HOST of linux/if_packet.h, which needs the C library */

/*
 * Return: `length` bytes of the packet at `offset`, or NULL if they are not in the linear part.
 * Dead after any helper that changes the packet. The bound is for the verifier, which forgets those
 * of offsets that have been in memory.
 */
static __always_inline void *ctx_header(sl_ctx *ctx, __u32 offset, __u32 length)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	/* clang 14 moves what it knows to be zero-extended words by 32-bit moves, after which the
	 * verifier takes them for numbers. */
	barrier_var(data);
	barrier_var(data_end);
	barrier_var(offset);
	if (offset > CTX_MAX_OFFSET)
		return NULL;
	if (data + offset + length > data_end)
		return NULL;
	return data + offset;
}

/* Makes the first @length bytes linear. Return: 0, or negative errno. */
static __always_inline int ctx_pull(sl_ctx *ctx, __u32 length)
{
	return bpf_skb_pull_data(ctx, length < ctx->len ? length : ctx->len);
}

static __always_inline __u32 ctx_length(sl_ctx *ctx)
{
	return ctx->len;
}

/* Packets on the wire that this one stands for: more than one with segmentation offload. */
static __always_inline __u32 ctx_segments(sl_ctx *ctx)
{
	__u32 segments = ctx->gso_segs;

	return segments ? segments : 1;
}

static __always_inline __u32 ctx_segment_size(sl_ctx *ctx)
{
	return ctx->gso_size;
}

static __always_inline __u32 ctx_ifindex(sl_ctx *ctx)
{
	return ctx->ifindex;
}

/*
 * Adjusts the transport checksum at @offset by @diff (ones' complement, of words that the pseudo
 * header has too if @pseudo) without knowing whether the stack has finished it.
 */
static __always_inline int ctx_checksum_diff(sl_ctx *ctx, __u32 offset, __u32 diff, bool pseudo,
					     bool udp)
{
	return bpf_l4_csum_replace(ctx, offset, 0, diff,
				   (pseudo ? BPF_F_PSEUDO_HDR : 0) |
					   (udp ? BPF_F_MARK_MANGLED_0 : 0));
}

/* IPv6 has no header checksum: addresses and transport checksum change the sum of a whole packet
 * that a NIC has computed by nothing, but bpf_l4_csum_replace takes @diff from it: gives it back.
 */
static __always_inline void ctx_checksum_complete(sl_ctx *ctx, __u32 diff)
{
	bpf_csum_update(ctx, diff);
}

/*
 * Has the stack left the transport checksum at @offset for the device to finish? A change of words
 * outside the pseudo header then does not change the field. Return: 1 or 0; the field is as before.
 */
static __always_inline int ctx_checksum_unfinished(sl_ctx *ctx, __u32 offset)
{
	__u16 before = 0, after = 0;

	if (bpf_skb_load_bytes(ctx, offset, &before, sizeof(before)) ||
	    bpf_l4_csum_replace(ctx, offset, 0, 1, 2) ||
	    bpf_skb_load_bytes(ctx, offset, &after, sizeof(after)))
		return 0;
	return before == after;
}

/* Is the frame for this node by its MAC address? The network floods others' frames to a switch's
 * ports and to listeners, and to answer those would be to break in. */
static __always_inline bool ctx_for_us(sl_ctx *ctx)
{
	return ctx->pkt_type == CTX_PACKET_HOST;
}

/* Sends the packet out of the interface that it is on, as a frame: the reply to a reject. */
static __always_inline int ctx_bounce(sl_ctx *ctx)
{
	return bpf_redirect(ctx->ifindex, 0);
}

/* Makes the packet, which is on its way out, one that the interface has received. */
static __always_inline int ctx_take_in(sl_ctx *ctx)
{
	return bpf_redirect(ctx->ifindex, BPF_F_INGRESS);
}

static __always_inline int ctx_resize(sl_ctx *ctx, __u32 length)
{
	return bpf_skb_change_tail(ctx, length, 0);
}

/* Makes room for @length bytes of headers before the IP header, which follows the frame's. */
static __always_inline int ctx_push(sl_ctx *ctx, __u32 length, bool v4, bool udp)
{
	/* Segments keep their size: the way of each has been asked about with its new headers. */
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	flags |= v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	if (udp)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	return bpf_skb_adjust_room(ctx, (int)length, BPF_ADJ_ROOM_MAC, flags);
}

/* Takes @length bytes of headers after the frame's away. */
static __always_inline int ctx_pop(sl_ctx *ctx, __u32 length)
{
	return bpf_skb_adjust_room(ctx, -(int)length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Sends what has become an answer of this node to another node's packet the way that it is routed:
 * the link that the packet came by is not the way to who gets the answer. */
static __always_inline int ctx_route(sl_ctx *ctx)
{
	return bpf_redirect_neigh(ctx->ifindex, NULL, 0, 0);
}

static __always_inline int ctx_load(sl_ctx *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

static __always_inline int ctx_store(sl_ctx *ctx, __u32 offset, const void *from, __u32 length)
{
	return bpf_skb_store_bytes(ctx, offset, from, length, 0);
}

static __always_inline bool ctx_has_vlan(sl_ctx *ctx)
{
	return ctx->vlan_present;
}

/* Takes the outermost VLAN tag off, wherever it is kept. */
static __always_inline int ctx_pop_vlan(sl_ctx *ctx)
{
	return bpf_skb_vlan_pop(ctx);
}

/* Sends the packet to @neighbour through @ifindex; the stack writes the link-layer header. */
static __always_inline int ctx_redirect(sl_ctx *ctx, __u32 ifindex,
					struct bpf_redir_neigh *neighbour)
{
	(void)ctx;
	return bpf_redirect_neigh(ifindex, neighbour, sizeof(*neighbour), 0);
}

/* Is this a question of maps/trace.h? */
static __always_inline bool ctx_traced(sl_ctx *ctx)
{
	return ctx->cb[0] == SL_TRACE_CB0 && ctx->cb[1] == SL_TRACE_CB1;
}

static __always_inline void ctx_answer(sl_ctx *ctx, __u32 service_id, __u32 reason, __u32 verdict,
				       __u32 frontend)
{
	ctx->cb[SL_TRACE_SERVICE_ID] = service_id;
	ctx->cb[SL_TRACE_REASON] = reason | verdict << 16;
	ctx->cb[SL_TRACE_FRONTEND] = frontend;
}
