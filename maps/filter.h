/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which addresses and ports may matter at all (sl_filter): one bit for each frontend and each
 * backend, found by a hash, and possibly shared. A packet whose bit is clear is no service's, and
 * is let go after one array read instead of two hash lookups.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

enum {
	SL_FILTER_BITS_LOG2 = 21,
	SL_FILTER_WORDS = 1 << (SL_FILTER_BITS_LOG2 - 6),
	/* Added to the protocol of a backend: packets to it are not looked up for being from it. */
	SL_FILTER_BACKEND = 1 << 8,
	/* In place of a protocol, with no port: the address is one that SNAT takes. */
	SL_FILTER_SNAT = 1 << 9,
};

struct filter_word {
	__u64 bits;
};
SL_ABI_SIZE(filter_word, 8);

/*
 * The bit of an address, port (network order) and protocol, which for a backend has
 * SL_FILTER_BACKEND added. The address is mixed first, so that who
 * asks about it with two ports does that once.
 */
static inline __attribute__((always_inline)) __u32 filter_bit(const struct addr *address,
							      __be16 port, __u32 protocol)
{
	const __u64 *words = (const __u64 *)(const void *)address;
	__u64 hash = (words[0] * 0x9e3779b97f4a7c15ULL ^ words[1]) * 0xff51afd7ed558ccdULL;

	hash = (hash ^ hash >> 32 ^ (__u64)protocol << 16 ^ port) * 0xc4ceb9fe1a85ec53ULL;
	return (__u32)(hash >> (64 - SL_FILTER_BITS_LOG2));
}

SL_ABI_END
