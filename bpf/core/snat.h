/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Source ports of flows whose both ends are rewritten. */
#pragma once

#include "core/filter.h"
#include "core/opening.h"

/*
 * Ports asked about before giving up: the client's own, then those that sl_snat_ports says to be
 * free, twice of each address at least; then any, should bits be left of flows that are over.
 */
enum { SNAT_TRIES = 33, SNAT_GUIDED_TRIES = 2 * SL_SNAT_ADDRESSES };

/*
 * How many words are tried, of which the first may be full and others lose a bit to another CPU,
 * before the search is given up.
 */
enum { SNAT_TAKES = 5 };

enum { SNAT_LINES = SL_SNAT_WORDS / 64 };

/* The bits of a word that stand for anything, @count being left from its first. */
static __always_inline __u64 snat_mask(__u32 count)
{
	return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

/* The place of the first bit of @bits that is set, from @start on and round; @bits is not 0. */
static __always_inline __u32 snat_first(__u64 bits, __u32 start)
{
	start &= 63;
	bits = bits >> start | bits << ((64 - start) & 63);
	/* As many bits as there are zeros below the first: no branch, for the verifier's sake. */
	return (__builtin_popcountll((bits & -bits) - 1) + start) & 63;
}

/*
 * The first of @words words of @table, 1 to SL_SNAT_WORDS, from @start on and round, that is not
 * full; @words: none.
 */
__noinline int snat_open_word(__u32 table, __u32 words, __u32 start)
{
	struct snat_ports *ports = bpf_map_lookup_elem(&sl_snat_ports, &table);
	__u32 lines = (words + 63) / 64, line = start / 64;

	if (!ports)
		return (int)words;
	for (int i = 0; i <= SNAT_LINES; i++) {
		__u64 open = ~ports->full[line & (SNAT_LINES - 1)] & snat_mask(words - line * 64);

		if (!i)
			open &= ~0ULL << start % 64;
		if (open)
			return (int)(line * 64 + snat_first(open, 0));
		if (i == (int)lines)
			break;
		if (++line >= lines)
			line = 0;
	}
	return (int)words;
}

/* The ports of p->flow.entry.new_source towards its new destination, of *@table. */
static __always_inline struct snat_ports *snat_ports_of(const struct packet *p, __u32 *table)
{
	*table = snat_table(&p->flow.entry.new_source, &p->flow.entry.new_destination,
			    p->flow.entry.new_destination_port, p->flow.key.protocol);
	return bpf_map_lookup_elem(&sl_snat_ports, table);
}

/* Says once of a word that it is full: the line is read by all CPUs that look for another. */
static __always_inline void snat_mark_full(struct snat_ports *ports, __u32 word)
{
	__u64 *full = &ports->full[word / 64 & (SNAT_LINES - 1)], bit = 1ULL << word % 64;

	if (!(*full & bit))
		__sync_fetch_and_or(full, bit);
}

/*
 * Gives p->flow.entry a port of the @count from @first on that sl_snat_ports has as free, and as
 * taken from now on. CPUs begin in blocks (cache lines) of their own, which change with every tick,
 * and differ from table to table: flows of one port share a bucket of sl_opening. Return: 0; -1:
 * there is none. Cost: with one CPU at work two cache lines, and two more as the range fills.
 */
static __always_inline int snat_take(struct packet *p, __u32 first, __u32 count)
{
	__u32 table, words, random = bpf_get_prandom_u32(), blocks, start, word;
	struct snat_ports *ports = snat_ports_of(p, &table);

	if (!ports)
		return -1;
	if (count > SL_SNAT_PORTS)
		count = SL_SNAT_PORTS;
	words = (count + 63) / 64;
	if (!ports->touched)
		ports->touched = 1;
	blocks = (words + SL_SNAT_BLOCK_WORDS - 1) / SL_SNAT_BLOCK_WORDS;
	start = (bpf_get_smp_processor_id() + table + p->flow.entry.last_seen * 31) % blocks *
			SL_SNAT_BLOCK_WORDS +
		random % SL_SNAT_BLOCK_WORDS;
	if (start >= words)
		start = words - 1;
	word = start;
	for (int i = 0; i < SNAT_TAKES; i++) {
		__u64 mask = snat_mask(count - word * 64), used, bit;
		__u32 place;

		used = ports->used[word & (SL_SNAT_WORDS - 1)];
		if (~used & mask) {
			place = snat_first(~used & mask, random >> 16);
			bit = 1ULL << place;
			used = __sync_fetch_and_or(&ports->used[word & (SL_SNAT_WORDS - 1)], bit);
			if (!(~(used | bit) & mask))
				snat_mark_full(ports, word);
			if (!(used & bit)) {
				p->flow.entry.new_source_port =
					bpf_htons(first + word * 64 + place);
				return 0;
			}
		} else {
			snat_mark_full(ports, word);
		}
		/* Most words have room: which of them has none is another line. */
		word = snat_open_word(table, words, start);
		if (word >= words)
			return -1;
	}
	return -1;
}

/*
 * Gives p->flow.entry, for the try of number @i, the address of the node that has the turn @turn +
 * @i, and a port: at first the client's, if it is in the range; then one that sl_snat_ports has as
 * free; in the end any. p->flow.entry.last_seen must be now. Return: 0; 1: nobody knows yet whether
 * it is free, and it is not marked; -1: there is none.
 */
__noinline int snat_try(struct packet *p, __u32 turn, __u32 i)
{
	__u32 zero = 0, first, count, place, addresses;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);

	if (!p || !config || p->family >= SL_FAMILY_COUNT)
		return -1;
	addresses = config->snat_addresses[p->family];
	if (!addresses)
		return -1;
	p->flow.entry.new_source = config->snat_address[p->family & 1][(turn + i) % addresses &
								       (SL_SNAT_ADDRESSES - 1)];
	first = config->snat_port_min;
	count = config->snat_port_max - first + 1;
	place = bpf_ntohs(p->flow.key.source_port) - first;
	if (i || place >= count) {
		if (i <= SNAT_GUIDED_TRIES && !(p->flags & PACKET_TRACED))
			return snat_take(p, first, count);
		place = (__u64)bpf_get_prandom_u32() * count >> 32;
	}
	p->flow.entry.new_source_port = bpf_htons(first + place);
	return 1;
}

