/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What connections carry whose backend was chosen at connect(): read from the kernel's sockets, at
 * the events of a connection and by walks over all of them, and added to what packets are counted
 * in. Each byte is added once, whoever comes first.
 */
#pragma once

#include <stdbool.h>

#include <linux/in.h>

#include "core/select.h"
#include "hook/kernel_socket.h"

/* As far as the socket's counters have been looked at. */
struct connection_look {
	__u64 bytes_in;
	__u64 bytes_out;
	__u32 packets_in;
	__u32 packets_out;
	__u32 retransmissions;
};

static const struct connection_stats connection_none = {};

/*
 * The row of the connection's service, or of its backend, made if there is none. NULL: the map is
 * full, or the backend is gone.
 */
static __noinline struct connection_stats *connection_row(const struct socket_peer *peer,
							  bool of_backend)
{
	struct connection_stats_key key = {};
	struct connection_stats *row;
	struct backend *backend;

	if (of_backend) {
		key.backend_id = peer->backend_id;
		backend = bpf_map_lookup_elem(&sl_backends, &key.backend_id);
		if (!backend_present(backend, peer->backend_generation))
			return NULL;
	} else {
		key.service_id = peer->service_id;
	}
	row = bpf_map_lookup_elem(&sl_conn_stats, &key);
	if (row)
		return row;
	bpf_map_update_elem(&sl_conn_stats, &key, &connection_none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sl_conn_stats, &key);
}

/* Place in a histogram: how many binary digits the time has. */
static __always_inline __u32 connection_bucket(__u64 us)
{
	__u32 digits = 0;

	if (us >> 32)
		us = 0xffffffff;
	if (us >> 16) {
		digits += 16;
		us >>= 16;
	}
	if (us >> 8) {
		digits += 8;
		us >>= 8;
	}
	if (us >> 4) {
		digits += 4;
		us >>= 4;
	}
	if (us >> 2) {
		digits += 2;
		us >>= 2;
	}
	digits += us > 1 ? 2 : us;
	return digits < SL_TIME_BUCKETS ? digits : SL_TIME_BUCKETS - 1;
}

/*
 * What the client has sent and the backend acknowledged, and what has come from it. The kernel's
 * counters take a SYN and a FIN for a byte each. The order of reading is such that a walk that
 * meets the connection's last packets sees too little, which the next look puts right.
 */
static __always_inline void connection_look(struct tcp_sock *tp, struct sock *sk, bool established,
					    struct connection_look *look)
{
	__u64 acked = tp->bytes_acked, received = tp->bytes_received;
	__u32 state = sk->__sk_common.skc_state;
	bool fin_sent = state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2 ||
			state == TCP_STATE_LAST_ACK || state == TCP_STATE_CLOSING;
	__u32 syn_and_fin = established + (fin_sent && tp->snd_una == tp->write_seq);
	__u32 fin = sk->__sk_common.skc_flags >> SOCK_FLAG_DONE & 1;

	look->bytes_in = acked > syn_and_fin ? acked - syn_and_fin : 0;
	look->bytes_out = received > fin ? received - fin : 0;
	look->packets_in = tp->segs_out;
	look->packets_out = tp->segs_in;
	look->retransmissions = tp->total_retrans;
}

/* By how much *counted goes up to @now, which a walk has seen; 0 if somebody else was faster. */
static __always_inline __u64 connection_advance(__u64 *counted, __u64 now)
{
	__u64 before = *(volatile __u64 *)counted;

	if (now <= before || __sync_val_compare_and_swap(counted, before, now) != before)
		return 0;
	return now - before;
}

/* The same of what is counted modulo 2^32: right as long as somebody looks every 2^31. */
static __always_inline __u32 connection_advance32(__u32 *counted, __u32 now)
{
	__u32 before = *(volatile __u32 *)counted;

	if ((__s32)(now - before) <= 0 ||
	    __sync_val_compare_and_swap(counted, before, now) != before)
		return 0;
	return now - before;
}

/* At the end nobody looks after this one: what a walk saw too early is taken back. */
static __always_inline __u64 connection_finish(__u64 *counted, __u64 now)
{
	return now - __sync_lock_test_and_set(counted, now);
}

