/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent tells the programs about this node (sl_config), and about the pins (sl_meta). */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

/* Index in the pairs below. */
enum sl_family { SL_FAMILY_V4 = 0, SL_FAMILY_V6 = 1, SL_FAMILY_COUNT = 2 };

/* Addresses of a family that SNAT takes its sources from, at most. */
enum { SL_SNAT_ADDRESSES = 8 };

/* An address range: in it if (address & mask) == prefix. All-zero: not set, matches nothing. */
struct addr_range {
	struct addr prefix;
	struct addr mask;
};
SL_ABI_SIZE(addr_range, 32);

/* How packets are passed on to a backend's node; every node takes both. */
enum sl_tunnel_kind {
	SL_TUNNEL_IPIP = 0, /* IP in IP of the same family (RFC 2003, RFC 2473) */
	/* The same behind a UDP header, for networks that spread traffic by ports: variant 1 of GUE
	 * (draft-ietf-intarea-gue 4), in which the IP packet is the payload. */
	SL_TUNNEL_GUE = 1,
};

/* One row, index 0. Read for new flows only, and for packets that are passed on. */
struct node_config {
	struct addr node_address[SL_FAMILY_COUNT]; /* the node's main; all-zero: it has none */
	struct addr_range service_range[SL_FAMILY_COUNT];
	struct addr snat_address[SL_FAMILY_COUNT][SL_SNAT_ADDRESSES]; /* sources of SNAT */
	__u16 snat_port_min;					      /* host order, inclusive */
	__u16 snat_port_max;
	__u32 hash_seed; /* of client_hash(): random, so that nobody can aim at a bucket; kept for
			    good */
	/* The largest TCP segment that still fits where it is passed on to a backend's node
	 * encapsulated, host order; 0: no limit is set. */
	__u16 tunnel_mss[SL_FAMILY_COUNT];
	__u8 tunnel_kind;		      /* enum sl_tunnel_kind */
	__u8 snat_addresses[SL_FAMILY_COUNT]; /* how many of snat_address there are */
	__u8 clients_half;		      /* 0 or 1: where programs set bits of sl_clients */
};
SL_ABI_SIZE(node_config, 368);

/* One row, index 0. */
struct meta {
	__u32 abi_version;
	__u32 agent_pid;    /* of the last agent that held the pins */
	__u64 generation;   /* grows by one with every agent start */
	__u64 started_unix; /* seconds */
};
SL_ABI_SIZE(meta, 24);

SL_ABI_END
