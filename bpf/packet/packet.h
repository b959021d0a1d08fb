/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A packet as the core sees it: where its headers are, the flow it belongs to and what becomes of
 * it. Only l3_v4.h and l3_v6.h know what an IP header looks like; this file picks between them.
 */
#pragma once

#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet/checksum.h"

enum packet_class {
	PACKET_OTHER,	   /* nothing that a service could be meant by */
	PACKET_IP,	   /* IP, but of no transport that services have */
	PACKET_FLOW,	   /* TCP, UDP or SCTP */
	PACKET_ICMP_ERROR, /* an ICMP error: the flow is that of the packet inside */
	PACKET_ICMP_ECHO,  /* an ICMP echo request, whole */
	PACKET_SHORT,	   /* headers are not in the linear part, or not there at all */
	PACKET_FRAGMENT,   /* a later fragment whose first was not seen: ports unknown */
	PACKET_IP_IN_IP,   /* an IP packet of the same family inside, at l4 */
};

enum packet_flag {
	PACKET_FIRST_FRAGMENT = 1 << 0,
	PACKET_LATER_FRAGMENT = 1 << 1, /* no transport header */
	PACKET_TRACED = 1 << 2,		/* a question of maps/trace.h: decide, but leave no state */
	PACKET_TUNNELLED = 1 << 3,	/* another node has passed it on to this one */
	PACKET_SECOND_CHANCE = 1 << 4,	/* it was passed on by two nodes: by no third */
	PACKET_KNOWN = 1 << 5,		/* see opening_put() */
	PACKET_FIRST = 1 << 6,		/* see decide_is_first() */
};

/* ICMP and ICMPv6. linux/icmp.h would pull in the C library's socket headers. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 rest; /* by type: the MTU in its low half (ICMP), or all of it (ICMPv6) */
};

/* Errors that are made here, with the TTL that packets made here have. */
enum icmp_error_kind {
	ICMP_ERROR_PORT_UNREACHABLE,
	ICMP_ERROR_TTL_EXCEEDED,
	ICMP_ERROR_TOO_BIG,
};

enum {
	PACKET_TTL = 64,
	/* An error quotes the network headers and 8 bytes (RFC 792); so do ours over IPv6, where
	 * more is allowed: what a socket is found by is there. */
	ICMP_QUOTE_L4 = 8,
};

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

enum { PACKET_ETHERTYPE_OFFSET = 12, PACKET_MAX_VLANS = 2, PACKET_MAX_L3 = ETH_HLEN + 8 };

/* Where an IP packet inside another may begin at most: behind tags, a header with all options that
 * IPv4 may have, and UDP. */
enum { PACKET_MAX_INNER = PACKET_MAX_L3 + 60 + 8 };

struct packet {
	struct opening_flow flow; /* .key: as on the wire; .entry: what becomes of it */
	__u32 l3;		  /* offsets from the frame's start */
	__u32 l4;
	__u8 family;	/* enum sl_family */
	__u8 tcp_flags; /* of SCTP, what its first chunk is like */
	__u8 flags;	/* enum packet_flag */
	__u8 hook;	/* enum sl_hook */
	__u32 reason;
	__u32 frontend;	    /* enum sl_frontend_kind */
	__be32 fragment_id; /* with PACKET_FIRST_FRAGMENT or PACKET_LATER_FRAGMENT */
	/* TCP, host order; read only where a flow is being opened. Of SCTP: the tag that answers to
	 * this packet will carry, less one, and the tag that it carries. */
	__u32 sequence;
	__u32 acknowledgment;
	__u32 client; /* opening_hash() of the key's source; 0: nobody has asked yet */
	__u32 outer; /* bytes of the headers that the packet is wrapped in, before l3; 0: in none */
};

/*
 * Clears what a slow path fills in. Kernels before 6.3 refuse to hand a structure with a byte never
 * written to a global function; the fast path does not need the stores.
 */
static __always_inline void packet_clear_decision(struct packet *p)
{
	__builtin_memset(&p->flow.entry, 0, sizeof(p->flow.entry));
	p->reason = 0;
	p->frontend = 0;
	p->sequence = 0;
	p->acknowledgment = 0;
}

/* The scope of a hook's packets: see enum sl_scope. */
static __always_inline __u32 packet_scope(const struct packet *p)
{
	return p->hook == SL_HOOK_FROM_NET ? SL_SCOPE_EXTERNAL : SL_SCOPE_INTERNAL;
}

/* Ports as one word, and ports with protocol as one: narrow stores right before a lookup stall it
 * (design.md section 4). */
static __always_inline __u32 flow_ports(const struct flow *flow)
{
	return *(const __u32 *)&flow->source_port;
}

