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

/* May sl_flows have a row of a flow that is remembered under @hash? One array read. */
static __always_inline bool client_is_known(__u32 hash)
{
	const struct client_word *word = client_word(hash);

	return !word || !(client_bits(hash) & ~*(const volatile __u64 *)&word->bits);
}

/*
 * The same, read after @seen, which was read from memory before: the index is made to depend on it,
 * so that no processor turns the two around (x86 does not anyway; a load fence BPF has since 6.15).
 */
static __always_inline bool client_is_known_after(__u32 hash, __u32 seen)
{
	asm volatile("%[seen] &= 0" : [seen] "+r"(seen));
	return client_is_known(hash + (seen << SL_CLIENT_INDEX_SHIFT));
}

/* Before a row is written. Both are whole barriers: who finds the row finds the bits. */
static __always_inline void client_mark(__u32 hash)
{
	struct client_word *word = client_word(hash);

	if (!word)
		return;
	__sync_fetch_and_add(&word->bits, 1ULL << SL_CLIENT_BITS);
	__sync_fetch_and_or(&word->bits, client_bits(hash));
}
