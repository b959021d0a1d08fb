/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which source ports are taken towards a destination (sl_snat_ports): a bit a port, so that a free
 * one is found in a range that is almost full. A hint, no more: whose a port is say sl_flows and
 * sl_opening. Programs set bits, and the agent clears those of flows that are over.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

enum {
	SL_SNAT_TABLES = 1024,
	SL_SNAT_WORDS = 512,
	SL_SNAT_PORTS = SL_SNAT_WORDS * 64, /* the widest range of ports */
	SL_SNAT_BLOCK_WORDS = 8,	    /* a cache line */
};

/* Destinations whose hashes are equal share a table, and find fewer free ports in it. */
struct snat_ports {
	__u64 touched; /* not 0: a bit has been set since the agent last looked */
	__u64 pad[7];
	__u64 full[SL_SNAT_WORDS / 64]; /* bit n: used[n] had no free port when last looked at */
	__u64 used[SL_SNAT_WORDS];	/* bit n of word m: port 64 * m + n of the range */
};
SL_ABI_SIZE(snat_ports, 4224);
SL_ABI_OFFSET(snat_ports, used, 128);

/* The table for ports of @source towards @destination and @port (network order). */
static inline __attribute__((always_inline)) __u32
snat_table(const struct addr *source, const struct addr *destination, __be16 port, __u32 protocol)
{
	const __u64 *from = (const __u64 *)(const void *)source;
	const __u64 *to = (const __u64 *)(const void *)destination;
	__u64 hash = (from[0] ^ to[0]) * 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ hash >> 32 ^ to[1]) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33 ^ from[1] ^ (__u64)protocol << 16 ^ port) * 0xc4ceb9fe1a85ec53ULL;
	return (__u32)(hash >> 54);
}

SL_ABI_END
