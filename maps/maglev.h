/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The point of a flow in a Maglev table: a hash that no node seeds, so that any node that has the
 * same table (control/plan/maglev.h) gives a flow the same backend, whichever of them its packets
 * reach (Eisenbud et al., Maglev, NSDI 2016, section 3.4).
 */
#pragma once

#include "flow.h"

SL_ABI_BEGIN

static inline __attribute__((always_inline)) __u64 maglev_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* By both ends and the protocol. */
static inline __attribute__((always_inline)) __u32 maglev_point(const struct flow *flow)
{
	const __u64 *words = (const __u64 *)(const void *)flow;
	__u64 hash = 0;

	hash = maglev_mix(hash, words[0]);
	hash = maglev_mix(hash, words[1]);
	hash = maglev_mix(hash, words[2]);
	hash = maglev_mix(hash, words[3]);
	hash = maglev_mix(hash, words[4]);
	return (__u32)(hash * 0xc4ceb9fe1a85ec53ULL >> 32);
}

/* By the client's address alone. */
static inline __attribute__((always_inline)) __u32 maglev_source_point(const struct addr *client)
{
	const __u64 *words = (const __u64 *)(const void *)client;
	__u64 hash = maglev_mix(maglev_mix(0, words[0]), words[1]);

	return (__u32)(hash * 0xc4ceb9fe1a85ec53ULL >> 32);
}

/* The next point of a flow whose slot was of no use. */
static inline __attribute__((always_inline)) __u32 maglev_next_point(__u32 point)
{
	__u64 hash = maglev_mix(~0ULL, point);

	return (__u32)(hash * 0xc4ceb9fe1a85ec53ULL >> 32);
}

/* The slot, below @size, that a point falls on. */
static inline __attribute__((always_inline)) __u32 maglev_slot(__u32 point, __u32 size)
{
	return (__u32)((__u64)point * size >> 32);
}

SL_ABI_END
