/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services for processes of the node and of pods: a call that names a service's address is given a
 * backend's, and the service's again where it is asked who the peer is. No packet is rewritten.
 */
#pragma once

#include <linux/errno.h>
#include <linux/in.h>

#include "config.h"
#include "core/count.h"
#include "core/filter.h"
#include "core/select.h"
#include "hook/sock_addr.h"

/* Where a call goes, and what is found out about that. */
struct socket_target {
	struct addr address;
	__be16 port;
	__u8 traced;  /* nothing is counted or remembered */
	__u8 connect; /* the call is connect() */
	__u8 pod;     /* the socket is of another network namespace than the node's */
	__u32 protocol;
	__u32 family;	/* enum sl_family, of the address */
	__u32 frontend; /* enum sl_frontend_kind */
	__u64 netns;	/* the socket's network namespace, by its cookie */
	__u32 service_id;
	__u32 reason; /* enum sl_reason, of a call that fails */
};

/* Loopback and unspecified addresses: at a node's port they stand for the node. */
static __always_inline bool socket_is_loopback(const struct addr *address)
{
	if (address->w[0] | address->w[1])
		return false;
	if (address->w[2] == bpf_htonl(0xffff))
		return (bpf_ntohl(address->w[3]) >> 24) == 127 || !address->w[3];
	return !address->w[2] && bpf_ntohl(address->w[3]) <= 1;
}

/* Is the call answered as a rejected packet would be? */
static __always_inline bool socket_rejects(__u32 reason)
{
	return reason == SL_REASON_NO_BACKEND || reason == SL_REASON_NO_SUCH_PORT;
}

/* Return: the error of a call that @reason is in the way of. */
static __always_inline int socket_refuse(struct socket_target *target, __u32 service_id,
					 __u32 reason)
{
	struct service_stats *stats = bpf_map_lookup_elem(&sl_svc_stats, &service_id);

	/* Without the right error (before Linux 6.1) a pod is answered at its interface, by an RST.
	 */
	if (target->pod && !sl_has_retval)
		return 0;
	target->service_id = service_id;
	target->reason = reason;
	if (!target->traced) {
		count_drop(reason, service_id);
		if (stats && service_id) {
			if (socket_rejects(reason))
				__sync_fetch_and_add(&stats->rejected, 1);
			else
				__sync_fetch_and_add(&stats->dropped, 1);
		}
	}
	if (socket_rejects(reason))
		return -ECONNREFUSED;
	return reason == SL_REASON_SOURCE_DENIED ? -EPERM : -EHOSTUNREACH;
}

/* No service is there: is the address ours all the same? Return: 0, or the error of the call. */
static __noinline int socket_unknown(struct socket_target *target)
{
	struct service_key key = { .address = target->address };
	struct node_config *config;
	struct service *service;
	__u32 zero = 0;

	/* Such a call sends nothing: it asks which source address would be used (getaddrinfo). */
	if (target->connect && target->protocol == IPPROTO_UDP)
		return 0;
	if (filter_has(&target->address, 0, 0)) {
		service = bpf_map_lookup_elem(&sl_services, &key);
		if (service)
			return socket_refuse(target, service->id, SL_REASON_NO_SUCH_PORT);
	}
	config = bpf_map_lookup_elem(&sl_config, &zero);
	if (config && target->family < SL_FAMILY_COUNT &&
	    address_in_range(&config->service_range[target->family], &target->address))
		return socket_refuse(target, 0, SL_REASON_NO_SUCH_SERVICE);
	return 0;
}

