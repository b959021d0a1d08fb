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

/* How often a bit may be lost to another CPU before the search is given up. */
enum { SNAT_RACES = 4 };

enum { SNAT_LINES = SL_SNAT_WORDS / 64 };

/* The bits of a word that stand for anything, @count being left from its first. */
static __always_inline __u64 snat_mask(__u32 count)
{
	return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

/*
 * The place of the first bit of @bits that is set, from @start on and round; @bits is not 0.
 * Global, so that its 64 ways are verified once.
 */
__noinline int snat_first(__u64 bits, __u32 start)
{
	__u32 at = 0;

	start &= 63;
	bits = bits >> start | bits << ((64 - start) & 63);
	if (!(__u32)bits) {
		at += 32;
		bits >>= 32;
	}
	if (!(bits & 0xffff)) {
		at += 16;
		bits >>= 16;
	}
	if (!(bits & 0xff)) {
		at += 8;
		bits >>= 8;
	}
	if (!(bits & 0xf)) {
		at += 4;
		bits >>= 4;
	}
	if (!(bits & 3)) {
		at += 2;
		bits >>= 2;
	}
	return (at + !(bits & 1) + start) & 63;
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

/*
 * Gives p->flow.entry the node's address that has the @turn. Return: how many ports it has towards
 * the new destination, of which *@table is the table; 0: the node has none.
 */
static __always_inline __u32 snat_use(struct packet *p, __u32 turn, __u32 *table)
{
	__u32 zero = 0, addresses;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);

	if (!config || p->family >= SL_FAMILY_COUNT)
		return 0;
	addresses = config->snat_addresses[p->family];
	if (!addresses)
		return 0;
	p->flow.entry.new_source =
		config->snat_address[p->family & 1][turn % addresses & (SL_SNAT_ADDRESSES - 1)];
	*table = snat_table(&p->flow.entry.new_source, &p->flow.entry.new_destination,
			    p->flow.entry.new_destination_port, p->flow.key.protocol);
	p->flow.entry.new_source_port = bpf_htons(config->snat_port_min);
	return config->snat_port_max - config->snat_port_min + 1;
}

/* The port at @place of the range, whose first the entry has. */
static __always_inline void snat_set_place(struct packet *p, __u32 place)
{
	p->flow.entry.new_source_port = bpf_htons(bpf_ntohs(p->flow.entry.new_source_port) + place);
}

/*
 * Gives p->flow.entry the node's address that has the @turn, and a port that sl_snat_ports has as
 * free, and as taken from now on. CPUs begin in blocks (cache lines) of their own, which change
 * with every tick. Return: 0; -1: there is none. Cost: with one CPU at work two cache lines, and up
 * to eight more as the range fills.
 */
__noinline int snat_take(struct packet *p, __u32 turn)
{
	__u32 table = 0, count, words, random = bpf_get_prandom_u32(), blocks, start;
	struct snat_ports *ports;

	if (!p)
		return -1;
	count = snat_use(p, turn, &table);
	ports = bpf_map_lookup_elem(&sl_snat_ports, &table);
	if (!ports || !count)
		return -1;
	if (count > SL_SNAT_PORTS)
		count = SL_SNAT_PORTS;
	words = (count + 63) / 64;
	if (!ports->touched)
		ports->touched = 1;
	blocks = (words + SL_SNAT_BLOCK_WORDS - 1) / SL_SNAT_BLOCK_WORDS;
	start = (bpf_get_smp_processor_id() + now_ticks() * 31) % blocks * SL_SNAT_BLOCK_WORDS +
		random % SL_SNAT_BLOCK_WORDS;
	if (start >= words)
		start = words - 1;
	for (int i = 0; i < SNAT_RACES; i++) {
		__u32 word = snat_open_word(table, words, start);
		__u64 mask, used, bit;
		__u32 place;

		if (word >= words)
			return -1;
		mask = snat_mask(count - word * 64);
		used = ports->used[word & (SL_SNAT_WORDS - 1)];
		if (~used & mask) {
			place = snat_first(~used & mask, random >> 16);
			bit = 1ULL << place;
			used = __sync_fetch_and_or(&ports->used[word & (SL_SNAT_WORDS - 1)], bit);
			if (!(~(used | bit) & mask))
				__sync_fetch_and_or(&ports->full[word / 64 & (SNAT_LINES - 1)],
						    1ULL << word % 64);
			if (!(used & bit)) {
				snat_set_place(p, word * 64 + place);
				return 0;
			}
		} else {
			__sync_fetch_and_or(&ports->full[word / 64 & (SNAT_LINES - 1)],
					    1ULL << word % 64);
		}
	}
	return -1;
}

/*
 * Gives p->flow.entry the node's address that has the @turn, and the client's port if it is in the
 * range and @keep, else any. Nobody knows yet whether it is free. Return: 0; -1: it is not.
 */
__noinline int snat_guess(struct packet *p, __u32 turn, __u32 keep)
{
	__u32 table = 0, count, place;

	if (!p)
		return -1;
	count = snat_use(p, turn, &table);
	if (!count)
		return -1;
	place = bpf_ntohs(p->flow.key.source_port) - bpf_ntohs(p->flow.entry.new_source_port);
	if (!keep)
		place = (__u64)bpf_get_prandom_u32() * count >> 32;
	else if (place >= count)
		return -1;
	snat_set_place(p, place);
	return 0;
}

/*
 * Would answers to the port of p->flow.entry.new_source be taken for something else: for requests,
 * as it is a service's, or for what nodes pass on to each other? One bit for most; a lookup where
 * that says maybe. Return: not 0: yes.
 */
__noinline int snat_is_ambiguous(const struct packet *p)
{
	struct service_key key = {};

	if (!p)
		return 1;
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
__noinline int snat_mark(struct packet *p)
{
	__u32 zero = 0, table, place;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	struct snat_ports *ports;

	if (!p || !config)
		return -1;
	table = snat_table(&p->flow.entry.new_source, &p->flow.entry.new_destination,
			   p->flow.entry.new_destination_port, p->flow.key.protocol);
	ports = bpf_map_lookup_elem(&sl_snat_ports, &table);
	place = bpf_ntohs(p->flow.entry.new_source_port) - config->snat_port_min;
	if (!ports || place >= SL_SNAT_PORTS)
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
	bool taken;
	int kept;

	if (!p)
		return -1;
	p->flow.entry.flags |= SL_FLOW_SNAT;
	if (p->flags & PACKET_TRACED)
		return snat_guess(p, turn, 1) && snat_guess(p, turn, 0) ? -1 : 0;
	for (__u32 i = 0; i < SNAT_TRIES; i++) {
		taken = i && i <= SNAT_GUIDED_TRIES;
		if (taken ? snat_take(p, turn + i) : snat_guess(p, turn + i, !i))
			continue;
		if (snat_is_ambiguous(p))
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
				if (!taken)
					snat_mark(p);
				return opening_put(p, 0);
			}
			opening_clear(p);
		}
	}
	return -1;
}
