/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The clock of rows: ticks of about a second, from a clock that costs a nanosecond to read. */
#pragma once

#include "maps.h"

static __always_inline __u32 now_ticks(void)
{
	return bpf_ktime_get_coarse_ns() >> SL_TICK_SHIFT;
}