/* Return: 1 and *peer, if the target is a service; 0: it is not; else the error of the call. */
static __noinline int socket_choose(struct socket_target *target, struct socket_peer *peer)
{
	struct service_key key = { .address = target->address };
	bool loopback = socket_is_loopback(&target->address);
	/*
	 * Bound by network namespace, and by family: a service has endpoints of both. Nobody has a
	 * multicast address for a source, so that these meet no packet's client.
	 */
	struct addr bound = { .w = { ~0U, target->family, target->netns >> 32, target->netns } };
	__u32 zero = 0, id = 0, reason = 0;
	struct node_config *config = bpf_map_lookup_elem(&sl_config, &zero);
	struct service *service;
	struct backend *backend;
	__u32 point;
	struct addr node;
	bool leave;

	if (!config || target->family >= SL_FAMILY_COUNT)
		return 0;
	/* A pod's loopback is its own; what its packets may not reach the programs at its interface
	 * say. */
	leave = loopback || target->pod;
	if (loopback && target->pod)
		return 0;
	node = config->node_address[target->family];
	if (loopback)
		key.address = node;
	if (!filter_has(&key.address, target->port, target->protocol))
		return leave ? 0 : socket_unknown(target);
	*(__u64 *)&key.port = (__u64)target->protocol << 32 | target->port;
	service = bpf_map_lookup_elem(&sl_services, &key);
	if (loopback && service && service->kind != SL_FRONTEND_NODE_PORT)
		return 0;
	if (!service)
		return leave ? 0 : socket_unknown(target);
	/* Which address the pod would have as a client is known of its packets only. */
	if (target->pod && (service->flags & (SL_SERVICE_RANGES_V4 | SL_SERVICE_RANGES_V6) ||
			    service->algorithm == SL_ALGORITHM_MAGLEV_SOURCE))
		return 0;
	target->frontend = service->kind;
	/* Its port is not known yet either: where a flow's hash is asked for, chance is as even. */
	point = service->algorithm == SL_ALGORITHM_MAGLEV_SOURCE ? maglev_source_point(&node)
								 : bpf_get_prandom_u32();
	/* Source ranges: the node's own traffic passes if the node's address is in range. */
	backend = select_backend(service, &node, &bound, target->family, false, point, 0, &id,
				 &reason);
	if (!backend)
		return socket_refuse(target, service->id, reason);
	target->service_id = service->id;
	if (service->flags & SL_SERVICE_AFFINITY && !target->traced) {
		__u32 first_id = affinity_bind(service, &bound, id, backend->generation,
					       select_local_only(service, false));
		struct backend *first = bpf_map_lookup_elem(&sl_backends, &first_id);

		if (first && first->flags & SL_BACKEND_USABLE) {
			backend = first;
			id = first_id;
		}
	}
	peer->service = target->address;
	peer->service_port = target->port;
	peer->backend = backend->address;
	peer->backend_port = backend->port;
	peer->service_id = service->id;
	peer->backend_id = id;
	peer->backend_generation = backend->generation;
	if (!target->traced)
		count_opened(service->id, id);
	return 1;
}

static __always_inline int socket_end(int verdict)
{
	if (verdict >= 0)
		return CALL_PROCEED;
	if (sl_has_retval)
		bpf_set_retval(verdict);
	return CALL_REFUSE;
}

/* Return: whether the call is one that gets its backend here. */
static __always_inline bool socket_target(sl_call_ctx *ctx, bool v6, bool connect,
					  struct socket_target *target)
{
	__builtin_memset(target, 0, sizeof(*target));
	target->protocol = ctx->protocol;
	if (target->protocol != IPPROTO_TCP && target->protocol != IPPROTO_UDP)
		return false;
	target->netns = bpf_get_netns_cookie(ctx);
	target->connect = connect;
	target->pod = target->netns != sl_node_netns;
	/* Datagrams of pods are looked at one by one, so that none goes to a backend that is gone.
	 */
	if (target->pod && (!sl_pod_sockets || !connect || target->protocol != IPPROTO_TCP))
		return false;
	call_address(ctx, v6, &target->address);
	target->port = call_port(ctx);
	target->family = !target->address.w[0] && !target->address.w[1] &&
					 target->address.w[2] == bpf_htonl(0xffff)
				 ? SL_FAMILY_V4
				 : SL_FAMILY_V6;
	return true;
}

/*
 * Keeps @peer with the socket; NULL: whatever it was connected to before, it now is to something
 * that is no service.
 */
static __always_inline void socket_remember(sl_call_ctx *ctx, const struct socket_target *target,
					    const struct socket_peer *peer)
{
	__u64 create = peer ? BPF_SK_STORAGE_GET_F_CREATE : 0;
	struct connection *connection;
	struct socket_peers *peers;

	if (target->protocol == IPPROTO_TCP) {
		if (!peer) {
			bpf_sk_storage_delete(&sl_conns, ctx->sk);
			return;
		}
		connection = bpf_sk_storage_get(&sl_conns, ctx->sk, 0, create);
		if (!connection)
			return;
		__builtin_memset(connection, 0, sizeof(*connection));
		connection->peer = *peer;
		return;
	}
	peers = bpf_sk_storage_get(&sl_sockets, ctx->sk, 0, create);
	if (!peers)
		return;
	__builtin_memset(peers, 0, sizeof(*peers));
	if (peer)
		peers->peers[0] = *peer;
	peers->next = 1;
}

