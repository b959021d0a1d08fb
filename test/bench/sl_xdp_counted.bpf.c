// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* As sl_tc_counted.bpf.c, of the XDP program. */
#include "test/bench/counted_calls.h"

#include "bpf/sl_xdp.bpf.c"