/*
 * Would answers to the port of p->flow.entry.new_source be taken for something else: for requests,
 * as it is a service's, or for what nodes pass on to each other? One bit for most; a lookup where
 * that says maybe. Return: not 0: yes.
 */
static __always_inline int snat_is_ambiguous(const struct packet *p)
{
	struct service_key key = {};

	if (p->flow.key.protocol == IPPROTO_UDP &&
	    p->flow.entry.new_source_port == bpf_htons(SL_GUE_PORT))
		return 1;
	key.address = p->flow.entry.new_source;
	if (!filter_has(&p->flow.entry.new_source, p->flow.entry.new_source_port,
			p->flow.key.protocol))
		return 0;
	*(__u64 *)&key.port = (__u64)p->flow.key.protocol << 32 | p->flow.entry.new_source_port;
	return bpf_map_lookup_elem(&sl_services, &key) ? 1 : 0;
}

/* Marks the port of p->flow.entry as taken, which was found without asking. */
static __noinline int snat_mark(const struct packet *p)
{
	__u32 zero = 0, table, place;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	struct snat_ports *ports = snat_ports_of(p, &table);

	if (!config || !ports)
		return -1;
	place = bpf_ntohs(p->flow.entry.new_source_port) - config->snat_port_min;
	if (place >= SL_SNAT_PORTS)
		return -1;
	if (!ports->touched)
		ports->touched = 1;
	__sync_fetch_and_or(&ports->used[place / 64 & (SL_SNAT_WORDS - 1)], 1ULL << place % 64);
	return 0;
}

/*
 * Gives p->flow.entry an address of the node and a source port of it that no other flow to the same
 * backend has, and the flow its two places in sl_opening. The client's port is kept if it is in the
 * range. Of several addresses one is drawn, so that they fill evenly; each try is the next one's.
 * Return: 0; 1: another CPU has just done so for the same flow, p->flow.entry is what it chose;
 * -1: no port free, or the node has no address of the family.
 */
__noinline int snat_claim(struct packet *p)
{
	__u32 turn = bpf_get_prandom_u32() >> 1;
	int tried, kept;

	if (!p)
		return -1;
	p->flow.entry.flags |= SL_FLOW_SNAT;
	if (p->flags & PACKET_TRACED)
		return snat_try(p, turn, 0) < 0 ? -1 : 0;
	for (__u32 i = 0; i < SNAT_TRIES; i++) {
		tried = snat_try(p, turn, i);
		if (tried < 0 || snat_is_ambiguous(p))
			continue;
		/* The place first: a flow that is promoted meanwhile is in one or the other. */
		kept = opening_put(p, 1);
		if (kept > 0) {
			/* Another CPU's, or what a full bucket has left of this flow. */
			opening_put(p, 0);
			return kept;
		}
		if (!kept) {
			if (!opening_is_taken(p)) {
				if (tried)
					snat_mark(p);
				return opening_put(p, 0);
			}
			opening_clear(p);
		}
	}
	return -1;
}
