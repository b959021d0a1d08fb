// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The datapath as it is, compiled once more with every call of a map helper counted. A packet that
 * runs through it says exactly how many lookups its path makes, which static counting cannot.
 */
#include "test/bench/counted_calls.h"

#include "bpf/sl_tc.bpf.c"
