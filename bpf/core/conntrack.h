/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Established flows: two rows of sl_flows, one a direction, each with all that is needed to build
 * the other. Rows are written here and taken away by the agent's sweep, or here when a flow starts
 * anew in place of an old one.
 */
#pragma once

#include "core/select.h"
#include "packet/packet.h"

/*
 * The tick of the last flow that found sl_flows full; 0: none yet. While it is recent, replies of
 * any kind are looked for among the flows being opened. A race costs a lookup.
 */
__u32 sl_flows_full_tick;

enum { CONNTRACK_FULL_TICKS = 64 };

/* A beat is 2^8 jiffies: 1.02 s at 250 Hz, 0.26 s at 1000 Hz, 2.6 s at 100 Hz. Jiffies are read by
 * one load, where even the coarse clock is a call. */
enum { CONNTRACK_BEAT_SHIFT = 8 };

/* The key of the row for the other direction. */
static __always_inline void
conntrack_partner_key(const struct flow *key, const struct flow_entry *entry, struct flow *partner)
{
	partner->source = entry->new_destination;
	partner->destination = entry->new_source;
	flow_set_ports(partner, swap_ports(entry_ports(entry)), key->protocol);
}

static __always_inline void conntrack_partner_entry(const struct flow *key,
						    const struct flow_entry *entry,
						    struct flow_entry *partner)
{
	*partner = *entry;
	partner->new_source = key->destination;
	partner->new_destination = key->source;
	entry_set_ports(partner, swap_ports(flow_ports(key)));
	partner->flags = entry->flags ^ SL_FLOW_FORWARD;
}

enum { CONNTRACK_TAKEN = 1, CONNTRACK_FULL = 2 };

/* Do both rows give a packet the same addresses and ports? */
static __always_inline bool conntrack_same_target(const struct flow_entry *a,
						  const struct flow_entry *b)
{
	return same_address(&a->new_source, &b->new_source) &&
	       same_address(&a->new_destination, &b->new_destination) &&
	       entry_ports(a) == entry_ports(b);
}

/*
 * Writes both rows of p->flow, or the one that a flow has whose answers do not come by. Return: 0,
 * also if another CPU just has; CONNTRACK_TAKEN: the reply's tuple belongs to another flow;
 * CONNTRACK_FULL. Nothing was written then.
 */
static __noinline int conntrack_insert(const struct packet *p)
{
	struct opening_flow row;
	struct flow_entry *other;

	if (p->flow.entry.path == SL_PATH_TO_NODE) {
		row = p->flow;
		return bpf_map_update_elem(&sl_flows, &row.key, &row.entry, BPF_ANY)
			       ? CONNTRACK_FULL
			       : 0;
	}
	conntrack_partner_key(&p->flow.key, &p->flow.entry, &row.key);
	conntrack_partner_entry(&p->flow.key, &p->flow.entry, &row.entry);
	if (bpf_map_update_elem(&sl_flows, &row.key, &row.entry, BPF_NOEXIST)) {
		other = bpf_map_lookup_elem(&sl_flows, &row.key);
		if (!other)
			return CONNTRACK_FULL;
		if (!conntrack_same_target(other, &row.entry))
			return CONNTRACK_TAKEN;
	}
	/* A copy: kernels before 6.2 take no key from a global function's argument. */
	row = p->flow;
	if (!bpf_map_update_elem(&sl_flows, &row.key, &row.entry, BPF_ANY))
		return 0;
	conntrack_partner_key(&p->flow.key, &p->flow.entry, &row.key);
	bpf_map_delete_elem(&sl_flows, &row.key);
	return CONNTRACK_FULL;
}

/*
 * Return: 1 and p->flow.entry, if p->flow.key has become an established flow since it was looked
 * for: rows are written before the place in sl_opening is freed, so that a flow is always in one of
 * them. @direction: SL_FLOW_FORWARD, or 0 for a reply.
 */
static __noinline int conntrack_find(struct packet *p, __u32 direction)
{
	struct flow key = p->flow.key;
	struct flow_entry *entry = bpf_map_lookup_elem(&sl_flows, &key);

	if (!entry || (entry->flags & SL_FLOW_FORWARD) != direction)
		return 0;
	/* It has been where this row leads to. */
	if (p->flags & PACKET_SECOND_CHANCE && entry->path == SL_PATH_TO_NODE)
		return 0;
	p->flow.entry = *entry;
	return 1;
}

