/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a client may have an established flow at all: one word of sl_clients (maps/client.h). */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "maps.h"

static __always_inline struct client_word *client_word(__u32 hash)
{
	__u32 index = client_index(hash) & sl_clients_mask;

	return bpf_map_lookup_elem(&sl_clients, &index);
}

/*
 * Has the word come from memory while other things are done: a processor goes on past a load that
 * nothing waits for. (BPF has no prefetch.)
 */
static __always_inline void client_ask(const struct client_word *word)
{
	__u32 unused = *(const volatile __u32 *)word;

	asm volatile("" : : "r"(unused));
}

/* May sl_flows have a row of a flow that is remembered under @hash, of which @word is? */
static __always_inline bool client_is_in(const struct client_word *word, __u32 hash)
{
	__u32 bits = client_bits(hash);
	__u64 halves;

	if (!word)
		return true;
	/* At once: what goes from one half to the other meanwhile is in one of them. */
	halves = *(const volatile __u64 *)word;
	return !(bits & ~(__u32)halves) || !(bits & ~(__u32)(halves >> 32));
}

/* The same. One array read. */
static __always_inline bool client_is_known(__u32 hash)
{
	return client_is_in(client_word(hash), hash);
}

/*
 * The same, read after @seen, which was read from memory before: the address is made to depend on
 * it, so that no processor turns the two around (x86 does not anyway; a load fence BPF has since
 * 6.15).
 */
static __always_inline bool client_is_in_after(const struct client_word *word, __u32 hash,
					       __u32 seen)
{
	asm volatile("%[seen] &= 0" : [seen] "+r"(seen));
	return client_is_in((const struct client_word *)((const char *)word + seen), hash);
}

/*
 * Before a row is written. Who finds the row finds the bits: a row is published by releasing its
 * bucket's lock; so does who finds that the flow's place in sl_opening is free again, which is
 * behind another lock.
 */
static __always_inline void client_mark(__u32 hash, __u32 half)
{
	struct client_word *word = client_word(hash);

	if (word)
		__sync_fetch_and_or(&word->half[half & 1], client_bits(hash));
}