static __always_inline __u32 connection_finish32(__u32 *counted, __u32 now)
{
	__u32 more = now - __sync_lock_test_and_set(counted, now);

	return (__s32)more < 0 ? 0 : more;
}

/* Adds what is new in @look to the counters of the service. */
static __always_inline void connection_count_service(__u32 service_id,
						     const struct connection_look *look)
{
	struct service_stats *stats = bpf_map_lookup_elem(&sl_svc_stats, &service_id);

	if (!stats)
		return;
	__sync_fetch_and_add(&stats->packets_in, look->packets_in);
	__sync_fetch_and_add(&stats->bytes_in, look->bytes_in);
	__sync_fetch_and_add(&stats->packets_out, look->packets_out);
	__sync_fetch_and_add(&stats->bytes_out, look->bytes_out);
}

static __always_inline void connection_count_row(struct connection_stats *row,
						 const struct connection_look *look)
{
	__sync_fetch_and_add(&row->bytes_in, look->bytes_in);
	__sync_fetch_and_add(&row->bytes_out, look->bytes_out);
	if (look->retransmissions)
		__sync_fetch_and_add(&row->retransmissions, look->retransmissions);
}

/* The backend has not answered the first SYN in time, or has refused: once a connection. */
static __noinline int connection_unanswered(struct connection *connection)
{
	__u32 service_id = connection->peer.service_id, backend_id = connection->peer.backend_id;
	struct service_stats *stats;
	struct backend_stats *counts;
	struct backend *backend;

	if (connection->silent)
		return 0;
	connection->silent = 1;
	stats = bpf_map_lookup_elem(&sl_svc_stats, &service_id);
	if (stats)
		__sync_fetch_and_add(&stats->failed, 1);
	backend = bpf_map_lookup_elem(&sl_backends, &backend_id);
	counts = bpf_map_lookup_elem(&sl_be_stats, &backend_id);
	if (counts && backend && backend->generation == connection->peer.backend_generation)
		__sync_fetch_and_add(&counts->failed, 1);
	return 0;
}

/*
 * Counts an open connection, unless somebody has: at its start, or, if its backend's were not
 * counted then, by a walk. One that has ended meanwhile is taken off again, by who finds it marked.
 */
static __always_inline void connection_load(struct connection *connection,
					    const struct socket_peer *peer)
{
	/* Not marked before: an end in between would take off what is then not counted. */
	if (connection->loaded || !load_is_counted(peer->backend_id, peer->backend_generation) ||
	    __sync_val_compare_and_swap(&connection->loaded, 0, 1))
		return;
	if (!load_add(peer->backend_id, peer->backend_generation, LOAD_SOCKET, 1))
		connection->loaded = 0;
	else if (*(volatile __u32 *)&connection->phase == SL_CONNECTION_ENDED &&
		 __sync_val_compare_and_swap(&connection->loaded, 1, 0))
		load_add(peer->backend_id, peer->backend_generation, LOAD_SOCKET, -1);
}

static __noinline int connection_established(struct connection *connection, __u64 now_ns)
{
	__u64 us = (now_ns - connection->started_ns) / 1000;
	__u32 bucket = connection_bucket(us);

	connection->phase = SL_CONNECTION_ESTABLISHED;
	for (int i = 0; i < 2; i++) {
		struct connection_stats *row = connection_row(&connection->peer, i);

		if (!row)
			continue;
		__sync_fetch_and_add(&row->established, 1);
		__sync_fetch_and_add(&row->connect_us, us);
		if (bucket < SL_TIME_BUCKETS)
			__sync_fetch_and_add(&row->connect_times[bucket], 1);
	}
	return 0;
}

