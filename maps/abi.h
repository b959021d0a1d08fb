/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel's programs and user space agree on, compiled by both: clang for BPF (C) and the
 * C++ compiler. Only UAPI integer types. Every struct here and in the other headers of this folder
 * is followed by its size check; DESIGN.md has the rules and says who writes and reads each map.
 */
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#include <cstddef>
#include <type_traits>
#define SL_ABI_BEGIN                                                                               \
	namespace sluice::abi                                                                      \
	{
#define SL_ABI_END }
/* Unique representations rule out implicit padding: a map key's padding is hashed with it. */
#define SL_ABI_SIZE(type, size)                                                                    \
	static_assert(sizeof(type) == (size) && std::is_standard_layout_v<type> &&                 \
			      std::is_trivially_copyable_v<type> &&                                \
			      std::has_unique_object_representations_v<type>,                      \
		      #type ": size changed or implicit padding")
#define SL_ABI_OFFSET(type, field, offset)                                                         \
	static_assert(offsetof(type, field) == (offset), #type "." #field ": moved")
#else
#define SL_ABI_BEGIN
#define SL_ABI_END
#define SL_ABI_SIZE(type, size)                                                                    \
	_Static_assert(sizeof(struct type) == (size), #type ": size changed")
#define SL_ABI_OFFSET(type, field, offset)                                                         \
	_Static_assert(__builtin_offsetof(struct type, field) == (offset),                         \
		       #type "." #field ": moved")
#endif

SL_ABI_BEGIN

/* The layout of everything pinned. Raised when a key or value changes; the pin path carries it. */
enum { SL_ABI_VERSION = 1 };

/*
 * An IPv6 address, or an IPv4 address mapped as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), in network byte
 * order. Aligned to 8 so that keys are filled and compared by 8-byte words.
 */
struct addr {
	__be32 w[4];
} __attribute__((aligned(8)));
SL_ABI_SIZE(addr, 16);

SL_ABI_END
