/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a packet was dropped or rejected, who counts it, and the sample of it in sl_events. */
#pragma once

#include "abi.h"
#include "flow.h"

SL_ABI_BEGIN

/* Append only: dashboards know the numbers. control/base has the names, checked for completeness.
 */
enum sl_reason {
	SL_REASON_NONE = 0,
	SL_REASON_NO_BACKEND,	    /* rejected: no usable endpoint anywhere */
	SL_REASON_NO_LOCAL_BACKEND, /* dropped: policy Local and none on this node */
	SL_REASON_EXTERNAL_DENIED,  /* a ClusterIP asked for from the network */
	SL_REASON_SOURCE_DENIED,    /* not in loadBalancerSourceRanges */
	SL_REASON_NO_SUCH_PORT,	    /* rejected: a service's address, a port it does not have */
	SL_REASON_NO_SUCH_SERVICE,  /* an address in the service CIDR that no service has */
	SL_REASON_BACKEND_GONE,	    /* rejected: the flow's backend no longer exists */
	SL_REASON_NO_FLOW,	    /* rejected: TCP to a service, not a SYN, of no flow known */
	SL_REASON_SNAT_PORTS,	    /* no source port free towards this backend */
	SL_REASON_FLOWS_FULL, /* counted, not dropped: sl_flows full, the flow stays opening */
	SL_REASON_FRAGMENT_UNKNOWN, /* a fragment of a flow whose first fragment was not seen */
	SL_REASON_NO_ROUTE,	    /* redirect: the FIB has no way to the backend or client */
	SL_REASON_TTL_EXCEEDED,	    /* redirect: TTL or hop limit used up; ICMP sent */
	SL_REASON_TOO_BIG,	    /* redirect: larger than the path's MTU; ICMP sent */
	SL_REASON_REWRITE_FAILED,   /* the kernel refused to change the packet */
	SL_REASON_BAD_SLOT,	    /* a slot named no backend: a bug, never expected */
	SL_REASON_TUNNEL_DENIED,    /* a pod's packet that only another node may send */
	SL_REASON_COUNT,
};

enum sl_hook {
	SL_HOOK_FROM_POD = 1,
	SL_HOOK_TO_POD = 2,
	SL_HOOK_FROM_NET = 3,
	SL_HOOK_TO_NET = 4,
};

struct drop_key {
	__u32 reason; /* enum sl_reason */
	__u32 service_id;
};
SL_ABI_SIZE(drop_key, 8);

struct drop_count {
	__u64 packets;
};
SL_ABI_SIZE(drop_count, 8);

/* Written to sl_events for some of the packets counted in sl_drops: at most 32 a tick. */
struct drop_event {
	__u64 time_ns; /* CLOCK_MONOTONIC, coarse */
	struct flow flow;
	__u32 reason;
	__u32 service_id;
	__u32 ifindex;
	__u32 hook; /* enum sl_hook */
	__u32 length;
	__u32 pad;
};
SL_ABI_SIZE(drop_event, 72);

SL_ABI_END
