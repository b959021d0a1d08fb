/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows that are being opened: sl_opening, an array of locked buckets of four. A flood of opens
 * costs a cache miss each and can push out nothing but other opens. What is under the lock is
 * straight code: the verifier allows no calls there.
 */
#pragma once

#include "config.h"
#include "core/clients.h"
#include "core/conntrack.h"

/*
 * A handshake is complete if the client acknowledges the SYN-ACK's number, or, with TCP Fast Open,
 * up to this much data behind it: nobody who has not seen the SYN-ACK gets a row in sl_flows.
 */
enum { OPENING_ACK_WINDOW = 65536 };

/* CPUs that open the same flow at once do so within a tick, and a tick may end meanwhile. */
enum { OPENING_JUST_TICKS = 1 };

enum opening_action {
	OPENING_ANSWERED, /* the backend has answered */
	OPENING_PROVEN,	  /* the backend says that the handshake is complete */
	OPENING_REFUSED,  /* an RST came, which may be forged: the place stays */
	OPENING_SEEN,	  /* says nothing about the handshake */
	OPENING_CLEAR,	  /* the flow is established, or its backend gone */
	OPENING_HAND,	  /* what one hook has decided is for the next to carry out */
};

/* In expected_ack of a flow without an answer: the packet that it is of comes once more, at TC. */
enum { OPENING_HANDED_MARK = 1 };

/* Besides 1, of opening_find: it is the packet that opened the flow. */
enum { OPENING_HANDED = 2 };

/* See client_hash(). One array read. */
static __always_inline __u32 opening_hash(const struct addr *address, __be16 port, __u32 protocol)
{
	__u32 zero = 0;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);

	return client_hash(address, port, protocol, config ? config->hash_seed : 0);
}

/* Whom p->flow.key is from, as all below that are not about answers want to know it. */
static __always_inline void opening_set_client(struct packet *p)
{
	if (p->client)
		return;
	p->client =
		opening_hash(&p->flow.key.source, p->flow.key.source_port, p->flow.key.protocol);
}

/* Of the answers to p->flow, that come to the end of hash @node. */
static __always_inline __u32 opening_answer_hash(const struct packet *p, __u32 node)
{
	return client_answer_hash(node, &p->flow.entry.new_destination,
				  p->flow.entry.new_destination_port, p->flow.key.protocol);
}

static __always_inline struct opening_bucket *opening_bucket(__u32 hash)
{
	__u32 index = hash & sl_opening_mask;

	return bpf_map_lookup_elem(&sl_opening, &index);
}

/*
 * Could the bucket hold a flow of @hash? Read without the lock, so that what is nobody's takes
 * none. *seen: made of all that was read, for who must read something else after it.
 */
static __always_inline bool opening_may_hold(const struct opening_bucket *bucket, __u32 hash,
					     __u32 *seen)
{
	const volatile __u32 *tag = bucket->tag;
	__u32 a = tag[0], b = tag[1], c = tag[2], d = tag[3];

	*seen = a ^ b ^ c ^ d;
	return a == hash || b == hash || c == hash || d == hash;
}

/*
 * Has p's client neither a place of its own nor, as far as sl_clients says, an established flow?
 * The places first: a flow that is promoted meanwhile has its bits before its place is freed.
 * p->client must be set. Two array reads.
 */
static __always_inline bool opening_client_is_new(const struct packet *p)
{
	const struct opening_bucket *bucket = opening_bucket(p->client);
	const struct client_word *word = client_word(p->client);
	__u32 seen;

	if (!bucket || !word)
		return false;
	/* Asked for now, and looked at below: both come from memory, and then do so together. */
	client_ask(word);
	return !opening_may_hold(bucket, p->client, &seen) &&
	       !client_is_in_after(word, p->client, seen);
}

/* Whether the place has been silent for too long. Signed: another CPU's tick may be ahead. */
static __always_inline bool opening_is_fresh(__u32 now, __u32 last_seen)
{
	return (__s32)(now - last_seen) <= SL_OPENING_TICKS;
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
	       source[1] == words[3] && flow->entry.new_destination_port == reply->source_port &&
	       flow->entry.new_source_port == reply->destination_port &&
	       flow->key.protocol == reply->protocol;
}

