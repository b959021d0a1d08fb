/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a socket of this node was translated to (sl_sockets, storage of the socket itself): the way
 * back for getpeername() and recvmsg(). It goes with its socket.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

/* Services that one unconnected socket talks to in turn and gets answers from: a resolver has
 * three name servers at most. */
enum { SL_SOCKET_PEERS = 4 };

/* Ports in network order. */
struct socket_peer {
	struct addr service; /* all-zero: free */
	struct addr backend;
	__be16 service_port;
	__be16 backend_port;
	__u32 service_id;
	__u32 backend_id;
	__u32 backend_generation;
};
SL_ABI_SIZE(socket_peer, 48);

struct socket_peers {
	struct socket_peer peers[SL_SOCKET_PEERS];
	__u32 next; /* the place that is taken next; modulo SL_SOCKET_PEERS */
	__u32 pad;
};
SL_ABI_SIZE(socket_peers, 200);

SL_ABI_END