/* connect(): the backend for good. */
static __always_inline int socket_connect(sl_call_ctx *ctx, bool v6)
{
	struct socket_peer peer = {};
	struct socket_target target;
	int verdict;

	if (!socket_target(ctx, v6, true, &target))
		return CALL_PROCEED;
	verdict = socket_choose(&target, &peer);
	if (verdict < 0)
		return socket_end(verdict);
	if (verdict == 0) {
		socket_remember(ctx, &target, NULL);
		return CALL_PROCEED;
	}
	socket_remember(ctx, &target, &peer);
	call_set(ctx, v6, &peer.backend, peer.backend_port);
	return CALL_PROCEED;
}

/*
 * Is the peer the one that @target was translated to before, its backend still usable, and the
 * address still that service's?
 */
static __noinline int socket_still_good(const struct socket_peer *peer,
					const struct socket_target *target)
{
	struct service_key key = { .address = target->address };
	__u32 id = peer->backend_id, zero = 0;
	struct node_config *config;
	struct service *service;
	struct backend *backend;

	if (!same_address(&peer->service, &target->address) || peer->service_port != target->port ||
	    !peer->backend_id)
		return 0;
	backend = bpf_map_lookup_elem(&sl_backends, &id);
	if (!backend_present(backend, peer->backend_generation) ||
	    !(backend->flags & SL_BACKEND_USABLE))
		return 0;
	if (socket_is_loopback(&key.address)) {
		config = bpf_map_lookup_elem(&sl_config, &zero);
		if (!config || target->family >= SL_FAMILY_COUNT)
			return 0;
		key.address = config->node_address[target->family];
	}
	*(__u64 *)&key.port = (__u64)target->protocol << 32 | target->port;
	service = bpf_map_lookup_elem(&sl_services, &key);
	return service && service->id == peer->service_id;
}

/* sendto() and the like: the backend of the last datagram to the same service, as long as it is
 * usable. */
static __always_inline int socket_send(sl_call_ctx *ctx, bool v6)
{
	struct socket_peer peer = {};
	struct socket_peers *peers;
	struct socket_target target;
	__u32 place = SL_SOCKET_PEERS;
	int verdict;

	if (!socket_target(ctx, v6, false, &target))
		return CALL_PROCEED;
	peers = bpf_sk_storage_get(&sl_sockets, ctx->sk, 0, 0);
	if (peers) {
#pragma unroll
		for (__u32 i = 0; i < SL_SOCKET_PEERS; i++) {
			if (socket_still_good(&peers->peers[i], &target)) {
				call_set(ctx, v6, &peers->peers[i].backend,
					 peers->peers[i].backend_port);
				return CALL_PROCEED;
			}
			if (same_address(&peers->peers[i].service, &target.address) &&
			    peers->peers[i].service_port == target.port)
				place = i;
		}
	}
	verdict = socket_choose(&target, &peer);
	if (verdict <= 0)
		return socket_end(verdict);
	peers = bpf_sk_storage_get(&sl_sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (peers) {
		if (place >= SL_SOCKET_PEERS)
			place = peers->next++ & (SL_SOCKET_PEERS - 1);
		peers->peers[place & (SL_SOCKET_PEERS - 1)] = peer;
	}
	call_set(ctx, v6, &peer.backend, peer.backend_port);
	return CALL_PROCEED;
}

/* Is @peer where the address is from? Then the service's takes its place. */
static __always_inline bool socket_tell(sl_call_ctx *ctx, bool v6, const struct socket_peer *peer,
					const struct addr *address, __be16 port)
{
	if (!peer->backend_id || peer->backend_port != port ||
	    !same_address(&peer->backend, address))
		return false;
	call_set(ctx, v6, &peer->service, peer->service_port);
	return true;
}

/* recvmsg() and getpeername(): the service's address in place of its backend's. */
static __always_inline int socket_tell_service(sl_call_ctx *ctx, bool v6)
{
	struct connection *connection;
	struct socket_peers *peers;
	struct addr address;
	__be16 port;

	call_address(ctx, v6, &address);
	port = call_port(ctx);
	if (ctx->protocol == IPPROTO_TCP) {
		connection = bpf_sk_storage_get(&sl_conns, ctx->sk, 0, 0);
		if (connection)
			socket_tell(ctx, v6, &connection->peer, &address, port);
		return CALL_PROCEED;
	}
	peers = bpf_sk_storage_get(&sl_sockets, ctx->sk, 0, 0);
	if (!peers)
		return CALL_PROCEED;
#pragma unroll
	for (__u32 i = 0; i < SL_SOCKET_PEERS; i++) {
		if (socket_tell(ctx, v6, &peers->peers[i], &address, port))
			break;
	}
	return CALL_PROCEED;
}
