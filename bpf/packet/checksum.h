/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum (RFC 1071), and how it changes with what it is of (RFC 1624). */
#pragma once

#include <stdbool.h>

#include <linux/types.h>
#include <bpf/bpf_endian.h>

#include "maps/abi.h"

/* Ones' complement arithmetic on 32-bit words, in 64 bits (RFC 1624). */
static __always_inline __u64 checksum_add(__u64 diff, __u32 old, __u32 new)
{
	return diff + (__u32)~old + new;
}

static __always_inline __u32 checksum_fold32(__u64 diff)
{
	diff = (diff & 0xffffffff) + (diff >> 32);
	diff = (diff & 0xffffffff) + (diff >> 32);
	return (__u32)diff;
}

static __always_inline __u16 checksum_fold16(__u64 sum)
{
	sum = checksum_fold32(sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* The checksum @check of words that have changed by @diff. */
static __always_inline __u16 checksum_update(__u16 check, __u64 diff)
{
	return ~checksum_fold16((__u64)(__u16)~check + checksum_fold32(diff));
}

/* Return: the sum of the pseudo header, of which the addresses are @a and @b in either order. */
static __always_inline __u64 checksum_pseudo(const struct addr *a, const struct addr *b, bool v4,
					     __u32 length, __u32 protocol)
{
	__u64 sum = (__u64)bpf_htonl(length) + bpf_htonl(protocol);

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (!v4 || i == 3)
			sum += (__u64)a->w[i] + b->w[i];
	}
	return sum;
}