/* Do answers to @a come with the same tuple as answers to @b? */
static __always_inline bool opening_same_answers(const struct opening_flow *a,
						 const struct opening_flow *b)
{
	const __u64 *x = (const __u64 *)&a->entry, *y = (const __u64 *)&b->entry;

	/* Those of flows that are passed on go from there to their clients. */
	if (a->entry.path == SL_PATH_TO_NODE || b->entry.path == SL_PATH_TO_NODE)
		return false;
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] &&
	       entry_ports(&a->entry) == entry_ports(&b->entry) &&
	       a->key.protocol == b->key.protocol;
}

/*
 * Puts p->flow into a place of its own: by the client, or with @snat by the node's address and
 * port, where replies look for it. A place of the same flow is used again, else a free one, else
 * that of the flow that has been silent longest. Return: 0; 1: another CPU has just put the same
 * flow there, p->flow.entry is now what it chose; -1: another flow's replies have the same tuple.
 * Nothing was written then. What is of the same flow and older is one of two places, of which the
 * other was pushed out: what it says may be long untrue. Also says by PACKET_KNOWN whether answers
 * may be an established flow's, which the caller is to look at. p->client must be set, and
 * p->flow.entry.last_seen be now, which it stays.
 */
__noinline int opening_put(struct packet *p, int snat)
{
	struct opening_bucket *bucket;
	__u32 hash, now, oldest = 0;
	__u32 way = 0;
	int kept = 0;

	if (!p)
		return -1;
	hash = snat ? opening_hash(&p->flow.entry.new_source, p->flow.entry.new_source_port,
				   p->flow.key.protocol)
		    : p->client;
	bucket = opening_bucket(hash);
	if (!bucket)
		return -1;
	now = p->flow.entry.last_seen;
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		bool fresh = opening_is_fresh(now, bucket->last_seen[i]);
		__u32 age = !bucket->tag[i] ? ~0U - 1
			    : (__s32)(now - bucket->last_seen[i]) < 0
				    ? 1
				    : now - bucket->last_seen[i] + 1;

		if (fresh && bucket->tag[i] == hash) {
			if (opening_same_key(&bucket->flows[i].key, &p->flow.key)) {
				age = ~0U;
				if (bucket->flows[i].entry.service_id == p->flow.entry.service_id &&
				    (__s32)(now - bucket->last_seen[i]) <= OPENING_JUST_TICKS)
					kept = 1;
			} else if (!kept && opening_same_answers(&bucket->flows[i], &p->flow)) {
				kept = -1;
			}
		}
		if (age > oldest) {
			oldest = age;
			way = i;
		}
	}
	way &= SL_OPENING_WAYS - 1; /* what the verifier has lost sight of */
	if (kept > 0) {
		p->flow.entry = bucket->flows[way].entry;
		p->flow.entry.last_seen = now; /* answers renew the place alone */
	} else if (!kept) {
		bucket->flows[way] = p->flow;
		bucket->tag[way] = hash;
		bucket->last_seen[way] = now;
		bucket->expected_ack[way] = 0;
	}
	bpf_spin_unlock(&bucket->lock);
	/* After the lock: whoever was promoted out of this bucket before has its bits. */
	if (snat)
		hash = opening_answer_hash(p, hash);
	p->flags &= ~PACKET_KNOWN;
	if (client_is_known(hash))
		p->flags |= PACKET_KNOWN;
	return kept;
}

/* Do answers to p->flow, which has just been put into its place, come to an established flow? */
static __always_inline bool opening_is_taken(const struct packet *p)
{
	return p->flags & PACKET_KNOWN && conntrack_taken(p);
}

/*
 * Do answers to p->flow, which has been found by its client, still come to it? Of a flow's two
 * places one may have been pushed out: that of the answers is put back, unless another flow has
 * been given the port meanwhile.
 */
static __noinline int opening_hold(struct packet *p)
{
	struct flow_entry entry = p->flow.entry;
	int kept;

	p->flow.entry.last_seen = now_ticks();
	kept = opening_put(p, 1);

	p->flow.entry = entry;
	return kept > 0 || (!kept && !opening_is_taken(p));
}

/*
 * Return: 1 and p->flow.entry, if the flow of p->flow.key is being opened, OPENING_HANDED also; -1
 * and the same, if it was, and answers to it would go to another flow by now; else 0. An answered
 * TCP flow is given out as unanswered to packets until one has completed its handshake. p->client
 * must be set.
 */
