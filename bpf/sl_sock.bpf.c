// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The socket programs, attached to a cgroup, and the walks over the sockets that they know. */
#include "hook/ctx_tc.h"

#include "core/connection.h"
#include "core/socket.h"
#include "packet/packet.h"

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

SEC("sockops")
int sl_sockops(struct bpf_sock_ops *ctx)
{
	connection_event(ctx);
	return 1;
}

SEC("iter/bpf_sk_storage_map")
int sl_walk_tcp(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	if (ctx->value)
		connection_walk(ctx->meta->seq, ctx->sk, ctx->value);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int sl_walk_udp(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	if (ctx->value)
		peers_walk(ctx->meta->seq, ctx->sk, ctx->value);
	return 0;
}

SEC("iter/task_file")
int sl_walk_files(struct bpf_iter__task_file *ctx)
{
	file_walk(ctx);
	return 0;
}

/*
 * What the programs above would do with a call, asked with a packet as the other hooks are: the
 * kernel test-runs no program of a socket. Attached nowhere.
 */
SEC("tc")
int sl_trace_host(sl_ctx *ctx)
{
	struct socket_target target = { .traced = 1, .netns = sl_node_netns };
	__u32 verdict = SL_VERDICT_NONE;
	struct socket_peer peer = {};
	struct packet p;
	int chosen;

	p.hook = 0;
	p.flags = PACKET_TRACED;
	if (!ctx_traced(ctx) || packet_parse(ctx, &p) != PACKET_FLOW ||
	    p.flow.key.protocol == IPPROTO_SCTP)
		return CTX_NEXT;
	target.address = p.flow.key.destination;
	target.port = p.flow.key.destination_port;
	target.protocol = p.flow.key.protocol;
	target.family = p.family;
	chosen = socket_choose(&target, &peer);
	if (chosen > 0) {
		packet_clear_decision(&p);
		p.flow.entry.new_source = p.flow.key.source;
		p.flow.entry.new_source_port = p.flow.key.source_port;
		p.flow.entry.new_destination = peer.backend;
		p.flow.entry.new_destination_port = peer.backend_port;
		verdict = SL_VERDICT_FORWARD;
		if (packet_rewrite(ctx, &p, &p.flow.entry))
			target.reason = SL_REASON_REWRITE_FAILED;
	} else if (chosen < 0) {
		verdict = socket_rejects(target.reason) ? SL_VERDICT_REJECT : SL_VERDICT_DROP;
	}
	ctx_answer(ctx, target.service_id, target.reason, verdict, target.frontend);
	return CTX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
