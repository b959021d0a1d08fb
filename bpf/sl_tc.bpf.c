// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The TC programs: what is attached where is in DESIGN.md. */
#include "hook/ctx_tc.h"

#include "core/forward.h"

SEC("tc")
int sl_from_pod(sl_ctx *ctx)
{
	return forward_ingress(ctx, SL_HOOK_FROM_POD);
}

SEC("tc")
int sl_to_pod(sl_ctx *ctx)
{
	return forward_egress(ctx, SL_HOOK_TO_POD);
}

SEC("tc")
int sl_from_net(sl_ctx *ctx)
{
	return forward_ingress(ctx, SL_HOOK_FROM_NET);
}

SEC("tc")
int sl_to_net(sl_ctx *ctx)
{
	return forward_egress(ctx, SL_HOOK_TO_NET);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
