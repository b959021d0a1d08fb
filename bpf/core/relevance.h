/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a packet at ingress can be ours at all: asked before any hash lookup. */
#pragma once

#include "core/filter.h"
#include "core/select.h"
#include "packet/packet.h"

/* Is the address in the range of services' addresses? One array read. */
static __always_inline bool relevance_in_range(const struct packet *p)
{
	__u32 zero = 0;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);

	return config && p->family < SL_FAMILY_COUNT &&
	       address_in_range(&config->service_range[p->family], &p->flow.key.destination);
}

/*
 * Can a packet at ingress be none of ours? It is for no frontend, for no address that only services
 * have, and for none to which replies of rewritten sources come. Three array reads, no lookup.
 */
static __always_inline bool relevance_none(const struct packet *p)
{
	const struct flow *key = &p->flow.key;

	return !filter_has(&key->destination, key->destination_port, key->protocol) &&
	       !filter_has(&key->destination, 0, 0) && !relevance_in_range(p);
}

/*
 * May a packet of no flow and no service matter all the same: as a reply to a rewritten source (to
 * an address that SNAT takes, a port of the range), or for its address alone? Array reads only.
 */
static __always_inline bool relevance_may_matter(const struct packet *p)
{
	__u32 zero = 0;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	__u16 port = bpf_ntohs(p->flow.key.destination_port);

	if (!config || p->family >= SL_FAMILY_COUNT)
		return false;
	if (filter_has(&p->flow.key.destination, 0, SL_FILTER_SNAT))
		return port >= config->snat_port_min && port <= config->snat_port_max &&
		       filter_has(&p->flow.key.source, p->flow.key.source_port,
				  p->flow.key.protocol | SL_FILTER_BACKEND);
	return filter_has(&p->flow.key.destination, 0, 0) || relevance_in_range(p);
}
