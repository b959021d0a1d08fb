// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least that a service datapath with conntrack has to do to a packet (design.md section 8):
 * parse, one lookup of a 40-byte key in a hash, one array read, count per CPU, rewrite with both
 * checksums, send; at TC and at XDP. What sluice costs is said as a multiple of this, measured in
 * the same run.
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
static __always_inline __u32 floor_parse_packet(void *data, void *data_end, struct flow *key)
{
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

/*
 * Finds and counts a packet of @length bytes. Return: its row, with the IP header's size in
 * @header; NULL: not a packet that the floor knows.
 */
static __always_inline struct flow_entry *floor_find(void *data, void *data_end, __u32 length,
						     __u32 *header)
{
	struct service_stats *stats;
	struct flow_entry *entry;
	struct backend *backend;
	struct flow key;
	__u32 id;

	*header = floor_parse_packet(data, data_end, &key);
	if (!*header)
		return NULL;
	entry = bpf_map_lookup_elem(&floor_flows, &key);
	if (!entry)
		return NULL;
	id = entry->backend_id;
	backend = bpf_map_lookup_elem(&floor_backends, &id);
	if (!backend || backend->generation != entry->backend_generation)
		return NULL;
	id = entry->service_id;
	stats = bpf_map_lookup_elem(&floor_stats, &id);
	if (stats) {
		stats->packets_in++;
		stats->bytes_in += length;
	}
	return entry;
}

/* By what the checksum of the transport header changes. */
struct floor_change {
	__u32 at; /* of the field in the frame */
	__u32 addresses;
	__be16 old_port;
	__be16 new_port;
};

static __always_inline __u32 floor_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 floor_fold16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline int floor_rewrite_v4(void *data, void *data_end,
					    const struct flow_entry *entry,
					    struct floor_change *change)
{
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	__be32 new = entry->new_destination.w[3];

	if ((void *)(tcp + 1) > data_end)
		return -1;
	change->at = ETH_HLEN + sizeof(*ip) + __builtin_offsetof(struct tcphdr, check);
	change->addresses = floor_fold32((__u64)(__u32)~ip->daddr + new);
	change->old_port = tcp->dest;
	change->new_port = entry->new_destination_port;
	ip->check = ~floor_fold16((__u64)(__u16)~ip->check + change->addresses);
	ip->daddr = new;
	tcp->dest = change->new_port;
	return 0;
}

static __always_inline int floor_rewrite_v6(void *data, void *data_end,
					    const struct flow_entry *entry,
					    struct floor_change *change)
{
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	__u64 diff = 0;

	if ((void *)(tcp + 1) > data_end)
		return -1;
	change->at = ETH_HLEN + sizeof(*ip) + __builtin_offsetof(struct tcphdr, check);
	change->old_port = tcp->dest;
	change->new_port = entry->new_destination_port;
#pragma unroll
	for (int i = 0; i < 4; i++)
		diff += (__u64)(__u32)~ip->daddr.in6_u.u6_addr32[i] + entry->new_destination.w[i];
	change->addresses = floor_fold32(diff);
	__builtin_memcpy(&ip->daddr, &entry->new_destination, sizeof(ip->daddr));
	tcp->dest = change->new_port;
	return 0;
}

/* Finds the packet's flow and rewrites its destination, all but the transport header's checksum. */
static __always_inline int floor_forward(void *data, void *data_end, __u32 length,
					 struct floor_change *change)
{
	__u32 header;
	struct flow_entry *entry = floor_find(data, data_end, length, &header);

	if (!entry)
		return -1;
	return header == sizeof(struct iphdr) ? floor_rewrite_v4(data, data_end, entry, change)
					      : floor_rewrite_v6(data, data_end, entry, change);
}

enum { FLOOR_AF_INET = 2, FLOOR_AF_INET6 = 10 };

/* Asks the FIB for the way of the packet as it is. Return: 0; -1: it knows none. */
static __always_inline int floor_route(void *ctx, void *data, void *data_end,
				       struct bpf_fib_lookup *fib)
{
	if (data + ETH_HLEN + sizeof(struct ipv6hdr) > data_end)
		return -1;
	if (((struct ethhdr *)data)->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;

		fib->family = FLOOR_AF_INET;
		fib->tot_len = bpf_ntohs(ip->tot_len);
		fib->ipv4_src = ip->saddr;
		fib->ipv4_dst = ip->daddr;
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN;

		fib->family = FLOOR_AF_INET6;
		fib->tot_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		__builtin_memcpy(fib->ipv6_src, &ip->saddr, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, &ip->daddr, sizeof(fib->ipv6_dst));
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) ? -1 : 0;
}

/*
 * The headers around a packet that the frame had @header bytes of IP header for, after room was
 * made for them. They are written before the FIB is asked, so that it is asked by floor_route().
 */
static __always_inline int floor_wrap(void *data, void *data_end, const struct ethhdr *eth,
				      __u32 header, const struct flow_entry *entry)
{
	if (data + ETH_HLEN + 2 * sizeof(struct ipv6hdr) > data_end)
		return -1;
	*(struct ethhdr *)data = *eth;
	if (header == sizeof(struct iphdr)) {
		struct iphdr *ip = data + ETH_HLEN, *inner = ip + 1;
		__u16 *words = (void *)ip;
		__u32 sum = 0;

		*(__u32 *)ip = bpf_htonl(0x45000000 | (bpf_ntohs(inner->tot_len) + sizeof(*ip)));
		*((__u32 *)ip + 1) = bpf_htonl(0x4000);
		*((__u32 *)ip + 2) = bpf_htonl(64 << 24 | IPPROTO_IPIP << 16);
		ip->saddr = entry->new_source.w[3];
		ip->daddr = entry->new_destination.w[3];
#pragma unroll
		for (int i = 0; i < 10; i++)
			sum += words[i];
		ip->check = ~floor_fold16(sum);
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN, *inner = ip + 1;

		*(__u32 *)ip = bpf_htonl(6U << 28);
		ip->payload_len = bpf_htons(bpf_ntohs(inner->payload_len) + sizeof(*inner));
		ip->nexthdr = IPPROTO_IPV6;
		ip->hop_limit = 64;
		__builtin_memcpy(&ip->saddr, &entry->new_source, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &entry->new_destination, sizeof(ip->daddr));
	}
	return 0;
}

static __always_inline int floor_tc(struct __sk_buff *ctx)
{
	struct floor_change change;

	if (floor_forward((void *)(long)ctx->data, (void *)(long)ctx->data_end, ctx->len,
			  &change) ||
	    bpf_l4_csum_replace(ctx, change.at, 0, change.addresses, BPF_F_PSEUDO_HDR))
		return -1;
	return bpf_l4_csum_replace(ctx, change.at, change.old_port, change.new_port,
				   sizeof(change.new_port));
}

/* Sends by handing the packet on, as sluice does where the stack routes. */
SEC("tc")
int floor_next(struct __sk_buff *ctx)
{
	return floor_tc(ctx) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Sends it out of the node: what the stack does for the other, asking the FIB, is part of that. */
SEC("tc")
int floor_redirect(struct __sk_buff *ctx)
{
	struct bpf_redir_neigh neighbour = {};
	struct bpf_fib_lookup fib = { .ifindex = ctx->ifindex };

	if (floor_tc(ctx) ||
	    floor_route(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, &fib))
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

	if (floor_parse_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end, &key))
		floor_parsed = *(__u64 *)&key.source_port ^ *((__u64 *)&key.source + 1) ^
			       *((__u64 *)&key.destination + 1);
	return TC_ACT_UNSPEC;
}

/* Sends the frame back out of the interface that it came by, to its next hop. */
static __always_inline int floor_transmit(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct bpf_fib_lookup fib = { .ifindex = ctx->ingress_ifindex };
	struct ethhdr *eth = data;

	if (floor_route(ctx, data, data_end, &fib) || fib.ifindex != ctx->ingress_ifindex)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, fib.smac, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, fib.dmac, ETH_ALEN);
	return XDP_TX;
}

/* A bare forwarder with NAT. */
SEC("xdp.frags")
int floor_xdp_send(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct floor_change change;
	__u16 *check;

	if (floor_forward(data, data_end, data_end - data, &change))
		return XDP_DROP;
	check = data + change.at;
	if ((void *)(check + 1) > data_end)
		return XDP_DROP;
	*check = ~floor_fold16((__u64)(__u16) ~*check + change.addresses + (__u16)~change.old_port +
			       change.new_port);
	return floor_transmit(ctx);
}

/* A bare forwarder that wraps: direct server return. */
SEC("xdp.frags")
int floor_xdp_wrap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct flow_entry *entry;
	struct ethhdr eth;
	__u32 header;

	entry = floor_find(data, data_end, data_end - data, &header);
	if (!entry)
		return XDP_DROP;
	eth = *(struct ethhdr *)data;
	if (bpf_xdp_adjust_head(ctx, -(int)header))
		return XDP_DROP;
	if (floor_wrap((void *)(long)ctx->data, (void *)(long)ctx->data_end, &eth, header, entry))
		return XDP_DROP;
	return floor_transmit(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
