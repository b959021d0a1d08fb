/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a packet can be a service's at all: asked before any hash lookup. */
#pragma once

#include <stdbool.h>

#include "maps.h"

/* May it be a frontend, or with SL_FILTER_BACKEND in @protocol a backend? One array read. */
static __always_inline bool filter_has(const struct addr *address, __be16 port, __u32 protocol)
{
	__u32 bit = filter_bit(address, port, protocol), index = bit >> 6;
	struct filter_word *word = bpf_map_lookup_elem(&sl_filter, &index);

	return word && word->bits >> (bit & 63) & 1;
}
