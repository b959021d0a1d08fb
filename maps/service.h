/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services: the frontend row (sl_services), its counters (sl_svc_stats), its name (sl_svc_names)
 * and the prefixes that may reach it (sl_src_ranges). A service id stands for one port of one
 * Kubernetes Service: {namespace, name, port name, protocol}. Id 0 means "none" everywhere.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

/* A frontend: where a service is reached. */
struct service_key {
	struct addr address;
	__be16 port; /* network order */
	__u16 pad;
	__u32 protocol; /* IPPROTO_*; 0 with port 0: the row of an address, see frontend_is_address
			 */
};
SL_ABI_SIZE(service_key, 24);

enum sl_frontend_kind {
	SL_FRONTEND_CLUSTER_IP = 1,
	SL_FRONTEND_NODE_PORT = 2,
	SL_FRONTEND_EXTERNAL_IP = 3,
	SL_FRONTEND_LOAD_BALANCER = 4,
	/* Not a frontend: says that the address is some service's, so that a port that no service
	 * has is rejected rather than sent on to loop on the default route. */
	SL_FRONTEND_ADDRESS = 5,
	/* The same of an address that only a load balancer has: reachable from the network. */
	SL_FRONTEND_EXTERNAL_ADDRESS = 6,
	/* A frontend as it is asked about for packets that another node has passed on
	 * (maps/node.h): with this node's endpoints alone. Its key's protocol has
	 * SL_PROTOCOL_TUNNELLED added. */
	SL_FRONTEND_TUNNELLED = 7,
};

enum { SL_PROTOCOL_TUNNELLED = 1 << 9 };

/* Is it the row of an address, without port and protocol? */
static inline __attribute__((always_inline)) int frontend_is_address(__u32 kind)
{
	return kind == SL_FRONTEND_ADDRESS || kind == SL_FRONTEND_EXTERNAL_ADDRESS;
}

/* Where a packet comes from: the two sets of backends that a service may have. */
enum sl_scope {
	SL_SCOPE_INTERNAL = 0, /* pods and the node's own processes */
	SL_SCOPE_EXTERNAL = 1, /* the network */
	SL_SCOPE_COUNT = 2,
};

enum sl_service_flag {
	SL_SERVICE_DENY_EXTERNAL = 1 << 0,  /* a ClusterIP: nothing from the network */
	SL_SERVICE_AFFINITY = 1 << 1,	    /* sessionAffinity: ClientIP */
	SL_SERVICE_RANGES_V4 = 1 << 2,	    /* IPv4 clients must be in sl_src_ranges */
	SL_SERVICE_RANGES_V6 = 1 << 3,	    /* IPv6 clients must be in sl_src_ranges */
	SL_SERVICE_LOCAL_INTERNAL = 1 << 4, /* the internal set holds this node's endpoints only */
	SL_SERVICE_LOCAL_EXTERNAL = 1 << 5, /* the external set holds this node's endpoints only */
	/* Some node has a usable endpoint: an empty local set is then a drop, else a reject. */
	SL_SERVICE_HAS_ENDPOINTS = 1 << 6,
	SL_SERVICE_MASQUERADE = 1 << 7, /* from the network, the source is always rewritten */
	/* Of an address: an ICMP echo is answered, as some endpoint is usable. */
	SL_SERVICE_ECHO_INTERNAL = 1 << 8,
	SL_SERVICE_ECHO_EXTERNAL = 1 << 9,
	/* From the network to another node's endpoint: the packet is passed on as it is, and the
	 * endpoint's node answers the client itself (direct server return). */
	SL_SERVICE_DSR = 1 << 10,
};

/* How a new flow is given one of the slots. */
enum sl_algorithm {
	SL_ALGORITHM_RANDOM = 0,
	/* By a hash of addresses, ports and protocol: the slots are a table that every node builds
	 * alike (maps/maglev.h). */
	SL_ALGORITHM_MAGLEV = 1,
	SL_ALGORITHM_MAGLEV_SOURCE = 2, /* the same by the client's address alone */
	/* Of two at random the one with fewer live connections (sl_loads). */
	SL_ALGORITHM_LEAST_CONNECTION = 3,
};

/* A run of sl_slots; count 0: nobody. */
struct slot_range {
	__u32 offset;
	__u32 count;
};
SL_ABI_SIZE(slot_range, 8);

struct service {
	__u32 id;
	__u16 flags;	/* enum sl_service_flag */
	__u8 kind;	/* enum sl_frontend_kind */
	__u8 algorithm; /* enum sl_algorithm */
	struct slot_range slots[SL_SCOPE_COUNT];
	__u32 affinity_s; /* seconds a client stays bound after its last new connection */
	__u32 pad1;
};
SL_ABI_SIZE(service, 32);

/* Index: service id. "in" is towards the backend. One cache line. */
struct service_stats {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__u64 opened;	/* flows given a backend */
	__u64 rejected; /* answered with RST or port unreachable */
	__u64 dropped;
	__u64 failed; /* a SYN sent again because the backend chosen first did not answer */
};
SL_ABI_SIZE(service_stats, 64);

/* Index: service id. Lets an id keep its meaning over an agent's restart. All-zero: free. */
struct service_name {
	char name_space[64]; /* NUL-terminated: Kubernetes allows 63 */
	char name[64];
	char port_name[64];
	__u32 protocol; /* IPPROTO_* */
};
SL_ABI_SIZE(service_name, 196);

/* LPM key: prefix_len counts the 32 bits of service_id and the mapped address's 128. */
struct source_range_key {
	__u32 prefix_len;
	__u32 service_id;
	struct addr address;
};
SL_ABI_SIZE(source_range_key, 24);

struct source_range {
	__u32 allow; /* 1 */
};
SL_ABI_SIZE(source_range, 4);

SL_ABI_END
