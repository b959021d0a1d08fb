// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * BPF_PROG_TEST_RUN does not put the packet back between repeats, so a program that rewrites would
 * leave its path after the first. These wrappers write the packet's headers anew before each run,
 * from one frame a flow in turn, and tail-call the program under test. What they cost themselves is
 * measured by the same wrappers ending in pass, and subtracted.
 */
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

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_target SEC(".maps");

/* Set before each run. */
__u32 bench_first; /* of the frames in turn */
__u32 bench_flows;
__u32 bench_turn;
/* Grows with every packet of bench_new and is never set back, so that no flow comes twice. */
__u64 bench_serial;

/* Writes the headers of the next flow's frame. Return: the frame; NULL: the packet is too short. */
static __always_inline struct bench_frame *bench_refill(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct bench_frame *frame;
	__u32 turn = bench_turn;

	bench_turn = turn + 1 >= bench_flows ? 0 : turn + 1;
	turn += bench_first;
	frame = bpf_map_lookup_elem(&bench_frames, &turn);
	if (!frame || data + BENCH_HEADER_SIZE > data_end)
		return NULL;
#pragma unroll
	for (int i = 0; i < BENCH_HEADER_SIZE / 8; i++)
		((__u64 *)data)[i] = frame->words[i];
	return frame;
}

/*
 * A fence: the packet's bytes have left the store buffer, so that the program's loads from it find
 * them in the cache as those of a received packet, and nothing of the wrapper overlaps with it.
 */
static __always_inline void bench_settle(void)
{
	__sync_fetch_and_add(&bench_serial, 1);
}

SEC("tc")
int bench_repeat(struct __sk_buff *ctx)
{
	if (!bench_refill(ctx))
		return TC_ACT_SHOT;
	bench_settle();
	bpf_tail_call(ctx, &bench_target, 0);
	return TC_ACT_SHOT;
}

/* What bench_repeat costs without the program under test. */
SEC("tc")
int bench_pass(struct __sk_buff *ctx)
{
	if (!bench_refill(ctx))
		return TC_ACT_SHOT;
	bench_settle();
	return TC_ACT_UNSPEC;
}

static __always_inline __u16 bench_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

enum { BENCH_ETHERTYPE_V4 = 0x0008 }; /* as a little-endian machine reads it */

/*
 * The same with a client never seen before: @serial becomes the low 24 bits of 10.0.0.0/8 (or the
 * low 32 of the IPv6 source) and the port, and two fields that no lookup reads take the opposite,
 * so that the frame's checksums stay right.
 */
static __always_inline int bench_refill_new(struct __sk_buff *ctx)
{
	__u64 serial = bench_serial;
	void *data, *data_end;
	__u16 port, high, low;

	if (!bench_refill(ctx))
		return -1;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (data + BENCH_HEADER_SIZE > data_end)
		return -1;
	port = (__u16)serial;
	high = (__u16)(serial >> 24 & 0xff00) | 10; /* first the byte 10, then the highest */
	low = (__u16)(serial >> 16);
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
	bench_settle();
	return 0;
}

SEC("tc")
int bench_new(struct __sk_buff *ctx)
{
	if (bench_refill_new(ctx))
		return TC_ACT_SHOT;
	bpf_tail_call(ctx, &bench_target, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int bench_new_pass(struct __sk_buff *ctx)
{
	return bench_refill_new(ctx) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
