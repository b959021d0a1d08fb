// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least that a service datapath with conntrack has to do to a packet (design.md section 8):
 * parse, one lookup of a 40-byte key in a hash, one array read, count per CPU, rewrite with both
 * checksums, send. What sluice costs is said as a multiple of this, measured in the same run.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/service.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow);
	__type(value, struct flow_entry);
	__uint(max_entries, 524288); /* as sl_flows */
} floor_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(max_entries, 262144); /* as sl_backends */
} floor_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct service_stats);
	__uint(max_entries, 32768); /* as sl_svc_stats */
} floor_stats SEC(".maps");

/* Reads addresses and ports into @key. Return: the IP header's size; 0: not TCP over IP. */
static __always_inline __u32 floor_parse_packet(struct __sk_buff *ctx, struct flow *key)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	struct iphdr *ip = data + ETH_HLEN;
	__u32 header;

	if ((void *)(eth + 1) > data_end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > data_end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
			return 0;
		*(__u64 *)&key->source = 0;
		*((__u64 *)&key->source + 1) = (__u64)ip->saddr << 32 | bpf_htonl(0xffff);
		*(__u64 *)&key->destination = 0;
		*((__u64 *)&key->destination + 1) = (__u64)ip->daddr << 32 | bpf_htonl(0xffff);
		header = sizeof(*ip);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > data_end || ip6->nexthdr != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(&key->source, &ip6->saddr, sizeof(key->source));
		__builtin_memcpy(&key->destination, &ip6->daddr, sizeof(key->destination));
		header = sizeof(*ip6);
	} else {
		return 0;
	}
	if (data + ETH_HLEN + header + sizeof(struct tcphdr) > data_end)
		return 0;
	*(__u64 *)&key->source_port =
		(__u64)IPPROTO_TCP << 32 | *(__u32 *)(data + ETH_HLEN + header);
	return header;
}

static __always_inline int floor_rewrite_v4(struct __sk_buff *ctx, const struct flow_entry *entry)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	__be32 old, new = entry->new_destination.w[3];
	__be16 old_port, new_port = entry->new_destination_port;
	__u32 sum;
	__u32 check = ETH_HLEN + sizeof(*ip) + __builtin_offsetof(struct tcphdr, check);

	if ((void *)(tcp + 1) > data_end)
		return -1;
	old = ip->daddr;
	old_port = tcp->dest;
	sum = (__u16)~ip->check + (__u16)~old + (__u16) ~(old >> 16) + (__u16) new + (new >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	ip->daddr = new;
	tcp->dest = new_port;
	if (bpf_l4_csum_replace(ctx, check, old, new, BPF_F_PSEUDO_HDR | sizeof(new)))
		return -1;
	return bpf_l4_csum_replace(ctx, check, old_port, new_port, sizeof(new_port));
}

static __always_inline int floor_rewrite_v6(struct __sk_buff *ctx, const struct flow_entry *entry)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	__be16 old_port, new_port = entry->new_destination_port;
	__u32 check = ETH_HLEN + sizeof(*ip) + __builtin_offsetof(struct tcphdr, check);
	__u64 diff = 0;

	if ((void *)(tcp + 1) > data_end)
		return -1;
	old_port = tcp->dest;
#pragma unroll
	for (int i = 0; i < 4; i++)
		diff += (__u64)(__u32)~ip->daddr.in6_u.u6_addr32[i] + entry->new_destination.w[i];
	diff = (diff & 0xffffffff) + (diff >> 32);
	diff = (diff & 0xffffffff) + (diff >> 32);
	__builtin_memcpy(&ip->daddr, &entry->new_destination, sizeof(ip->daddr));
	tcp->dest = new_port;
	if (bpf_l4_csum_replace(ctx, check, 0, diff, BPF_F_PSEUDO_HDR))
		return -1;
	return bpf_l4_csum_replace(ctx, check, old_port, new_port, sizeof(new_port));
}

/* Return: 0: done; -1: not a packet that the floor knows. */
static __always_inline int floor_forward(struct __sk_buff *ctx)
{
	struct service_stats *stats;
	struct flow_entry *entry;
	struct backend *backend;
	struct flow key;
	__u32 header = floor_parse_packet(ctx, &key), id;

	if (!header)
		return -1;
	entry = bpf_map_lookup_elem(&floor_flows, &key);
	if (!entry)
		return -1;
	id = entry->backend_id;
	backend = bpf_map_lookup_elem(&floor_backends, &id);
	if (!backend || backend->generation != entry->backend_generation)
		return -1;
	id = entry->service_id;
	stats = bpf_map_lookup_elem(&floor_stats, &id);
	if (stats) {
		stats->packets_in++;
		stats->bytes_in += ctx->len;
	}
	return header == sizeof(struct iphdr) ? floor_rewrite_v4(ctx, entry)
					      : floor_rewrite_v6(ctx, entry);
}

/* Sends by handing the packet on, as sluice does where the stack routes. */
SEC("tc")
int floor_next(struct __sk_buff *ctx)
{
	return floor_forward(ctx) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

enum { FLOOR_AF_INET = 2, FLOOR_AF_INET6 = 10 };

/* Sends it out of the node: what the stack does for the other, asking the FIB, is part of that. */
SEC("tc")
int floor_redirect(struct __sk_buff *ctx)
{
	struct bpf_redir_neigh neighbour = {};
	struct bpf_fib_lookup fib = { .ifindex = ctx->ifindex };
	void *data, *data_end;

	if (floor_forward(ctx))
		return TC_ACT_SHOT;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + sizeof(struct ipv6hdr) > data_end)
		return TC_ACT_SHOT;
	if (((struct ethhdr *)data)->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;

		fib.family = FLOOR_AF_INET;
		fib.tot_len = bpf_ntohs(ip->tot_len);
		fib.ipv4_src = ip->saddr;
		fib.ipv4_dst = ip->daddr;
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN;

		fib.family = FLOOR_AF_INET6;
		fib.tot_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		__builtin_memcpy(fib.ipv6_src, &ip->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &ip->daddr, sizeof(fib.ipv6_dst));
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0))
		return TC_ACT_SHOT;
	neighbour.nh_family = fib.family;
	__builtin_memcpy(&neighbour.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
	return bpf_redirect_neigh(fib.ifindex, &neighbour, sizeof(neighbour), 0);
}

__u64 floor_parsed; /* so that the parsing is not optimised away */

/* Parses and passes: what a packet of no service is measured against. */
SEC("tc")
int floor_parse(struct __sk_buff *ctx)
{
	struct flow key = {};

	if (floor_parse_packet(ctx, &key))
		floor_parsed = *(__u64 *)&key.source_port ^ *((__u64 *)&key.source + 1) ^
			       *((__u64 *)&key.destination + 1);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
