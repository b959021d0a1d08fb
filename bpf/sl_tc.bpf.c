// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define E(n) SEC("tc") int n(struct __sk_buff *ctx) { __u32 zero = 0; return bpf_map_lookup_elem(&sl_config, &zero) ? (int)(ctx->len & 0) - 1 : TC_ACT_UNSPEC; }
E(sl_from_pod)
E(sl_to_pod)
E(sl_from_net)
E(sl_to_net)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
