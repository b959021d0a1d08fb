// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Takes every frame as it is. A veth whose peer has no XDP program leaves what XDP_TX gives it in
 * its ring until something else wakes it (veth_xdp_flush(), Linux drivers/net/veth.c); a wire does
 * not wait. Also stands for somebody else's program.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int xdp_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
