/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cluster's other nodes, to which packets are passed on encapsulated: by index (sl_nodes), and
 * by address (sl_node_ids), of which what comes encapsulated must come from.
 */
#pragma once

#include "config.h"

SL_ABI_BEGIN

/* Index 0 is never a node's. */
enum { SL_NODES = 16384, SL_NODE_ADDRESSES = 2 * SL_NODES };

enum sl_node_flag {
	SL_NODE_TUNNEL = 1 << 0, /* it runs sluice: new flows may be passed on to it */
};

/* Index: of the node. A flow goes on as long as the address is here, whatever the flags say. */
struct node {
	struct addr address[SL_FAMILY_COUNT]; /* all-zero: the node has none of the family */
	__u32 flags;			      /* enum sl_node_flag */
	__u32 pad;
};
SL_ABI_SIZE(node, 40);

/* The destination port of SL_TUNNEL_GUE (IANA: "gue"), host order. */
enum { SL_GUE_PORT = 6080 };

SL_ABI_END