__noinline int opening_find(struct packet *p)
{
	struct opening_bucket *bucket;
	bool completes;
	__u32 hash, now, window, seen;
	int found = 0;

	if (!p)
		return 0;
	hash = p->client;
	bucket = opening_bucket(hash);
	if (!bucket || !opening_may_hold(bucket, hash, &seen))
		return 0;
	now = now_ticks();
	/* The tag of an SCTP association is the very one. */
	window = p->flow.key.protocol == IPPROTO_TCP ? OPENING_ACK_WINDOW : 1;
	completes = p->flow.key.protocol != IPPROTO_UDP &&
		    (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK;
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (!found && bucket->tag[i] == hash &&
		    opening_is_fresh(now, bucket->last_seen[i]) &&
		    opening_same_key(&bucket->flows[i].key, &p->flow.key)) {
			if (completes && bucket->flows[i].entry.flags & SL_FLOW_ANSWERED &&
			    p->acknowledgment - bucket->expected_ack[i] < window)
				bucket->flows[i].entry.flags |= SL_FLOW_CONFIRMED;
			p->flow.entry = bucket->flows[i].entry;
			bucket->last_seen[i] = now;
			found = 1;
			if (!(p->flow.entry.flags & SL_FLOW_ANSWERED) &&
			    bucket->expected_ack[i] == OPENING_HANDED_MARK) {
				bucket->expected_ack[i] = 0;
				found = OPENING_HANDED;
			}
		}
	}
	bpf_spin_unlock(&bucket->lock);
	if (found && p->flow.entry.flags & SL_FLOW_SNAT && !opening_hold(p))
		return -1;
	if (found && p->flow.entry.path == SL_PATH_TO_NODE && p->flow.key.protocol == IPPROTO_UDP)
		p->flow.entry.flags |= SL_FLOW_ANSWERED;
	if (!found || p->flow.key.protocol == IPPROTO_UDP)
		return found;
	if (!(p->tcp_flags & TCP_SYN) && !(p->flow.entry.flags & SL_FLOW_CONFIRMED))
		p->flow.entry.flags &= ~SL_FLOW_ANSWERED;
	/* That its answers are seen by the client, its next packet says. */
	if (p->flow.entry.path == SL_PATH_TO_NODE && !(p->tcp_flags & TCP_SYN))
		p->flow.entry.flags |= SL_FLOW_ANSWERED;
	p->flow.entry.flags &= ~SL_FLOW_CONFIRMED;
	return found;
}

/* Does @action to the flow @key in the bucket of @hash, if it is there. */
static __always_inline void opening_act(__u32 hash, const struct flow *key,
					enum opening_action action, __u32 expected_ack)
{
	struct opening_bucket *bucket = opening_bucket(hash);

	if (!bucket)
		return;
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (bucket->tag[i] == hash && opening_same_key(&bucket->flows[i].key, key)) {
			if (action == OPENING_ANSWERED) {
				bucket->flows[i].entry.flags |= SL_FLOW_ANSWERED;
				bucket->flows[i].entry.flags &= ~SL_FLOW_RESET;
				bucket->expected_ack[i] = expected_ack;
			} else if (action == OPENING_PROVEN) {
				if (bucket->flows[i].entry.flags & SL_FLOW_ANSWERED) {
					bucket->flows[i].entry.flags |= SL_FLOW_CONFIRMED;
					bucket->flows[i].entry.flags &= ~SL_FLOW_RESET;
				}
			} else if (action == OPENING_REFUSED) {
				bucket->flows[i].entry.flags |= SL_FLOW_RESET;
			} else if (action == OPENING_CLEAR) {
				bucket->tag[i] = 0;
			} else if (action == OPENING_HAND) {
				if (!(bucket->flows[i].entry.flags & SL_FLOW_ANSWERED))
					bucket->expected_ack[i] = OPENING_HANDED_MARK;
			}
		}
	}
	bpf_spin_unlock(&bucket->lock);
}

/*
 * What an answer comes to. The backend's word for it that the client has returned its cookie counts
 * as much as the client's tag: a client that has sent its INIT again has that of an earlier INIT
 * ACK than the last. What else comes of SCTP is also sent to whoever has no association.
 */
static __always_inline enum opening_action opening_answer(const struct packet *p)
{
	if (p->tcp_flags & TCP_RST)
		return OPENING_REFUSED;
	if (p->flow.key.protocol != IPPROTO_SCTP || p->tcp_flags & TCP_SYN)
		return OPENING_ANSWERED;
	return p->tcp_flags & SCTP_PROOF ? OPENING_PROVEN : OPENING_SEEN;
}

/*
 * Return: 1 and p->flow.entry as the reply's row, if p->flow.key is the tuple of answers to a flow
 * that is being opened; else 0. @answer: the packet is one, not an error about one: the flow counts
 * as answered from then on, or as refused.
 */
