/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How `sluicectl trace` and tests ask a loaded program what it would do, through
 * BPF_PROG_TEST_RUN: __sk_buff.cb[0] and cb[1] carry the magic words in, the answer comes out in
 * cb[2..4]. A traced packet leaves no conntrack row and is not counted.
 */
#pragma once

#include "abi.h"

SL_ABI_BEGIN

enum {
	SL_TRACE_CB0 = 0x736c7569, /* "slui" */
	SL_TRACE_CB1 = 0x63652121, /* "ce!!" */
	SL_TRACE_SERVICE_ID = 2,   /* index in cb: service id, 0: no service's */
	SL_TRACE_REASON = 3,	   /* enum sl_reason in the low half, enum sl_verdict in the high */
	SL_TRACE_FRONTEND = 4,	   /* enum sl_frontend_kind */
};

enum sl_verdict {
	SL_VERDICT_NONE = 0, /* not sluice's: untouched */
	SL_VERDICT_FORWARD = 1,
	SL_VERDICT_DROP = 2,
	SL_VERDICT_REJECT = 3,
};

SL_ABI_END
