/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sl_xdp is told of the interfaces that it is attached to (sl_uplinks). */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

/* Key: ifindex. */
struct uplink {
	__u8 mac[6]; /* frames to others are left alone */
	__u16 pad;
};
SL_ABI_SIZE(uplink, 8);

SL_ABI_END