/* @state: enum tcp_state, the last before the end. */
static __noinline int connection_ended(struct connection *connection, struct tcp_sock *tp,
				       __u32 state)
{
	bool established = connection->phase == SL_CONNECTION_ESTABLISHED;
	bool closed = state == TCP_STATE_FIN_WAIT2 || state == TCP_STATE_LAST_ACK ||
		      state == TCP_STATE_CLOSING || state == TCP_STATE_TIME_WAIT;
	struct connection_look look;
	__u32 bucket;

	connection->phase = SL_CONNECTION_ENDED;
	if (__sync_lock_test_and_set(&connection->loaded, 0))
		load_add(connection->peer.backend_id, connection->peer.backend_generation,
			 LOAD_SOCKET, -1);
	if (!established)
		connection_unanswered(connection);
	connection_look(tp, (struct sock *)tp, established, &look);
	bucket = connection_bucket(tp->srtt_us >> 3);
	look.bytes_in = connection_finish(&connection->bytes_in, look.bytes_in);
	look.bytes_out = connection_finish(&connection->bytes_out, look.bytes_out);
	look.packets_in = connection_finish32(&connection->packets_in, look.packets_in);
	look.packets_out = connection_finish32(&connection->packets_out, look.packets_out);
	look.retransmissions =
		connection_finish32(&connection->retransmissions, look.retransmissions);
	connection_count_service(connection->peer.service_id, &look);
	for (int i = 0; i < 2; i++) {
		struct connection_stats *row = connection_row(&connection->peer, i);

		if (!row)
			continue;
		connection_count_row(row, &look);
		if (!established) {
			__sync_fetch_and_add(&row->failed, 1);
			continue;
		}
		__sync_fetch_and_add(closed ? &row->closed : &row->reset, 1);
		if (bucket < SL_TIME_BUCKETS)
			__sync_fetch_and_add(&row->rtt_times[bucket], 1);
	}
	return 0;
}

/* An event of a TCP socket in a cgroup. */
static __always_inline void connection_event(struct bpf_sock_ops *ctx)
{
	struct connection *connection;
	struct bpf_sock *sk;
	struct tcp_sock *tp;

	/* Listeners' connections and those of no service end here, or at the lookup. */
	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB &&
	    ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_RTO_CB &&
	    ctx->op != BPF_SOCK_OPS_STATE_CB)
		return;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] != TCP_STATE_CLOSE)
		return;
	sk = ctx->sk;
	if (!sk)
		return;
	connection = bpf_sk_storage_get(&sl_conns, sk, 0, 0);
	if (!connection || connection->phase == SL_CONNECTION_ENDED)
		return;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connection->phase = SL_CONNECTION_OPENING;
		connection->started_ns = bpf_ktime_get_ns();
		connection_load(connection, &connection->peer);
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_STATE_CB_FLAG |
						       BPF_SOCK_OPS_RTO_CB_FLAG);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB: /* both ends have sent a SYN */
		if (connection->phase == SL_CONNECTION_OPENING)
			connection_established(connection, bpf_ktime_get_ns());
		break;
	case BPF_SOCK_OPS_RTO_CB:
		if (connection->phase == SL_CONNECTION_OPENING)
			connection_unanswered(connection);
		break;
	default:
		if (connection->phase == SL_CONNECTION_CHOSEN)
			return;
		tp = (void *)bpf_skc_to_tcp_sock(sk);
		if (tp)
			connection_ended(connection, tp, ctx->args[0]);
	}
}

/*
 * Tells of a socket that has lost its backend. The walk holds no reference to a socket: its memory
 * may become another's at any moment, so what is told is what was read before the row was found
 * unchanged by who calls. One whose lock a process holds is left for the next walk: whoever ended
 * it would wait for that process, which may be asleep in a page fault.
 */
