/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows that are being opened: sl_opening, an array of locked buckets of four. A flood of opens
 * costs a cache miss each and can push out nothing but other opens. What is under the lock is
 * straight code: the verifier allows no calls there.
 */
#pragma once

#include "config.h"
#include "core/conntrack.h"

/* After this many ticks (34 s) without a packet a place is free. */
enum { OPENING_TICKS = 32 };

enum opening_action {
	OPENING_ANSWERED, /* the backend has answered */
	OPENING_CLEAR,	  /* the flow is established, or refused */
};

/* Mixes as MurmurHash3's finalizer does. Never 0, which marks a free place. */
static __always_inline __u32 opening_hash(const struct addr *address, __be16 port, __u32 protocol)
{
	const __u64 *words = (const __u64 *)address;
	__u64 hash = words[0] * 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ hash >> 32 ^ words[1]) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33 ^ port ^ (__u64)protocol << 16) * 0xc4ceb9fe1a85ec53ULL;
	hash ^= hash >> 33;
	return (__u32)hash ? (__u32)hash : 1;
}

static __always_inline struct opening_bucket *opening_bucket(__u32 hash)
{
	__u32 index = hash & sl_opening_mask;

	return bpf_map_lookup_elem(&sl_opening, &index);
}

static __always_inline bool opening_same_key(const struct flow *a, const struct flow *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

/* Is @reply the tuple that answers to @flow come with? */
static __always_inline bool opening_same_reply(const struct opening_flow *flow,
					       const struct flow *reply)
{
	const __u64 *destination = (const __u64 *)&flow->entry.new_destination;
	const __u64 *source = (const __u64 *)&flow->entry.new_source;
	const __u64 *words = (const __u64 *)reply;

	return destination[0] == words[0] && destination[1] == words[1] && source[0] == words[2] &&
	       source[1] == words[3] &&
	       flow->entry.new_destination_port == reply->source_port &&
	       flow->entry.new_source_port == reply->destination_port &&
	       flow->key.protocol == reply->protocol;
}

/* Do answers to @a come with the same tuple as answers to @b? */
static __always_inline bool opening_same_answers(const struct opening_flow *a,
						 const struct opening_flow *b)
{
	const __u64 *x = (const __u64 *)&a->entry, *y = (const __u64 *)&b->entry;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] &&
	       entry_ports(&a->entry) == entry_ports(&b->entry) &&
	       a->key.protocol == b->key.protocol;
}

/* Return: 1 and p->flow.entry, if the flow of p->flow.key is being opened; else 0. */
__noinline int opening_find(struct packet *p)
{
	struct opening_bucket *bucket;
	__u32 hash, now;
	int found = 0;

	if (!p)
		return 0;
	hash = opening_hash(&p->flow.key.source, p->flow.key.source_port, p->flow.key.protocol);
	bucket = opening_bucket(hash);
	if (!bucket)
		return 0;
	now = now_ticks();
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (!found && bucket->tag[i] == hash &&
		    now - bucket->last_seen[i] <= OPENING_TICKS &&
		    opening_same_key(&bucket->flows[i].key, &p->flow.key)) {
			p->flow.entry = bucket->flows[i].entry;
			bucket->last_seen[i] = now;
			found = 1;
		}
	}
	bpf_spin_unlock(&bucket->lock);
	return found;
}

/* Does @action to the flow @key in the bucket of @hash, if it is there. */
static __always_inline void opening_act(__u32 hash, const struct flow *key,
					enum opening_action action)
{
	struct opening_bucket *bucket = opening_bucket(hash);

	if (!bucket)
		return;
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (bucket->tag[i] == hash && opening_same_key(&bucket->flows[i].key, key)) {
			if (action == OPENING_ANSWERED)
				bucket->flows[i].entry.flags |= SL_FLOW_ANSWERED;
			else
				bucket->tag[i] = 0;
		}
	}
	bpf_spin_unlock(&bucket->lock);
}

/*
 * Return: 1 and p->flow.entry as the reply's row, if p->flow.key is the tuple of answers to a flow
 * that is being opened; else 0. @answer: the packet is one, not an error about one: the flow counts as
 * answered from then on, or is closed by a TCP RST.
 */
