/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known when the object is loaded, and the only file with `const volatile`: the verifier
 * sees constants. What may change while the node runs is in sl_config.
 */
#pragma once

#include <stdbool.h>

#include <linux/types.h>

/* Buckets of sl_opening less one: a power of two less one, equal to the map's real size. */
const volatile __u32 sl_opening_mask = 32768 - 1;
/* The same of sl_clients. */
const volatile __u32 sl_clients_mask = 131072 - 1;

/* Of the socket programs: the cookie of the node's own network namespace. */
const volatile __u64 sl_node_netns;
/* Whether TCP connections of other network namespaces, the pods', get their backend too. */
const volatile bool sl_pod_sockets;
/* Whether a program can say with which error a call fails (Linux 6.1); else it is EPERM. */
const volatile bool sl_has_retval;