/* The service that the packet is for, or NULL. Maps: one hash lookup. */
static __always_inline struct service *service_find(const struct packet *p)
{
	struct service_key key = { .address = p->flow.key.destination };

	*(__u64 *)&key.port = (__u64)p->flow.key.protocol << 32 | p->flow.key.destination_port;
	return bpf_map_lookup_elem(&sl_services, &key);
}

/*
 * The service of a packet that another node has passed on: the row of this node's endpoints, or, if
 * there are none, the row that clients' packets have; NULL: it is no service's whose packets are
 * passed on. A node's own address, of a NodePort, stands for this node's. Maps: two or three hash
 * lookups.
 */
static __noinline struct service *service_find_tunnelled(const struct packet *p)
{
	struct service_key key = { .address = p->flow.key.destination };
	__u32 protocol = p->flow.key.protocol, zero = 0;
	struct node_config *config;
	struct service *service;

	if (bpf_map_lookup_elem(&sl_node_ids, &key.address)) {
		config = bpf_map_lookup_elem(&sl_config, &zero);
		if (!config || p->family >= SL_FAMILY_COUNT)
			return NULL;
		key.address = config->node_address[p->family];
	}
	*(__u64 *)&key.port =
		(__u64)(protocol | SL_PROTOCOL_TUNNELLED) << 32 | p->flow.key.destination_port;
	service = bpf_map_lookup_elem(&sl_services, &key);
	if (!service || service->slots[SL_SCOPE_EXTERNAL].count)
		return service;
	*(__u64 *)&key.port = (__u64)protocol << 32 | p->flow.key.destination_port;
	return bpf_map_lookup_elem(&sl_services, &key);
}

/* Is the frontend that a forward row was made for another service's now, or nobody's? */
static __noinline int conntrack_lost_frontend(const struct packet *p,
					      const struct flow_entry *entry)
{
	struct service *service =
		p->flags & PACKET_TUNNELLED ? service_find_tunnelled(p) : service_find(p);

	return !service || service->id != entry->service_id;
}

/* Is the node still there that the packets of a flow are passed on to? One array read. */
static __noinline int conntrack_has_node(const struct flow_entry *entry, __u32 family)
{
	__u32 index = entry_ports(entry);
	struct node *node = bpf_map_lookup_elem(&sl_nodes, &index);

	return node && family < SL_FAMILY_COUNT &&
	       same_address(&node->address[family], &entry->new_destination);
}

/* Puts the partner of a row back if it is gone. */
static __noinline int conntrack_heal(const struct flow *key, const struct flow_entry *entry)
{
	struct opening_flow partner;

	if (entry->path == SL_PATH_TO_NODE)
		return 0;
	conntrack_partner_key(key, entry, &partner.key);
	if (bpf_map_lookup_elem(&sl_flows, &partner.key))
		return 0;
	conntrack_partner_entry(key, entry, &partner.entry);
	return bpf_map_update_elem(&sl_flows, &partner.key, &partner.entry, BPF_NOEXIST);
}

/*
 * What is looked at once a beat and row: that the partner is there, and that datagrams still go to
 * the service that has the frontend. (A TCP connection outlives its frontend; a new one asks anew.)
 */
static __noinline int conntrack_check(const struct packet *p, struct flow_entry *entry)
{
	if (p->flow.key.protocol == IPPROTO_UDP && entry->flags & SL_FLOW_FORWARD &&
	    conntrack_lost_frontend(p, entry)) {
		entry->flags |= SL_FLOW_STALE;
		return 0;
	}
	return conntrack_heal(&p->flow.key, entry);
}

static __always_inline bool conntrack_is_over(__u32 flags)
{
	return flags & SL_FLOW_RESET || (flags & SL_FLOW_CLOSED) == SL_FLOW_CLOSED;
}

/*
 * Flags and beat are one aligned word, of which the flags are the low byte (little endian).
 * Return: by how many living flows there are more: -1, 0 or 1.
 */
