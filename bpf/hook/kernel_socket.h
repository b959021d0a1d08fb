/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fields of the kernel's own sockets that are read here. Offsets are found by name when the
 * object is loaded (BTF); order and neighbours are the kernel's business.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "maps/abi.h"

enum { KERNEL_AF_INET = 2, KERNEL_AF_INET6 = 10 };

/* include/net/tcp_states.h */
enum tcp_state {
	TCP_STATE_ESTABLISHED = 1,
	TCP_STATE_SYN_SENT = 2,
	TCP_STATE_FIN_WAIT1 = 4,
	TCP_STATE_FIN_WAIT2 = 5,
	TCP_STATE_TIME_WAIT = 6,
	TCP_STATE_CLOSE = 7,
	TCP_STATE_LAST_ACK = 9,
	TCP_STATE_CLOSING = 11,
};

/* include/net/sock.h, enum sock_flags: a bit of skc_flags that is set when a FIN has come. */
enum { SOCK_FLAG_DONE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

/* What follows three underscores is no part of the kernel's name. */
struct in6_addr___sl {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr___sl skc_v6_daddr;
	struct in6_addr___sl skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

/* socket_lock_t has no tag, and is found as a type by its name. */
typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
};

struct tcp_sock {
	__u64 bytes_acked;
	__u64 bytes_received;
	__u32 segs_in;
	__u32 segs_out;
	__u32 total_retrans;
	__u32 srtt_us; /* times 8 */
	__u32 snd_una;
	__u32 write_seq;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

/* A walk over the sockets that have a row in a map of socket storage. */
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct socket {
	struct sock *sk;
};

struct file;
struct task_struct;

/* A walk over the files that processes have open. */
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop
