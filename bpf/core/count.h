/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is counted once a flow or less, of packets and of calls alike. Atomic, though most rows are
 * a CPU's own: a call may be interrupted by a packet.
 */
#pragma once

#include "maps.h"

static __always_inline void count_drop(__u32 reason, __u32 service_id)
{
	struct drop_key key = { .reason = reason, .service_id = service_id };
	struct drop_count first = { .packets = 1 };
	struct drop_count *count = bpf_map_lookup_elem(&sl_drops, &key);

	if (count)
		__sync_fetch_and_add(&count->packets, 1);
	else
		bpf_map_update_elem(&sl_drops, &key, &first, BPF_ANY);
}

static __always_inline void count_opened(__u32 service_id, __u32 backend_id)
{
	struct service_stats *stats = bpf_map_lookup_elem(&sl_svc_stats, &service_id);
	struct backend_stats *backend = bpf_map_lookup_elem(&sl_be_stats, &backend_id);

	if (stats)
		__sync_fetch_and_add(&stats->opened, 1);
	if (backend)
		__sync_fetch_and_add(&backend->opened, 1);
}