__noinline int opening_find_reply(struct packet *p, int answer)
{
	struct opening_bucket *bucket;
	struct flow forward;
	int found = 0;
	__u32 hash, now;
	bool refused;

	if (!p)
		return 0;
	refused = answer && p->tcp_flags & TCP_RST;
	hash = opening_hash(&p->flow.key.destination, p->flow.key.destination_port,
			    p->flow.key.protocol);
	bucket = opening_bucket(hash);
	if (!bucket)
		return 0;
	now = now_ticks();
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (!found && bucket->tag[i] == hash &&
		    now - bucket->last_seen[i] <= OPENING_TICKS &&
		    opening_same_reply(&bucket->flows[i], &p->flow.key)) {
			if (answer)
				bucket->flows[i].entry.flags |= SL_FLOW_ANSWERED;
			p->flow.entry = bucket->flows[i].entry;
			forward = bucket->flows[i].key;
			bucket->last_seen[i] = now;
			if (refused)
				bucket->tag[i] = 0;
			found = 1;
		}
	}
	bpf_spin_unlock(&bucket->lock);
	if (!found)
		return 0;
	p->flow.entry.new_source = forward.destination;
	p->flow.entry.new_destination = forward.source;
	entry_set_ports(&p->flow.entry, swap_ports(flow_ports(&forward)));
	p->flow.entry.flags &= ~SL_FLOW_FORWARD;
	if (answer && p->flow.entry.flags & SL_FLOW_SNAT) {
		hash = opening_hash(&forward.source, forward.source_port, forward.protocol);
		opening_act(hash, &forward, refused ? OPENING_CLEAR : OPENING_ANSWERED);
	}
	return 1;
}

/*
 * Puts p->flow into a place of its own: by the client, or with @snat by the node's address and port,
 * where replies look for it. A place of the same flow is used again, else a free one, else that of
 * the flow that has been silent longest.
 * Return: 0; -1: another flow's replies have the same tuple, nothing was written.
 */
__noinline int opening_put(struct packet *p, int snat)
{
	struct opening_bucket *bucket;
	__u32 hash, now, oldest = 0;
	__u32 way = 0;
	bool taken = false;

	if (!p)
		return -1;
	hash = snat ? opening_hash(&p->flow.entry.new_source, p->flow.entry.new_source_port,
				   p->flow.key.protocol) :
		      opening_hash(&p->flow.key.source, p->flow.key.source_port,
				   p->flow.key.protocol);
	bucket = opening_bucket(hash);
	if (!bucket)
		return -1;
	now = now_ticks();
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		__u32 age = bucket->tag[i] ? now - bucket->last_seen[i] + 1 : ~0U - 1;

		if (age <= OPENING_TICKS + 1 && bucket->tag[i] == hash) {
			if (opening_same_key(&bucket->flows[i].key, &p->flow.key))
				age = ~0U;
			else if (opening_same_answers(&bucket->flows[i], &p->flow))
				taken = true;
		}
		if (age > oldest) {
			oldest = age;
			way = i;
		}
	}
	if (!taken) {
		way &= SL_OPENING_WAYS - 1; /* what the verifier has lost sight of */
		bucket->flows[way] = p->flow;
		bucket->tag[way] = hash;
		bucket->last_seen[way] = now;
	}
	bpf_spin_unlock(&bucket->lock);
	return taken ? -1 : 0;
}

/* Frees the places of p->flow: both, if it has two. */
__noinline int opening_clear(struct packet *p)
{
	__u32 hash;

	if (!p)
		return -1;
	hash = opening_hash(&p->flow.key.source, p->flow.key.source_port, p->flow.key.protocol);
	opening_act(hash, &p->flow.key, OPENING_CLEAR);
	if (p->flow.entry.flags & SL_FLOW_SNAT) {
		hash = opening_hash(&p->flow.entry.new_source, p->flow.entry.new_source_port,
				    p->flow.key.protocol);
		opening_act(hash, &p->flow.key, OPENING_CLEAR);
	}
	return 0;
}
