/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ports of a fragmented datagram, remembered from its first fragment (sl_frags). */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

struct fragment_key {
	struct addr source;
	struct addr destination;
	__be32 id; /* IPv4: 16 bits, in the low half of the network-order word */
	__u32 protocol;
};
SL_ABI_SIZE(fragment_key, 40);

struct fragment {
	__be16 source_port;
	__be16 destination_port;
};
SL_ABI_SIZE(fragment, 4);

SL_ABI_END