static __always_inline void flow_set_ports(struct flow *flow, __u32 ports, __u32 protocol)
{
	*(__u64 *)&flow->source_port = (__u64)protocol << 32 | ports;
}

static __always_inline __u32 swap_ports(__u32 ports)
{
	return ports << 16 | ports >> 16;
}

static __always_inline __u32 entry_ports(const struct flow_entry *entry)
{
	return *(const __u32 *)&entry->new_source_port;
}

static __always_inline void entry_set_ports(struct flow_entry *entry, __u32 ports)
{
	*(__u32 *)&entry->new_source_port = ports;
}

/* The two bits of TOS and traffic class that say how congested the way was (RFC 3168 5). */
enum { ECN_MASK = 3, ECN_CONGESTED = 3 };

#include "packet/l3_v4.h"
#include "packet/l3_v6.h"
#include "packet/sctp.h"

/*
 * The ports of a fragmented datagram: noted when its first fragment is translated, so that traffic
 * of no service leaves nothing here, and found again for the later ones.
 */
static __always_inline void packet_fragment_key(const struct packet *p, struct fragment_key *key)
{
	key->source = p->flow.key.source;
	key->destination = p->flow.key.destination;
	key->id = p->fragment_id;
	key->protocol = p->flow.key.protocol;
}

static __noinline int packet_note_fragment(const struct packet *p)
{
	struct fragment_key key;
	__u32 ports = flow_ports(&p->flow.key);

	if (p->flags & PACKET_TRACED)
		return 0;
	packet_fragment_key(p, &key);
	return bpf_map_update_elem(&sl_frags, &key, &ports, BPF_ANY);
}

/* Return: 0, or -1: the first fragment was not seen. */
static __noinline int packet_find_fragment(struct packet *p)
{
	struct fragment_key key;
	__u32 *ports;

	packet_fragment_key(p, &key);
	ports = bpf_map_lookup_elem(&sl_frags, &key);
	if (!ports)
		return -1;
	flow_set_ports(&p->flow.key, *ports, p->flow.key.protocol);
	return 0;
}

/* Reads ports and TCP flags at p->l4. */
static __always_inline enum packet_class packet_parse_l4(sl_ctx *ctx, struct packet *p,
							 __u32 protocol)
{
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = ctx_header(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return PACKET_SHORT;
		flow_set_ports(&p->flow.key, *(__u32 *)tcp, protocol);
		p->tcp_flags = ((__u8 *)tcp)[13];
		return PACKET_FLOW;
	}
	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = ctx_header(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return PACKET_SHORT;
		flow_set_ports(&p->flow.key, *(__u32 *)udp, protocol);
		return PACKET_FLOW;
	}
	if (protocol == IPPROTO_SCTP) {
		struct sctp_header *sctp = ctx_header(ctx, p->l4, sizeof(*sctp));
		struct sctp_chunk chunk = {};

		/* A large packet of a socket has its chunks in buffers of their own, which must
		 * not be pulled together: the kernel sends them one by one. */
		if (!sctp || ctx_load(ctx, p->l4 + sizeof(*sctp), &chunk, sizeof(chunk)))
			return PACKET_SHORT;
		flow_set_ports(&p->flow.key, *(__u32 *)sctp, protocol);
		p->tcp_flags = sctp_tcp_flags(chunk.type);
		return PACKET_FLOW;
	}
	return PACKET_IP;
}

