/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What sl_xdp is told of the uplinks: it sees frames of a device, which may be of a VLAN that is an
 * interface of its own to the stack, and to the FIB.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

/* Key of sl_uplinks: which of a device's frames. */
struct uplink_key {
	__u32 device; /* ifindex */
	__u32 vlan;   /* the id in the 802.1Q tag; 0: without a tag, or with one that has no id */
};
SL_ABI_SIZE(uplink_key, 8);

struct uplink {
	__u32 ifindex; /* the interface that these frames are of */
	__u8 mac[6];   /* frames to others are left alone */
	__u16 pad;
};
SL_ABI_SIZE(uplink, 12);

enum uplink_way_flag {
	SL_WAY_TAKES_FRAMES = 1 << 0,  /* from other devices; sl_xdp_ports has it */
	SL_WAY_TAKES_BUFFERS = 1 << 1, /* and those in several buffers */
};

/* Value of sl_xdp_ways: how frames leave by the interface that is the key (ifindex). */
struct uplink_way {
	__u32 device; /* ifindex */
	__u16 vlan;   /* the id that they are tagged with; 0: none */
	__u16 flags;  /* enum uplink_way_flag */
};
SL_ABI_SIZE(uplink_way, 8);

SL_ABI_END
