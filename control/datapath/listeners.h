// SPDX-License-Identifier: Apache-2.0
// The node's own sockets that wait for packets, by sock_diag, and which of them a NodePort hides.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "control/desired/desired_state.h"
#include "control/model/ip_address.h"

namespace sluice {

// A TCP socket that listens, or a UDP socket that is bound and not connected.
struct Listener {
  IpAddress address;  // unspecified: every address (of its family; of both for IPv6)
  std::uint16_t port = 0;
  std::uint32_t protocol = 0;  // IPPROTO_*
  std::uint32_t inode = 0;     // of the socket: see FindSocketOwners

  friend auto operator<=>(const Listener&, const Listener&) = default;
};

// Of the calling thread's network namespace; sorted, unique. Cost: four dumps; about 1 ms with some
// hundred sockets. Errors: as errno says.
absl::StatusOr<std::vector<Listener>> ReadListeners();

// A listener whose packets from outside go to a service instead.
struct ShadowedPort {
  std::uint16_t port = 0;
  std::uint32_t protocol = 0;
  std::string service;  // "namespace/name"
  std::uint32_t inode = 0;
  std::string process = {};  // "nginx (process 123)"; empty: not looked for, or not to be seen

  friend auto operator<=>(const ShadowedPort&, const ShadowedPort&) = default;
};

// NodePorts of `services` that hide one of `listeners`. Sorted, unique.
std::vector<ShadowedPort> FindShadowed(const std::map<ServicePortName, DesiredService>& services,
                                       const std::vector<Listener>& listeners);

// {IPPROTO_*, port} of the listeners on ports that a node cannot be run without: SSH, the
// Kubernetes and etcd API servers, the kubelet.
std::set<std::pair<std::uint32_t, std::uint16_t>> RefusedNodePorts(
    const std::vector<Listener>& listeners);

}  // namespace sluice
