/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The address of a socket call (struct bpf_sock_addr), of both families, as the core's struct addr.
 */
#pragma once

#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps/abi.h"

typedef struct bpf_sock_addr sl_call_ctx;

/* What every program of this type may return. */
enum { CALL_REFUSE = 0, CALL_PROCEED = 1 };

/* Families are those of the call: an IPv6 socket may have a mapped IPv4 address. */
static __always_inline void call_address(const sl_call_ctx *ctx, bool v6, struct addr *address)
{
	if (v6) {
		address->w[0] = ctx->user_ip6[0];
		address->w[1] = ctx->user_ip6[1];
		address->w[2] = ctx->user_ip6[2];
		address->w[3] = ctx->user_ip6[3];
	} else {
		address->w[0] = 0;
		address->w[1] = 0;
		address->w[2] = bpf_htonl(0xffff);
		address->w[3] = ctx->user_ip4;
	}
}

static __always_inline __be16 call_port(const sl_call_ctx *ctx)
{
	return (__be16)ctx->user_port;
}

static __always_inline void call_set(sl_call_ctx *ctx, bool v6, const struct addr *address,
				     __be16 port)
{
	if (v6) {
		ctx->user_ip6[0] = address->w[0];
		ctx->user_ip6[1] = address->w[1];
		ctx->user_ip6[2] = address->w[2];
		ctx->user_ip6[3] = address->w[3];
	} else {
		ctx->user_ip4 = address->w[3];
	}
	ctx->user_port = port;
}