__noinline int opening_find_reply(struct packet *p, int answer)
{
	struct opening_bucket *bucket;
	struct flow forward;
	int found = 0;
	__u32 hash, now, expected, seen;
	__u32 before = 0;
	enum opening_action action;

	if (!p)
		return 0;
	action = opening_answer(p);
	hash = opening_hash(&p->flow.key.destination, p->flow.key.destination_port,
			    p->flow.key.protocol);
	bucket = opening_bucket(hash);
	if (!bucket || !opening_may_hold(bucket, hash, &seen))
		return 0;
	expected = p->sequence + 1;
	now = now_ticks();
	bpf_spin_lock(&bucket->lock);
#pragma unroll
	for (int i = 0; i < SL_OPENING_WAYS; i++) {
		if (!found && bucket->tag[i] == hash &&
		    opening_is_fresh(now, bucket->last_seen[i]) &&
		    opening_same_reply(&bucket->flows[i], &p->flow.key)) {
			before = bucket->flows[i].entry.flags;
			if (answer && action == OPENING_REFUSED) {
				bucket->flows[i].entry.flags |= SL_FLOW_RESET;
			} else if (answer && action == OPENING_PROVEN) {
				if (bucket->flows[i].entry.flags & SL_FLOW_ANSWERED) {
					bucket->flows[i].entry.flags |= SL_FLOW_CONFIRMED;
					bucket->flows[i].entry.flags &= ~SL_FLOW_RESET;
				}
			} else if (answer && action == OPENING_ANSWERED) {
				bucket->flows[i].entry.flags |= SL_FLOW_ANSWERED;
				bucket->flows[i].entry.flags &= ~SL_FLOW_RESET;
				bucket->expected_ack[i] = expected;
			}
			p->flow.entry = bucket->flows[i].entry;
			forward = bucket->flows[i].key;
			bucket->last_seen[i] = now;
			found = 1;
		}
	}
	bpf_spin_unlock(&bucket->lock);
	if (!found)
		return 0;
	p->flow.entry.new_source = forward.destination;
	p->flow.entry.new_destination = forward.source;
	entry_set_ports(&p->flow.entry, swap_ports(flow_ports(&forward)));
	if ((before ^ p->flow.entry.flags) & SL_FLOW_RESET)
		load_add(p->flow.entry.backend_id, p->flow.entry.backend_generation, LOAD_FLOW,
			 action == OPENING_REFUSED ? -1 : 1);
	p->flow.entry.flags &= ~SL_FLOW_FORWARD;
	if (answer && p->flow.entry.flags & SL_FLOW_SNAT) {
		hash = opening_hash(&forward.source, forward.source_port, forward.protocol);
		opening_act(hash, &forward, action, expected);
	}
	return 1;
}

/* May a packet that no established flow claims be a reply to one that is being opened? */
static __always_inline bool opening_may_answer(const struct packet *p)
{
	if (p->flow.key.protocol != IPPROTO_TCP)
		return true;
	if (p->tcp_flags & TCP_RST || (p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		return true;
	return sl_flows_full_tick &&
	       (__s32)(now_ticks() - sl_flows_full_tick) <= CONNTRACK_FULL_TICKS;
}

/* Frees the places of p->flow: both, if it has two. p->client must be set. */
__noinline int opening_clear(struct packet *p)
{
	__u32 hash;

	if (!p)
		return -1;
	opening_act(p->client, &p->flow.key, OPENING_CLEAR, 0);
	if (p->flow.entry.flags & SL_FLOW_SNAT) {
		hash = opening_hash(&p->flow.entry.new_source, p->flow.entry.new_source_port,
				    p->flow.key.protocol);
		opening_act(hash, &p->flow.key, OPENING_CLEAR, 0);
	}
	return 0;
}

/*
 * Remembers the client of p->flow, which is to be established, and with SNAT its answers. (Without,
 * their destination is the client. That is no address and port that SNAT gives out: the node's own
 * packets meet no ingress hook.)
 */
static __noinline int opening_mark(const struct packet *p)
{
	__u32 zero = 0, hash, half;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);

	half = config ? config->clients_half : 0;
	client_mark(p->client, half);
	if (p->flow.entry.flags & SL_FLOW_SNAT) {
		hash = opening_hash(&p->flow.entry.new_source, p->flow.entry.new_source_port,
				    p->flow.key.protocol);
		client_mark(opening_answer_hash(p, hash), half);
	}
	return 0;
}
