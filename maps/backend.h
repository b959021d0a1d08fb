/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Backends: what one service makes of an endpoint's address, port and protocol (sl_backends), and
 * its counters (sl_be_stats). Services that select the same endpoint have a row each: an endpoint
 * may leave one of them and stay with the other.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

enum sl_backend_flag {
	SL_BACKEND_PRESENT = 1 << 0, /* the endpoint exists: flows that it has may go on */
	SL_BACKEND_USABLE = 1 << 1,  /* the service gives it new flows */
	SL_BACKEND_LOCAL = 1 << 2,   /* on this node */
	/* The service is gone, or the endpoint has left it, but another service still has the
	 * endpoint: TCP connections go on. */
	SL_BACKEND_ORPHAN = 1 << 3,
	SL_BACKEND_COUNTED = 1 << 4, /* its live connections are counted in sl_loads */
};

/*
 * Index: backend id. An id that is freed keeps its generation with flags 0, and gets the next
 * generation when it is given to another endpoint: a flow whose generation differs has lost its
 * backend.
 */
struct backend {
	struct addr address;
	__be16 port; /* network order */
	__u8 flags;  /* enum sl_backend_flag */
	__u8 protocol;
	__u32 generation;
	__u32 service_id;
	__u32 node; /* index in sl_nodes; 0: not known, or this node */
};
SL_ABI_SIZE(backend, 32);

/* Index: backend id; added to atomically, once a flow. Set to zero when the id is given out. */
struct backend_stats {
	__u64 opened;
	__u64 failed; /* SYN without an answer until the client sent another */
};
SL_ABI_SIZE(backend_stats, 16);

/*
 * Index: backend id. Live connections of a backend with SL_BACKEND_COUNTED: by packet, those in
 * sl_flows and sl_opening, whose drift the agent's sweep takes away; and of sockets, exact but for
 * those opened before the counting, which a walk adds. Signed: a count that is behind may be below
 * zero for a while.
 */
struct backend_load {
	__s32 flows;
	__s32 sockets;
};
SL_ABI_SIZE(backend_load, 8);

/* Index: slot. A slot is a backend id; 0 is never inside a published range. */
struct slot {
	__u32 backend_id;
};
SL_ABI_SIZE(slot, 4);

struct affinity_key {
	__u32 service_id;
	__u32 pad;
	struct addr client;
};
SL_ABI_SIZE(affinity_key, 24);

struct affinity {
	__u32 backend_id;
	__u32 backend_generation;
	__u32 last_used; /* ticks, see SL_TICK_SHIFT */
	__u32 pad;
};
SL_ABI_SIZE(affinity, 16);

SL_ABI_END