static __always_inline bool lost_socket_read(struct sock *sk, const struct socket_peer *peer,
					     __u32 protocol, struct lost_socket *lost)
{
	struct sock_common *common = &sk->__sk_common;

	__builtin_memset(lost, 0, sizeof(*lost));
	lost->local_port = bpf_htons(common->skc_num);
	lost->remote_port = common->skc_dport;
	lost->family = common->skc_family;
	lost->protocol = protocol;
	lost->device = common->skc_bound_dev_if;
	lost->netns = common->skc_net.net->net_cookie;
	lost->service_id = peer->service_id;
	lost->backend_id = peer->backend_id;
	lost->cookie = bpf_get_socket_cookie(sk);
	if (lost->family == KERNEL_AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr)) {
		bpf_core_read(&lost->local, sizeof(lost->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(&lost->remote, sizeof(lost->remote), &common->skc_v6_daddr);
	} else {
		lost->local.w[2] = lost->remote.w[2] = bpf_htonl(0xffff);
		lost->local.w[3] = common->skc_rcv_saddr;
		lost->remote.w[3] = common->skc_daddr;
	}
	return lost->remote_port == peer->backend_port &&
	       same_address(&lost->remote, &peer->backend) && !sk->sk_lock.owned;
}

static __always_inline bool lost_backend(const struct socket_peer *peer)
{
	__u32 id = peer->backend_id;

	return id &&
	       !backend_present(bpf_map_lookup_elem(&sl_backends, &id), peer->backend_generation);
}

/* Adds what @look has seen of an open connection and nobody has counted. */
static __always_inline void connection_walked(struct connection *connection,
					      const struct socket_peer *peer,
					      struct connection_look *look)
{
	struct connection_stats *row;

	look->bytes_in = connection_advance(&connection->bytes_in, look->bytes_in);
	look->bytes_out = connection_advance(&connection->bytes_out, look->bytes_out);
	look->packets_in = connection_advance32(&connection->packets_in, look->packets_in);
	look->packets_out = connection_advance32(&connection->packets_out, look->packets_out);
	look->retransmissions =
		connection_advance32(&connection->retransmissions, look->retransmissions);
	if (!(look->packets_in | look->packets_out | look->bytes_in | look->bytes_out))
		return;
	connection_count_service(peer->service_id, look);
	for (int i = 0; i < 2; i++) {
		row = connection_row(peer, i);
		if (row)
			connection_count_row(row, look);
	}
}

/* One TCP connection of a walk: counts what it has carried, tells it if its backend is gone. */
static __always_inline void connection_walk(struct seq_file *seq, struct sock *sk,
					    struct connection *connection)
{
	struct connection_look look;
	struct lost_socket lost;
	struct socket_peer peer;
	struct tcp_sock *tp;

	if (!sk || !connection)
		return;
	tp = (void *)bpf_skc_to_tcp_sock(sk);
	if (!tp || connection->phase == SL_CONNECTION_CHOSEN ||
	    connection->phase == SL_CONNECTION_ENDED)
		return;
	peer = connection->peer;
	connection_load(connection, &peer);
	if (connection->phase == SL_CONNECTION_ESTABLISHED) {
		connection_look(tp, sk, true, &look);
		if (*(volatile __u32 *)&connection->phase == SL_CONNECTION_ESTABLISHED)
			connection_walked(connection, &peer, &look);
	}
	if (lost_backend(&peer) && lost_socket_read(sk, &peer, IPPROTO_TCP, &lost) &&
	    *(volatile __u32 *)&connection->phase != SL_CONNECTION_ENDED)
		bpf_seq_write(seq, &lost, sizeof(lost));
}

/* The same of one UDP socket: only of those that are connected, the others choose again. */
static __always_inline void peers_walk(struct seq_file *seq, struct sock *sk,
				       const struct socket_peers *peers)
{
	struct lost_socket lost;
	struct socket_peer peer;

	if (!sk || !peers || sk->__sk_common.skc_state != TCP_STATE_ESTABLISHED)
		return;
	peer = peers->peers[0];
	if (lost_backend(&peer) && lost_socket_read(sk, &peer, IPPROTO_UDP, &lost))
		bpf_seq_write(seq, &lost, sizeof(lost));
}

/*
 * Both, of one file that a process has open; a socket that several have is met as often, and
 * nothing of it counted twice.
 */
static __always_inline void file_walk(struct bpf_iter__task_file *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct connection *connection;
	struct file *file = ctx->file;
	struct socket_peers *peers;
	struct socket *socket;

	if (!file)
		return;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return;
	connection = bpf_sk_storage_get(&sl_conns, socket->sk, 0, 0);
	if (connection)
		connection_walk(seq, socket->sk, connection);
	peers = bpf_sk_storage_get(&sl_sockets, socket->sk, 0, 0);
	if (peers)
		peers_walk(seq, socket->sk, peers);
}
