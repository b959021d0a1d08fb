/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP echo requests to addresses that only services have: nobody else would answer them (RFC 1122
 * 3.2.2.6, RFC 4443 4.1). The controller says of each address whether they are to be.
 */
#pragma once

#include "core/select.h"
#include "packet/reject.h"

/* Why an echo to @service's address is not answered. */
static __always_inline __u32 echo_reason(const struct service *service, bool external)
{
	__u32 local = external ? SL_SERVICE_LOCAL_EXTERNAL : SL_SERVICE_LOCAL_INTERNAL;

	if (!(service->flags & SL_SERVICE_HAS_ENDPOINTS))
		return SL_REASON_NO_BACKEND;
	return service->flags & local ? SL_REASON_NO_LOCAL_BACKEND : SL_REASON_NO_SUCH_PORT;
}

/*
 * Return: SL_VERDICT_FORWARD: to be answered; SL_VERDICT_DROP with p->reason; SL_VERDICT_NONE. An
 * echo is not rejected: of an error about one, ping would only say that nobody is there.
 */
static __noinline int echo_decide(struct packet *p)
{
	struct service_key key = { .address = p->flow.key.destination };
	bool external = packet_scope(p) == SL_SCOPE_EXTERNAL;
	struct service *service = bpf_map_lookup_elem(&sl_services, &key);
	struct node_config *config;
	__u32 zero = 0;

	flow_set_ports(&p->flow.key, 0, p->family == SL_FAMILY_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (!service) {
		config = bpf_map_lookup_elem(&sl_config, &zero);
		if (!config || p->family >= SL_FAMILY_COUNT ||
		    !address_in_range(&config->service_range[p->family], &key.address))
			return SL_VERDICT_NONE;
		p->reason = SL_REASON_NO_SUCH_SERVICE;
		return SL_VERDICT_DROP;
	}
	p->flow.entry.service_id = service->id;
	if (external && service->flags & SL_SERVICE_DENY_EXTERNAL)
		p->reason = SL_REASON_EXTERNAL_DENIED;
	else if (!select_source_allowed(service, &p->flow.key.source, p->family))
		p->reason = SL_REASON_SOURCE_DENIED;
	else if (!(service->flags &
		   (external ? SL_SERVICE_ECHO_EXTERNAL : SL_SERVICE_ECHO_INTERNAL)))
		p->reason = echo_reason(service, external);
	return p->reason ? SL_VERDICT_DROP : SL_VERDICT_FORWARD;
}

/* Turns the request into its answer. Return: 0, or -1. */
static __noinline int echo_answer(sl_ctx *ctx, struct packet *p)
{
	struct icmp_header *icmp = ctx_header(ctx, p->l4, sizeof(*icmp));
	bool v4 = p->family == SL_FAMILY_V4;
	__u32 check = p->l4 + __builtin_offsetof(struct icmp_header, checksum);
	__u16 before, after;
	__u32 length;

	if (!icmp || !reject_may_answer(p))
		return -1;
	before = *(__u16 *)icmp;
	icmp->type = v4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	after = *(__u16 *)icmp;
	if (ctx_checksum_diff(ctx, check, checksum_fold32(checksum_add(0, before, after)), false,
			      false) ||
	    reject_swap_macs(ctx))
		return -1;
	length = v4 ? l3_v4_length(ctx, p->l3) : l3_v6_length(ctx, p->l3);
	return v4 ? l3_v4_turn(ctx, p->l3, length, PACKET_TTL)
		  : l3_v6_turn(ctx, p->l3, length, PACKET_TTL);
}
