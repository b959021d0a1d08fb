/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which clients may have an established flow (sl_clients): what opens a flow is asked about here,
 * in a table of a MiB, before it is looked for in sl_flows, most of which is in nobody's cache. Of
 * a client two bits of a word are set; if one is clear, sl_flows has no row of it; if both are set,
 * that says nothing.
 *
 * A flow is remembered under its client's address, port and protocol. With SL_FLOW_SNAT answers
 * come to a port of the node's, and it is remembered under their tuple as well. Programs set bits
 * before they write rows. That bits do not stay for ever, a word has two halves, either of which
 * may say that a client is known: programs set bits in one (node_config.clients_half), the agent
 * adds those of the rows that its sweep finds, and then clears the other and has programs go on
 * there (control/gc/client_marks.h).
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

enum {
	SL_CLIENT_FLOW_ROWS = 4, /* rows of sl_flows that there is a word for */
	/* The hash's bits below say which bits, those above which word. */
	SL_CLIENT_INDEX_SHIFT = 10,
};

struct client_word {
	__u32 half[2];
};
SL_ABI_SIZE(client_word, 8);

/*
 * The hash of one end of a flow, by which sl_opening and sl_clients find it: of its address, port
 * (network order) and protocol. Never 0, which marks a free place in sl_opening. @seed:
 * node_config.hash_seed. Mixes as MurmurHash3's finalizer does.
 */
static inline __attribute__((always_inline)) __u32
client_hash(const struct addr *address, __be16 port, __u32 protocol, __u32 seed)
{
	const __u64 *words = (const __u64 *)(const void *)address;
	__u64 hash = (words[0] ^ seed) * 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ hash >> 32 ^ words[1]) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33 ^ port ^ (__u64)protocol << 16) * 0xc4ceb9fe1a85ec53ULL;
	hash ^= hash >> 33;
	return (__u32)hash ? (__u32)hash : 1;
}

/* The hash of a tuple of answers, whose destination has the hash @to. */
static inline __attribute__((always_inline)) __u32
client_answer_hash(__u32 to, const struct addr *from, __be16 port, __u32 protocol)
{
	return client_hash(from, port, protocol, to);
}

/* The word of a hash, to be masked by the table's size less one. */
static inline __attribute__((always_inline)) __u32 client_index(__u32 hash)
{
	return hash >> SL_CLIENT_INDEX_SHIFT;
}

/* Both bits of a hash, in a half; now and then they are one. */
static inline __attribute__((always_inline)) __u32 client_bits(__u32 hash)
{
	__u32 other = hash * 0x9e3779b1U >> 27;

	return 1U << (hash & 31) | 1U << other;
}

SL_ABI_END
