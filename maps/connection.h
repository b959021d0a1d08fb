/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP connections whose backend was chosen at connect(): no program sees their packets, so what
 * they carry is read from the kernel's sockets. What is kept in a socket (sl_conns), what it adds
 * up to (sl_conn_stats), and what a walk over the sockets tells of those that lost their backend.
 */
#pragma once

#include "abi.h"
#include "socket.h"

SL_ABI_BEGIN

enum connection_phase {
	SL_CONNECTION_CHOSEN = 0,  /* nothing sent yet */
	SL_CONNECTION_OPENING = 1, /* SYN sent */
	SL_CONNECTION_ESTABLISHED = 2,
	SL_CONNECTION_ENDED = 3,
};

/* Storage of the socket itself. What it counts is how much of the socket's own counters has been
 * added to the service's, and never goes back. */
struct connection {
	struct socket_peer peer;
	__u64 started_ns; /* when the SYN was sent, monotonic clock */
	__u64 bytes_in;	  /* payload that the backend has acknowledged */
	__u64 bytes_out;  /* payload received in order */
	__u32 packets_in; /* modulo 2^32, as the kernel counts segments */
	__u32 packets_out;
	__u32 retransmissions;
	__u32 phase;  /* enum connection_phase */
	__u32 silent; /* 1: counted as failed, since its SYN had no answer in time */
	__u32 loaded; /* 1: counted in sl_loads */
};
SL_ABI_SIZE(connection, 96);

/* A service's row has backend_id 0, a backend's service_id 0. */
struct connection_stats_key {
	__u32 service_id;
	__u32 backend_id;
};
SL_ABI_SIZE(connection_stats_key, 8);

/* Place i of a histogram counts times below 2^i microseconds and not below half of that; the last
 * one whatever is longer: a SYN is given up after 127 s. */
enum { SL_TIME_BUCKETS = 28 };

/*
 * Added to atomically, by the events of a connection and by walks. The row is made by the first
 * connection, and deleted when its id is given out again.
 */
struct connection_stats {
	__u64 established;
	__u64 failed; /* never established: refused, or no answer until the process gave up */
	__u64 closed; /* in good order: a FIN each way, or the client's acknowledged */
	__u64 reset;  /* established and ended in any other way: by an RST, a timeout, a removal */
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 retransmissions;
	__u64 connect_us;		      /* sum of the times below */
	__u64 connect_times[SL_TIME_BUCKETS]; /* from SYN to SYN-ACK, of each established one */
	__u64 rtt_times[SL_TIME_BUCKETS];     /* smoothed round trip, at the end of each of them */
};
SL_ABI_SIZE(connection_stats, 512);

/* A socket whose backend is gone, with what the kernel wants to know to end it. */
struct lost_socket {
	struct addr local; /* IPv4 as mapped, also of IPv4 sockets */
	struct addr remote;
	__be16 local_port;
	__be16 remote_port;
	__u32 family; /* AF_INET or AF_INET6, of the socket */
	__u32 protocol;
	__u32 device; /* index of the interface that it is bound to; 0: none */
	__u64 cookie;
	__u64 netns; /* cookie of its network namespace */
	__u32 service_id;
	__u32 backend_id;
};
SL_ABI_SIZE(lost_socket, 72);

SL_ABI_END
