// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The socket programs, attached to a cgroup: services for the node's own processes. */
#include "core/socket.h"

SEC("cgroup/connect4")
int sl_connect4(sl_call_ctx *ctx)
{
	return socket_connect(ctx, false);
}

SEC("cgroup/connect6")
int sl_connect6(sl_call_ctx *ctx)
{
	return socket_connect(ctx, true);
}

SEC("cgroup/sendmsg4")
int sl_sendmsg4(sl_call_ctx *ctx)
{
	return socket_send(ctx, false);
}

SEC("cgroup/sendmsg6")
int sl_sendmsg6(sl_call_ctx *ctx)
{
	return socket_send(ctx, true);
}

SEC("cgroup/recvmsg4")
int sl_recvmsg4(sl_call_ctx *ctx)
{
	return socket_tell_service(ctx, false);
}

SEC("cgroup/recvmsg6")
int sl_recvmsg6(sl_call_ctx *ctx)
{
	return socket_tell_service(ctx, true);
}

SEC("cgroup/getpeername4")
int sl_getpeer4(sl_call_ctx *ctx)
{
	return socket_tell_service(ctx, false);
}

SEC("cgroup/getpeername6")
int sl_getpeer6(sl_call_ctx *ctx)
{
	return socket_tell_service(ctx, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