/* What an IP packet is, given its protocol: reads the transport header, if there is one here. */
static __always_inline enum packet_class packet_classify(sl_ctx *ctx, struct packet *p,
							 __u32 protocol)
{
	bool v4 = p->family == SL_FAMILY_V4;
	enum packet_class class;
	__u8 *type;

	if (p->flags & PACKET_LATER_FRAGMENT) {
		flow_set_ports(&p->flow.key, 0, protocol);
		if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
			return PACKET_IP;
		return packet_find_fragment(p) ? PACKET_FRAGMENT : PACKET_FLOW;
	}
	class = packet_parse_l4(ctx, p, protocol);
	if (protocol == (v4 ? IPPROTO_IPIP : IPPROTO_IPV6) && !(p->flags & PACKET_FIRST_FRAGMENT))
		return PACKET_IP_IN_IP;
	if (class != PACKET_IP || p->flags & PACKET_FIRST_FRAGMENT ||
	    protocol != (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return class;
	type = ctx_header(ctx, p->l4, sizeof(struct icmp_header));
	if (!type)
		return PACKET_SHORT;
	if (v4 ? l3_v4_icmp_is_error(*type) : l3_v6_icmp_is_error(*type))
		return PACKET_ICMP_ERROR;
	return *type == (v4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST) ? PACKET_ICMP_ECHO
								       : PACKET_IP;
}

/* Parses the IP packet at @l3: of a frame, or inside another packet. */
static __noinline int packet_parse_ip(sl_ctx *ctx, struct packet *p, __u32 l3, __u32 family)
{
	enum packet_class class;
	__u32 protocol = 0;

	if (l3 > PACKET_MAX_INNER)
		return PACKET_OTHER;
	p->l3 = l3;
	p->tcp_flags = 0;
	if (family == SL_FAMILY_V4)
		class = l3_v4_parse(ctx, p, &protocol);
	else
		class = l3_v6_parse(ctx, p, &protocol);
	return class == PACKET_FLOW ? packet_classify(ctx, p, protocol) : class;
}

/* Parses any frame: tags, options, extension headers, fragments (of which the later read sl_frags).
 */
static __noinline int packet_parse_any(sl_ctx *ctx, struct packet *p)
{
	__u16 *ethertype;
	__u32 l3 = ETH_HLEN;

	ethertype = ctx_header(ctx, PACKET_ETHERTYPE_OFFSET, sizeof(*ethertype));
	if (!ethertype)
		return PACKET_SHORT;
	for (int i = 0; i < PACKET_MAX_VLANS; i++) {
		if (*ethertype != bpf_htons(ETH_P_8021Q) && *ethertype != bpf_htons(ETH_P_8021AD))
			break;
		l3 += 4;
		ethertype = ctx_header(ctx, l3 - 2, sizeof(*ethertype));
		if (!ethertype)
			return PACKET_SHORT;
	}
	if (*ethertype == bpf_htons(ETH_P_IP))
		return packet_parse_ip(ctx, p, l3, SL_FAMILY_V4);
	if (*ethertype == bpf_htons(ETH_P_IPV6))
		return packet_parse_ip(ctx, p, l3, SL_FAMILY_V6);
	return PACKET_OTHER;
}

enum { PACKET_PULL = 192 };

/* Parses what the short way has not: with more of the frame linear, if it was too little. */
static __noinline int packet_parse_slow(sl_ctx *ctx, struct packet *p)
{
	int class = packet_parse_any(ctx, p);

	if (class != PACKET_SHORT)
		return class;
	p->flags = 0;
	if (ctx_pull(ctx, PACKET_PULL))
		return PACKET_OTHER;
	return packet_parse_any(ctx, p);
}

/*
 * Parses the frame into @p, of which the caller has set the hook and cleared the flags. Plain
 * headers, which nearly every packet has, are read here at fixed offsets; the rest goes the long
 * way.
 */
static __always_inline int packet_parse(sl_ctx *ctx, struct packet *p)
{
	struct ethhdr *eth = ctx_header(ctx, 0, ETH_HLEN);
	__u32 protocol;

	p->l3 = ETH_HLEN;
	p->tcp_flags = 0;
	if (!eth)
		return PACKET_OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		protocol = l3_v4_parse_plain(ctx, p);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		protocol = l3_v6_parse_plain(ctx, p);
	else if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD))
		return packet_parse_slow(ctx, p);
	else
		return PACKET_OTHER;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
		int class = packet_parse_l4(ctx, p, protocol);

		if (class == PACKET_FLOW)
			return class;
	}
	return packet_parse_slow(ctx, p);
}

static __always_inline __u32 packet_l4_header_length(sl_ctx *ctx, const struct packet *p)
{
	struct tcphdr *tcp;

	if (p->flow.key.protocol == IPPROTO_UDP)
		return sizeof(struct udphdr);
	if (p->flow.key.protocol == IPPROTO_SCTP)
		return sizeof(struct sctp_header);
	tcp = ctx_header(ctx, p->l4, sizeof(*tcp));
	return tcp ? tcp->doff * 4 : sizeof(*tcp);
}

static __always_inline __u32 packet_checksum_offset(const struct packet *p)
{
	return p->l4 + (p->flow.key.protocol == IPPROTO_TCP
				? __builtin_offsetof(struct tcphdr, check)
				: __builtin_offsetof(struct udphdr, check));
}

/* Sets the addresses of the IP header at @l3: the packet's own, or that quoted in an ICMP error. */
static __always_inline int packet_set_addresses(sl_ctx *ctx, const struct packet *p, __u32 l3,
						const struct addr *source,
						const struct addr *destination, __u64 *diff)
{
	return p->family == SL_FAMILY_V4 ? l3_v4_rewrite(ctx, l3, source, destination, diff)
					 : l3_v6_rewrite(ctx, l3, source, destination, diff);
}

