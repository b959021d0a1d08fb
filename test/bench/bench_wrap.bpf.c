// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * BPF_PROG_TEST_RUN does not put the packet back between repeats, so a program that rewrites would
 * leave its path after the first. These wrappers write the packet's headers anew before each run,
 * from one frame a flow in turn, and tail-call the program under test. What they cost themselves is
 * measured by the same wrappers ending in pass, and subtracted.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "test/bench/bench_frame.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bench_frame);
	__uint(max_entries, BENCH_MAX_FLOWS *BENCH_FRAME_SETS);
} bench_frames SEC(".maps");

/* A program array holds programs of one type. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_target_xdp SEC(".maps");

/* Set before each run. */
__u32 bench_first; /* of the frames in turn */
__u32 bench_flows;
__u32 bench_turn;
/* Grows with every packet of bench_new and is never set back, so that no flow comes twice. */
__u64 bench_serial;

/* Writes the headers of the next flow's frame. Return: 0; -1: the packet is too short. */
static __always_inline int bench_refill(void *data, void *data_end)
{
	struct bench_frame *frame;
	__u32 turn = bench_turn;

	bench_turn = turn + 1 >= bench_flows ? 0 : turn + 1;
	turn += bench_first;
	frame = bpf_map_lookup_elem(&bench_frames, &turn);
	if (!frame || data + BENCH_HEADER_SIZE > data_end)
		return -1;
#pragma unroll
	for (int i = 0; i < BENCH_HEADER_SIZE / 8; i++)
		((__u64 *)data)[i] = frame->words[i];
	return 0;
}

/*
 * A fence: the packet's bytes have left the store buffer, so that the program's loads from it find
 * them in the cache as those of a received packet, and nothing of the wrapper overlaps with it.
 */
static __always_inline void bench_settle(void)
{
	__sync_fetch_and_add(&bench_serial, 1);
}

static __always_inline __u16 bench_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

enum { BENCH_ETHERTYPE_V4 = 0x0008 }; /* as a little-endian machine reads it */

/*
 * The same with a client never seen before: @serial becomes the low 24 bits of 10.0.0.0/8 (or the
 * low 32 of the IPv6 source) and the port, which is of the upper half of all ports,
 * as most systems draw them: SNAT can not keep it. Two fields that no lookup reads take the
 * opposite, so that the frame's checksums stay right.
 */
static __always_inline int bench_refill_new(void *data, void *data_end)
{
	__u64 serial = bench_serial;
	__u16 port, high, low;

	if (bench_refill(data, data_end) || data + BENCH_HEADER_SIZE > data_end)
		return -1;
	port = bpf_htons(0x8000 | (serial & 0x7fff));
	high = (__u16)(serial >> 23 & 0xff00) | 10; /* first the byte 10, then the highest */
	low = (__u16)(serial >> 15);
	if (*(__u16 *)(data + 12) == BENCH_ETHERTYPE_V4) {
		*(__u16 *)(data + 26) = high;
		*(__u16 *)(data + 28) = low;
		*(__u16 *)(data + 18) = ~bench_fold((__u32)high + low); /* identification */
		*(__u16 *)(data + 34) = port;
		*(__u16 *)(data + 40) = ~bench_fold((__u32)high + low + port); /* sequence */
	} else {
		*(__u16 *)(data + 34) = high;
		*(__u16 *)(data + 36) = low;
		*(__u16 *)(data + 54) = port;
		*(__u16 *)(data + 60) = ~bench_fold((__u32)high + low + port);
	}
	return 0;
}

static __always_inline int bench_write(void *data, void *data_end, bool new)
{
	if (new ? bench_refill_new(data, data_end) : bench_refill(data, data_end))
		return -1;
	bench_settle();
	return 0;
}

static __always_inline int bench_tc(struct __sk_buff *ctx, bool new)
{
	return bench_write((void *)(long)ctx->data, (void *)(long)ctx->data_end, new);
}

/*
 * A run before this one may have moved the start of the frame. The helper is called also where it
 * has nothing to do, so that it costs the same in the run that is subtracted.
 */
static __always_inline int bench_xdp(struct xdp_md *ctx, bool new)
{
	int grown = (int)(ctx->data_end - ctx->data) - BENCH_FRAME_SIZE;

	if (bpf_xdp_adjust_head(ctx, grown))
		return -1;
	return bench_write((void *)(long)ctx->data, (void *)(long)ctx->data_end, new);
}

SEC("tc")
int bench_repeat(struct __sk_buff *ctx)
{
	if (bench_tc(ctx, false))
		return TC_ACT_SHOT;
	bpf_tail_call(ctx, &bench_target, 0);
	return TC_ACT_SHOT;
}

/* What bench_repeat costs without the program under test. */
SEC("tc")
int bench_pass(struct __sk_buff *ctx)
{
	return bench_tc(ctx, false) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int bench_new(struct __sk_buff *ctx)
{
	if (bench_tc(ctx, true))
		return TC_ACT_SHOT;
	bpf_tail_call(ctx, &bench_target, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int bench_new_pass(struct __sk_buff *ctx)
{
	return bench_tc(ctx, true) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* The same four for XDP; with frags, as sl_xdp is: one array holds no others. */
SEC("xdp.frags")
int bench_xdp_repeat(struct xdp_md *ctx)
{
	if (bench_xdp(ctx, false))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &bench_target_xdp, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int bench_xdp_pass(struct xdp_md *ctx)
{
	return bench_xdp(ctx, false) ? XDP_ABORTED : XDP_PASS;
}

SEC("xdp.frags")
int bench_xdp_new(struct xdp_md *ctx)
{
	if (bench_xdp(ctx, true))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &bench_target_xdp, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int bench_xdp_new_pass(struct xdp_md *ctx)
{
	return bench_xdp(ctx, true) ? XDP_ABORTED : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
