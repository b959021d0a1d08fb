/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Source ports of flows whose both ends are rewritten. */
#pragma once

#include "core/opening.h"

/* Ports tried before giving up; each differs per destination, so that a try rarely fails. */
enum { SNAT_TRIES = 32 };

/*
 * Gives p->flow.entry the node's address and a source port that no other flow to the same backend
 * has, and the flow its two places in sl_opening. The client's port is kept if it is in the range.
 * Return: 0; 1: another CPU has just done so for the same flow, p->flow.entry is what it chose;
 * -1: no port free, or the node has no address of the family.
 */
__noinline int snat_claim(struct packet *p)
{
	__u32 zero = 0, first, count, port;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	int kept;

	if (!p || !config)
		return -1;
	if (p->family >= SL_FAMILY_COUNT)
		return -1;
	p->flow.entry.new_source = config->node_address[p->family];
	if (!p->flow.entry.new_source.w[3] && !p->flow.entry.new_source.w[0])
		return -1;
	p->flow.entry.flags |= SL_FLOW_SNAT;
	first = config->snat_port_min;
	count = config->snat_port_max - first + 1;
	port = bpf_ntohs(p->flow.key.source_port);
	if (port < first || port - first >= count)
		port = first + ((__u64)bpf_get_prandom_u32() * count >> 32);
	for (int i = 0; i < SNAT_TRIES; i++) {
		p->flow.entry.new_source_port = bpf_htons(port);
		if (p->flags & PACKET_TRACED)
			return 0;
		/* The place first: a flow that is promoted meanwhile is in one or the other. */
		kept = opening_put(p, 1);
		if (kept > 0)
			return kept;
		if (!kept) {
			if (!conntrack_taken(p))
				return opening_put(p, 0);
			opening_clear(p);
		}
		port = first + ((__u64)bpf_get_prandom_u32() * count >> 32);
	}
	return -1;
}
