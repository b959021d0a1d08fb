/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of the first packets of a flow. No context and no packet bytes here: TC, XDP and
 * (later) the socket hooks ask the same question.
 */
#pragma once

#include "core/opening.h"
#include "core/reason.h"
#include "core/select.h"
#include "core/snat.h"
#include "maps/trace.h"

static __always_inline enum sl_verdict decide_drop(struct packet *p, __u32 reason)
{
	p->reason = reason;
	return SL_VERDICT_DROP;
}

/* A reject is answered; an RST never is (RFC 9293 3.10.7.1), nor is a fragment. */
static __always_inline enum sl_verdict decide_reject(struct packet *p, __u32 reason)
{
	p->reason = reason;
	if (p->tcp_flags & TCP_RST || p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return SL_VERDICT_DROP;
	return SL_VERDICT_REJECT;
}

/* No service at this address and port: is the address ours all the same? */
static __noinline int decide_unknown(struct packet *p)
{
	struct service_key key = { .address = p->flow.key.destination };
	struct node_config *config;
	struct service *service;
	__u32 zero = 0;

	service = bpf_map_lookup_elem(&sl_services, &key);
	if (!service) {
		config = bpf_map_lookup_elem(&sl_config, &zero);
		if (!config || p->family >= SL_FAMILY_COUNT ||
		    !address_in_range(&config->service_range[p->family], &p->flow.key.destination))
			return SL_VERDICT_NONE;
		return decide_drop(p, SL_REASON_NO_SUCH_SERVICE);
	}
	if (packet_scope(p) == SL_SCOPE_EXTERNAL && service->flags & SL_SERVICE_DENY_EXTERNAL)
		return decide_drop(p, SL_REASON_EXTERNAL_DENIED);
	if (!select_source_allowed(service, &p->flow.key.source, p->family))
		return decide_drop(p, SL_REASON_SOURCE_DENIED);
	return decide_reject(p, SL_REASON_NO_SUCH_PORT);
}

static __noinline int decide_count_failed(__u32 service_id, __u32 backend_id)
{
	struct service_stats *stats = bpf_map_lookup_elem(&sl_svc_stats, &service_id);
	struct backend_stats *backend = bpf_map_lookup_elem(&sl_be_stats, &backend_id);

	if (stats)
		__sync_fetch_and_add(&stats->failed, 1);
	if (backend)
		__sync_fetch_and_add(&backend->failed, 1);
	return 0;
}

/*
 * Notes the flow as being opened. Both ends are rewritten where replies would not come back
 * otherwise: a remote backend of an outside client, a pod that reaches itself, or a client whose
 * tuple towards this backend is taken (the same port used to two of its frontends).
 */
static __always_inline enum sl_verdict decide_open(struct packet *p, bool snat, bool counted)
{
	bool traced = p->flags & PACKET_TRACED;
	int kept = -1;

	if (!snat && traced) {
		kept = conntrack_taken(p) ? -1 : 0;
	} else if (!snat) {
		/* The place first: a flow that is promoted meanwhile is in one or the other. */
		kept = opening_put(p, 0);
		if (!kept && p->flow.entry.path != SL_PATH_TO_NODE && opening_is_taken(p)) {
			opening_clear(p);
			kept = -1;
		}
	}
	if (kept < 0)
		kept = snat_claim(p);
	if (kept < 0)
		return decide_drop(p, SL_REASON_SNAT_PORTS);
	if (traced || kept)
		return SL_VERDICT_FORWARD;
	count_opened(p->flow.entry.service_id, p->flow.entry.backend_id);
	if (counted)
		load_add(p->flow.entry.backend_id, p->flow.entry.backend_generation, LOAD_FLOW, 1);
	return SL_VERDICT_FORWARD;
}

/* Where Maglev begins to look for the packet's backend; 0 if nobody asks. */
static __always_inline __u32 decide_point(const struct packet *p, const struct service *service)
{
	if (service->algorithm == SL_ALGORITHM_MAGLEV_SOURCE)
		return maglev_source_point(&p->flow.key.source);
	if (service->algorithm == SL_ALGORITHM_MAGLEV || service->flags & SL_SERVICE_DSR)
		return maglev_point(&p->flow.key);
	return 0;
}

/* Is the packet to be passed on as it is, if its backend is another node's? */
static __always_inline bool decide_may_pass(const struct packet *p, const struct service *service)
{
	return service->flags & SL_SERVICE_DSR && !(service->flags & SL_SERVICE_MASQUERADE) &&
	       packet_scope(p) == SL_SCOPE_EXTERNAL;
}

/*
 * Makes p->flow.entry one that passes packets on to the node of index @index. Return: 1; 0: it
 * takes none, or this node or that has no address of the family.
 */
static __noinline int decide_to_node(struct packet *p, __u32 index)
{
	__u32 zero = 0;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	struct node *node = bpf_map_lookup_elem(&sl_nodes, &index);
	__u32 family = p->family;

	if (!config || !node || family >= SL_FAMILY_COUNT || !(node->flags & SL_NODE_TUNNEL) ||
	    !node->address[family].w[3] || !config->node_address[family].w[3])
		return 0;
	p->flow.entry.new_source = config->node_address[family];
	p->flow.entry.new_destination = node->address[family];
	entry_set_ports(&p->flow.entry, index);
	p->flow.entry.path = SL_PATH_TO_NODE;
	return 1;
}

/*
 * A packet in the middle of a flow that this node does not know, of a service whose packets are
 * passed on: the node that it hashes to may know it, as nodes choose alike and the network may have
 * sent its packets to another until now. Return: enum sl_verdict.
 */
static __noinline int decide_pass(struct packet *p, const struct service *service)
{
	__u32 backend_id = 0, reason = 0;
	struct backend *backend;

	if (!decide_may_pass(p, service) || p->flags & PACKET_SECOND_CHANCE)
		return decide_reject(p, SL_REASON_NO_FLOW);
	backend = select_backend(service, &p->flow.key.source, &p->flow.key.source, p->family, true,
				 decide_point(p, service), 0, &backend_id, &reason);
	if (!backend || backend->flags & SL_BACKEND_LOCAL || !decide_to_node(p, backend->node))
		return decide_reject(p, SL_REASON_NO_FLOW);
	p->flow.entry.backend_id = backend_id;
	p->flow.entry.backend_generation = backend->generation;
	p->flow.entry.flags = SL_FLOW_FORWARD;
	return SL_VERDICT_FORWARD;
}

/* Chooses a backend, not @avoid if there is another. */
static __noinline int decide_choose(struct packet *p, const struct service *service, __u32 avoid)
{
	bool external = packet_scope(p) == SL_SCOPE_EXTERNAL;
	bool pass = decide_may_pass(p, service);
	struct backend *backend;
	__u32 backend_id = 0, reason = 0;
	bool remote, snat, to_node = false;

	backend = select_backend(service, &p->flow.key.source, &p->flow.key.source, p->family,
				 external, decide_point(p, service), avoid, &backend_id, &reason);
	if (!backend)
		return reason == SL_REASON_NO_BACKEND ? decide_reject(p, reason)
						      : decide_drop(p, reason);
	if (service->flags & SL_SERVICE_AFFINITY && !(p->flags & PACKET_TRACED)) {
		__u32 bound =
			affinity_bind(service, &p->flow.key.source, backend_id, backend->generation,
				      select_local_only(service, external));
		struct backend *first = bpf_map_lookup_elem(&sl_backends, &bound);

		if (first && first->flags & SL_BACKEND_USABLE) {
			backend = first;
			backend_id = bound;
		}
	}
	p->flow.entry.new_source = p->flow.key.source;
	p->flow.entry.new_source_port = p->flow.key.source_port;
	p->flow.entry.new_destination = backend->address;
	p->flow.entry.new_destination_port = backend->port;
	p->flow.entry.backend_id = backend_id;
	p->flow.entry.backend_generation = backend->generation;
	p->flow.entry.last_seen = now_ticks();
	p->flow.entry.flags = SL_FLOW_FORWARD;
	remote = !(backend->flags & SL_BACKEND_LOCAL);
	p->flow.entry.path =
		!remote && (pass || p->flags & PACKET_TUNNELLED) ? SL_PATH_FROM_NODE : SL_PATH_HERE;
	if (remote && pass) {
		if (p->flags & PACKET_SECOND_CHANCE)
			return decide_reject(p, SL_REASON_NO_BACKEND);
		to_node = decide_to_node(p, backend->node);
	}
	snat = external && (remote || service->flags & SL_SERVICE_MASQUERADE);
	snat |= same_address(&backend->address, &p->flow.key.source);
	return decide_open(p, snat && !to_node, backend->flags & SL_BACKEND_COUNTED);
}

/* Makes an answered flow an established one; if there is no room it stays where it is. */
static __always_inline void decide_promote(struct packet *p)
{
	__u8 flags = p->flow.entry.flags;
	int kept;

	p->flow.entry.last_seen = now_ticks();
	if (p->tcp_flags & TCP_FIN)
		p->flow.entry.flags |= SL_FLOW_FIN_CLIENT;
	opening_mark(p);
	kept = conntrack_insert(p);
	if (!kept) {
		opening_clear(p);
		return;
	}
	p->flow.entry.flags = flags;
	if (kept != CONNTRACK_FULL)
		return;
	sl_flows_full_tick = now_ticks();
	p->reason = SL_REASON_FLOWS_FULL;
}

/* A flow that is being opened goes on. */
static __always_inline enum sl_verdict decide_continue(struct packet *p)
{
	if (p->flow.entry.flags & SL_FLOW_ANSWERED && !(p->tcp_flags & TCP_RST))
		decide_promote(p);
	return SL_VERDICT_FORWARD;
}

/* The flow will be opened anew, or is another's now. One that was refused counts no longer. */
static __noinline int decide_forget(struct packet *p)
{
	if (!(p->flow.entry.flags & SL_FLOW_RESET))
		load_add(p->flow.entry.backend_id, p->flow.entry.backend_generation, LOAD_FLOW, -1);
	return opening_clear(p);
}

/*
 * Does the packet open a flow, as far as it says itself? Of datagrams it is not known, and packets
 * that another node has passed on have services of their own.
 */
static __always_inline bool decide_opens(const struct packet *p)
{
	return p->flow.key.protocol != IPPROTO_UDP &&
	       (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       !(p->flags & (PACKET_TRACED | PACKET_TUNNELLED));
}

/*
 * Is the packet, which opens a flow, to a service, and of a client who has no flows? Then neither
 * sl_flows nor sl_opening knows anything of it, and it has PACKET_FIRST. *service: as it was found,
 * also if not.
 */
static __always_inline bool decide_is_first(struct packet *p, struct service **service)
{
	bool is_new;

	/* First: what comes from memory comes while the service is looked up. */
	opening_set_client(p);
	is_new = opening_client_is_new(p);
	*service = service_find(p);
	if (!*service || !is_new)
		return false;
	p->flags |= PACKET_FIRST;
	return true;
}

/*
 * Decides about p->flow.key, which sl_flows does not know, and its @service, NULL: none. p->client
 * must be set.
 * Return: enum sl_verdict; p->flow.entry for FORWARD; p->reason, also with FORWARD if
 * SL_REASON_FLOWS_FULL is to be counted.
 */
__noinline int decide(struct packet *p, const struct service *service)
{
	struct backend *backend;
	bool alive = false;
	int found;

	if (!p)
		return SL_VERDICT_NONE;
	if (!service)
		return decide_unknown(p);
	p->frontend = service->kind;
	found = p->flags & (PACKET_TRACED | PACKET_FIRST) ? 0 : opening_find(p);
	/* With a second chance it has been where a place leads to that passes it on. */
	if (found && (found < 0 || p->flow.entry.service_id != service->id ||
		      (p->flags & PACKET_SECOND_CHANCE && p->flow.entry.path == SL_PATH_TO_NODE))) {
		decide_forget(p);
		found = 0;
	}
	p->flow.entry.service_id = service->id;
	if (packet_scope(p) == SL_SCOPE_EXTERNAL && service->flags & SL_SERVICE_DENY_EXTERNAL)
		return decide_drop(p, SL_REASON_EXTERNAL_DENIED);
	if (found) {
		__u32 backend_id = p->flow.entry.backend_id;

		backend = bpf_map_lookup_elem(&sl_backends, &backend_id);
		alive = backend_present(backend, p->flow.entry.backend_generation);
		if (alive && p->flow.key.protocol == IPPROTO_UDP)
			alive = backend->flags & SL_BACKEND_USABLE;
		else if (!alive && p->flow.entry.path == SL_PATH_TO_NODE)
			alive = p->flow.key.protocol != IPPROTO_UDP &&
				conntrack_has_node(&p->flow.entry, p->family);
	}
	if (found == OPENING_HANDED && alive)
		return SL_VERDICT_FORWARD;
	if (p->flow.key.protocol != IPPROTO_UDP &&
	    (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) {
		if (!found)
			return conntrack_find(p, SL_FLOW_FORWARD) ? SL_VERDICT_FORWARD
								  : decide_pass(p, service);
		if (!alive) {
			opening_clear(p);
			return decide_reject(p, SL_REASON_BACKEND_GONE);
		}
		return decide_continue(p);
	}
	if (!found) {
		/* A traced packet may have come past a row that another would have taken away. */
		if (!(p->flags & (PACKET_TRACED | PACKET_FIRST)) && !opening_client_is_new(p) &&
		    conntrack_find(p, SL_FLOW_FORWARD))
			return SL_VERDICT_FORWARD;
		return decide_choose(p, service, 0);
	}
	if (p->flow.key.protocol == IPPROTO_UDP && alive)
		return decide_continue(p);
	if (alive && (p->flow.entry.flags & (SL_FLOW_ANSWERED | SL_FLOW_RESET)) == SL_FLOW_ANSWERED)
		return SL_VERDICT_FORWARD;
	/* A SYN again: the backend chosen first has not answered, or has refused. */
	if (p->flow.key.protocol != IPPROTO_UDP && !(p->flow.entry.flags & SL_FLOW_RESET))
		decide_count_failed(p->flow.entry.service_id, p->flow.entry.backend_id);
	decide_forget(p);
	return decide_choose(p, service, p->flow.entry.backend_id);
}
