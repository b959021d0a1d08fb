// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The far end of the wire: counts the IPv4 frames that arrive, per CPU, keeps the first of them if
 * asked to, and drops them. As frames, or as skbs: a veth converts every skb for an XDP program, by
 * a copy, which no network card does.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "test/bench/bench_frame.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} frames_arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BENCH_MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct frames_kept);
} frames_keep SEC(".maps");

__u32 frames_wanted; /* so many are kept */
__u32 frames_found;  /* of those */

/* Counts a frame. Return: where it is to be kept, or NULL. */
static __always_inline struct frames_kept *frames_take(void *data, void *data_end)
{
	__u64 *arrived;
	__u32 at = 0;

	/* What the stack sends of its own is IPv6. */
	if (data + ETH_HLEN > data_end || ((struct ethhdr *)data)->h_proto != bpf_htons(ETH_P_IP))
		return NULL;
	arrived = bpf_map_lookup_elem(&frames_arrived, &at);
	if (arrived)
		(*arrived)++;
	at = frames_found;
	if (at >= frames_wanted)
		return NULL;
	frames_found = at + 1;
	return bpf_map_lookup_elem(&frames_keep, &at);
}

SEC("xdp")
int frames_at_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct frames_kept *kept = frames_take(data, data_end);
	__u32 length = data_end - data;

	if (kept && length > 0 && length <= sizeof(kept->bytes) &&
	    !bpf_xdp_load_bytes(ctx, 0, kept->bytes, length))
		kept->length = length;
	return XDP_DROP;
}

SEC("tc")
int frames_at_tc(struct __sk_buff *ctx)
{
	struct frames_kept *kept =
		frames_take((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	__u32 length = ctx->len;

	if (kept && length > 0 && length <= sizeof(kept->bytes) &&
	    !bpf_skb_load_bytes(ctx, 0, kept->bytes, length))
		kept->length = length;
	return TC_ACT_SHOT;
}

/* At the near end: what making the frames and taking them costs. */
SEC("xdp.frags")
int frames_back(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