static __always_inline int conntrack_mark(struct flow_entry *entry, __u32 set, __u32 keep)
{
	__u32 *word = (__u32 *)&entry->flags;
	__u32 before = entry->flags;

	if (set)
		before = __sync_fetch_and_or(word, set);
	if (keep != ~0U)
		__sync_fetch_and_and(word, keep);
	return (int)conntrack_is_over(before) - (int)conntrack_is_over((before | set) & keep);
}

/*
 * Marks both rows with what a FIN or RST says. An RST is believed until another segment follows:
 * its number may be made up. Updates are atomic: both ends may close at once.
 */
static __noinline int conntrack_close(struct packet *p, struct flow_entry *entry)
{
	struct flow_entry *other;
	struct flow partner;
	__u32 set = 0, keep = ~0U;
	int here, there = 0, more;

	if (p->tcp_flags & TCP_RST)
		set |= SL_FLOW_RESET;
	else
		keep = ~(__u32)SL_FLOW_RESET;
	if (p->tcp_flags & TCP_FIN)
		set |= entry->flags & SL_FLOW_FORWARD ? SL_FLOW_FIN_CLIENT : SL_FLOW_FIN_BACKEND;
	/* The backend's FIN does not come by. Should the row go while it still sends, the backend's
	 * node knows the flow, and its packets find the way there by their hash. */
	if (set & SL_FLOW_FIN_CLIENT && entry->path == SL_PATH_TO_NODE)
		set |= SL_FLOW_FIN_BACKEND;
	here = conntrack_mark(entry, set, keep);
	conntrack_partner_key(&p->flow.key, entry, &partner);
	other = bpf_map_lookup_elem(&sl_flows, &partner);
	if (other)
		there = conntrack_mark(other, set, keep);
	/* Both ends may be here at once: the forward row says who was first. */
	more = entry->flags & SL_FLOW_FORWARD ? here : there;
	if (more)
		load_add(entry->backend_id, entry->backend_generation, LOAD_FLOW, more);
	return 0;
}

/* Takes both rows away. */
static __noinline int conntrack_delete(const struct flow *key, const struct flow_entry *entry)
{
	struct flow partner;

	conntrack_partner_key(key, entry, &partner);
	bpf_map_delete_elem(&sl_flows, &partner);
	return bpf_map_delete_elem(&sl_flows, key);
}

static __always_inline bool conntrack_is_closed(const struct flow_entry *entry)
{
	return conntrack_is_over(entry->flags);
}

/*
 * Do replies to p->flow come with a tuple that is another established flow's? A reply row of this
 * very flow, left behind, is taken away instead: it would be in the way. So is a flow that both
 * ends have closed: a client may have its port back before the sweep comes by.
 */
static __noinline int conntrack_taken(const struct packet *p)
{
	struct flow reply;
	struct flow_entry *row;

	conntrack_partner_key(&p->flow.key, &p->flow.entry, &reply);
	row = bpf_map_lookup_elem(&sl_flows, &reply);
	if (!row)
		return 0;
	if (!same_address(&row->new_source, &p->flow.key.destination) ||
	    !same_address(&row->new_destination, &p->flow.key.source) ||
	    entry_ports(row) != swap_ports(flow_ports(&p->flow.key))) {
		if ((row->flags & SL_FLOW_CLOSED) != SL_FLOW_CLOSED)
			return 1;
		if (!(p->flags & PACKET_TRACED))
			conntrack_delete(&reply, row);
		return 0;
	}
	if (!(p->flags & PACKET_TRACED))
		bpf_map_delete_elem(&sl_flows, &reply);
	return 0;
}

/* What a packet of an established flow leaves behind: time stamp, partner, FIN and RST. */
static __always_inline void conntrack_touch(struct packet *p, struct flow_entry *entry)
{
	__u16 beat = bpf_jiffies64() >> CONNTRACK_BEAT_SHIFT;

	if (entry->beat != beat) {
		entry->beat = beat;
		entry->last_seen = now_ticks();
		conntrack_check(p, entry);
	}
	if (p->tcp_flags & (TCP_FIN | TCP_RST) || entry->flags & SL_FLOW_RESET)
		conntrack_close(p, entry);
}
