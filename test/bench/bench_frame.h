/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the benchmark's program and what it has in the kernel agree on. */
#pragma once

#include <linux/types.h>

enum {
	BENCH_MAX_FLOWS = 100000,
	/* One for the program under test, one for the floor where it runs on other frames. */
	BENCH_FRAME_SETS = 2,
	/* Ethernet, IPv6 and TCP are 74 bytes. */
	BENCH_HEADER_SIZE = 80,
	BENCH_FRAME_SIZE = 128,
};

/* One cache line pair a flow; only the headers are read. */
struct bench_frame {
	__u64 words[BENCH_FRAME_SIZE / 8];
};

/* How many map helpers were called: counted_calls.h. */
struct counted_calls {
	__u64 hash_lookups;
	__u64 array_reads;
	__u64 updates;
	__u64 deletes;
};

/* A frame that has arrived at the far end: frames_end.bpf.c. */
struct frames_kept {
	__u32 length;
	__u8 bytes[188];
};
