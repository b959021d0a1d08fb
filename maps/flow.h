/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows: the key of conntrack, the row of an established flow (sl_flows) and the bucket of flows
 * that are only being opened (sl_opening).
 */
#pragma once

#include <linux/bpf.h>

#include "abi.h"

SL_ABI_BEGIN

/* One direction of a flow as it is on the wire at the hook that looks it up. */
struct flow {
	struct addr source;
	struct addr destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol; /* IPPROTO_TCP, UDP or SCTP; a word, so that ports and it are one store */
};
SL_ABI_SIZE(flow, 40);
SL_ABI_OFFSET(flow, source_port, 32);

enum sl_flow_flag {
	SL_FLOW_FORWARD = 1 << 0, /* client to service; else reply */
	/* Both ends are rewritten and the packet is redirected; else only the destination (forward)
	 * or the source (reply) is, and the stack routes it. */
	SL_FLOW_SNAT = 1 << 1,
	SL_FLOW_ANSWERED = 1 << 2, /* the backend has answered (SYN-ACK, or any datagram) */
	SL_FLOW_FIN_CLIENT = 1 << 3,
	SL_FLOW_FIN_BACKEND = 1 << 4,
	/* An RST was seen, from either side, and nothing since: its sequence number is not checked,
	 * so that a later segment takes the mark away again. */
	SL_FLOW_RESET = 1 << 5,
	/* The frontend is no longer the service's: a datagram starts the flow anew. */
	SL_FLOW_STALE = 1 << 6,
	/* In sl_opening alone: the handshake is complete, but the flow is not in sl_flows yet. */
	SL_FLOW_CONFIRMED = 1 << 7,
	SL_FLOW_CLOSED = SL_FLOW_FIN_CLIENT | SL_FLOW_FIN_BACKEND, /* both: closed in good order */
};

/* Between which nodes a flow's packets are passed on encapsulated (direct server return). */
enum sl_flow_path {
	SL_PATH_HERE = 0, /* none */
	/* To the node of the backend: new_source and new_destination are the nodes' addresses, the
	 * word of both ports is the index in sl_nodes. Answers do not come by: there is no partner
	 * row. */
	SL_PATH_TO_NODE = 1,
	SL_PATH_FROM_NODE = 2, /* the backend is here, and another node passes packets on to it */
};

/* Unit of last_seen: 2^30 ns of the monotonic clock (1.07 s): a shift instead of a division. */
enum { SL_TICK_SHIFT = 30 };

/*
 * What becomes of a packet that matches the key, with all that is needed to build the partner row:
 * the partner's key is {new_destination -> new_source}, and what it restores is {key.destination ->
 * key.source}.
 */
struct flow_entry {
	struct addr new_source;
	struct addr new_destination;
	__be16 new_source_port;
	__be16 new_destination_port;
	__u32 service_id;
	__u32 backend_id;
	__u32 backend_generation;
	__u32 last_seen; /* ticks, see SL_TICK_SHIFT; written at most once a beat */
	__u8 flags;	 /* enum sl_flow_flag */
	__u8 path;	 /* enum sl_flow_path */
	/* The datapath's own: jiffies of the last write of last_seen, in units of about a second. A
	 * packet compares it instead of asking for the time, which costs a call. */
	__u16 beat;
};
SL_ABI_SIZE(flow_entry, 56);

enum { SL_OPENING_WAYS = 4 };

/* After this many ticks (34 s) without a packet a place in sl_opening is free. */
enum { SL_OPENING_TICKS = 32 };

/* A flow being opened: always its forward row. */
struct opening_flow {
	struct flow key;
	struct flow_entry entry;
};
SL_ABI_SIZE(opening_flow, 96);

/*
 * Found by the hash of the client's address, port and protocol, from either direction; a flow with
 * SL_FLOW_SNAT has a second place, found by the node's address and port. The first cache line holds
 * what a search compares, so that a miss touches one line.
 */
struct opening_bucket {
	struct bpf_spin_lock lock;
	__u32 pad0;
	__u32 tag[SL_OPENING_WAYS];	  /* 0: free */
	__u32 last_seen[SL_OPENING_WAYS]; /* ticks */
	/* Valid with SL_FLOW_ANSWERED, host order: the acknowledgment number that completes the
	 * handshake (TCP), the tag that the client is to send (SCTP). */
	__u32 expected_ack[SL_OPENING_WAYS];
	__u32 pad1[2];
	struct opening_flow flows[SL_OPENING_WAYS];
};
SL_ABI_SIZE(opening_bucket, 448);
SL_ABI_OFFSET(opening_bucket, flows, 64);

SL_ABI_END
