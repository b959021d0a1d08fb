/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nothing is dropped silently: counts by reason and service, and samples for sl_events. */
#pragma once

#include "core/count.h"
#include "packet/packet.h"

/* Samples a tick: enough to see what is going on, too few to be a load. */
enum { REASON_SAMPLES_PER_TICK = 32 };

/* Both are racy on purpose: a sample more or less does no harm. */
__u32 sl_sample_tick;
__u32 sl_samples;

static __always_inline void reason_sample(const struct packet *p, __u32 ifindex, __u32 length)
{
	__u32 now = now_ticks();
	struct drop_event *event;

	if (sl_sample_tick != now) {
		sl_sample_tick = now;
		sl_samples = 0;
	}
	if (sl_samples >= REASON_SAMPLES_PER_TICK)
		return;
	sl_samples++;
	event = bpf_ringbuf_reserve(&sl_events, sizeof(*event), 0);
	if (!event)
		return;
	event->time_ns = bpf_ktime_get_coarse_ns();
	event->flow = p->flow.key;
	event->reason = p->reason;
	event->service_id = p->flow.entry.service_id;
	event->ifindex = ifindex;
	event->hook = p->hook;
	event->length = length;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

/* Counts p->reason against the packet's service. Thread: any CPU. Maps: sl_drops, sl_events. */
static __noinline int reason_count(const struct packet *p, __u32 ifindex, __u32 length)
{
	count_drop(p->reason, p->flow.entry.service_id);
	reason_sample(p, ifindex, length);
	return 0;
}