/* Mends a checksum over a pseudo header whose addresses have changed by @diff. */
static __always_inline int packet_checksum_addresses(sl_ctx *ctx, const struct packet *p,
						     __u32 offset, __u64 diff, bool udp)
{
	__u32 folded = checksum_fold32(diff);

	if (ctx_checksum_diff(ctx, offset, folded, true, udp))
		return -1;
	if (p->family == SL_FAMILY_V6)
		ctx_checksum_complete(ctx, folded);
	return 0;
}

/* Reads the TCP numbers that decisions about flows being opened look at. */
static __always_inline void packet_read_numbers(sl_ctx *ctx, struct packet *p)
{
	sctp_initiate_tag tag = 0;
	struct sctp_header *sctp;
	struct tcphdr *tcp;

	if (p->flow.key.protocol == IPPROTO_UDP || p->flags & PACKET_LATER_FRAGMENT)
		return;
	if (p->flow.key.protocol == IPPROTO_SCTP) {
		sctp = ctx_header(ctx, p->l4, sizeof(*sctp));
		if (sctp)
			p->acknowledgment = bpf_ntohl(sctp->tag);
		if (!ctx_load(ctx, p->l4 + sizeof(struct sctp_start), &tag, sizeof(tag)))
			p->sequence = bpf_ntohl(tag) - 1;
		return;
	}
	tcp = ctx_header(ctx, p->l4, sizeof(*tcp));
	if (!tcp)
		return;
	p->sequence = bpf_ntohl(tcp->seq);
	p->acknowledgment = bpf_ntohl(tcp->ack_seq);
}

/* The length of the packet from its transport header on; 0: not known. */
static __always_inline __u32 packet_l4_length(sl_ctx *ctx, const struct packet *p)
{
	__u32 length =
		p->family == SL_FAMILY_V4 ? l3_v4_length(ctx, p->l3) : l3_v6_length(ctx, p->l3);
	__u32 header = p->l4 - p->l3;

	return length > header ? length - header : 0;
}

/*
 * Gives an SCTP packet the ports of @entry. Addresses are not in its checksum, and a packet that a
 * socket of this machine has left for the device to finish has none yet. Return: 0, or -1: it is
 * the first of several fragments, whose CRC depends on how long all of them are.
 */
static __noinline int packet_rewrite_sctp(sl_ctx *ctx, struct packet *p,
					  const struct flow_entry *entry)
{
	__u32 old_ports = flow_ports(&p->flow.key);
	__u32 new_ports = entry_ports(entry);
	__u32 length = packet_l4_length(ctx, p), diff;
	struct sctp_header *sctp;
	__u64 unused;

	if (old_ports != new_ports && !(p->flags & PACKET_LATER_FRAGMENT)) {
		if (p->flags & PACKET_FIRST_FRAGMENT || !length)
			return -1;
		diff = sctp_crc_diff(old_ports ^ new_ports, length);
		sctp = ctx_header(ctx, p->l4, sizeof(*sctp));
		if (!sctp)
			return -1;
		*(__u32 *)sctp = new_ports;
		if (sctp->checksum)
			sctp->checksum ^= diff;
	}
	return packet_set_addresses(ctx, p, p->l3, &entry->new_source, &entry->new_destination,
				    &unused);
}

/*
 * Gives the packet the addresses and ports of @entry and mends its checksums.
 * Return: 0, or -1: not possible, the packet is as it was or must be dropped.
 */
static __always_inline int packet_rewrite(sl_ctx *ctx, struct packet *p,
					  const struct flow_entry *entry)
{
	bool udp = p->flow.key.protocol == IPPROTO_UDP;
	__u32 old_ports = flow_ports(&p->flow.key);
	__u32 new_ports = entry_ports(entry);
	__u64 diff;

	if (p->flags & PACKET_FIRST_FRAGMENT)
		packet_note_fragment(p);
	if (p->flow.key.protocol == IPPROTO_SCTP)
		return packet_rewrite_sctp(ctx, p, entry);
	if (old_ports != new_ports && !(p->flags & PACKET_LATER_FRAGMENT)) {
		__u32 *ports = ctx_header(ctx, p->l4, sizeof(*ports));

		if (!ports)
			return -1;
		*ports = new_ports;
	}
	if (packet_set_addresses(ctx, p, p->l3, &entry->new_source, &entry->new_destination, &diff))
		return -1;
	if (p->flags & PACKET_LATER_FRAGMENT)
		return 0;
	if (old_ports != new_ports &&
	    ctx_checksum_diff(ctx, packet_checksum_offset(p),
			      checksum_fold32(checksum_add(0, old_ports, new_ports)), false, udp))
		return -1;
	return packet_checksum_addresses(ctx, p, packet_checksum_offset(p), diff, udp);
}
