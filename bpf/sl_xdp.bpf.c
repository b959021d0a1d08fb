// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The XDP program: what is attached where is in DESIGN.md. */
#include "hook/ctx_xdp.h"

#include "core/early.h"

SEC("xdp")
int sl_xdp(sl_ctx *ctx)
{
	return early_ingress(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
