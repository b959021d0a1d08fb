// SPDX-License-Identifier: Apache-2.0
// What the datapath of this node should do, computed from the cluster's objects and nothing else:
// the input of the planner. Values only; equal clusters give equal, identically ordered values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/model/ip_address.h"
#include "maps/service.h"

namespace sluice {

// The identity behind a service id: one port of one Service.
struct ServicePortName {
  std::string name_space;
  std::string name;
  std::string port_name;       // empty for a Service with one unnamed port
  std::uint32_t protocol = 0;  // IPPROTO_*

  friend auto operator<=>(const ServicePortName&, const ServicePortName&) = default;
};

// Where a service is reached. `port` is in host order.
struct Frontend {
  IpAddress address;
  std::uint16_t port = 0;
  std::uint32_t protocol = 0;  // IPPROTO_*; 0 with port 0 for those of frontend_is_address
  abi::sl_frontend_kind kind = abi::SL_FRONTEND_CLUSTER_IP;

  friend auto operator<=>(const Frontend&, const Frontend&) = default;
};

// The identity behind a backend id: an endpoint's address, port (host order) and protocol.
struct BackendAddress {
  IpAddress address;
  std::uint16_t port = 0;
  std::uint32_t protocol = 0;

  friend auto operator<=>(const BackendAddress&, const BackendAddress&) = default;
};

enum class BackendState : std::uint8_t {
  kReady,        // takes new flows
  kTerminating,  // serving and terminating: takes new flows only when its set has no ready one
  kNotReady,     // keeps the flows that it has
};

// 32 bytes, of which a large cluster has 100,000: the name of its node, which only people ask for,
// is looked up when they do (NodeNamesOf).
struct DesiredBackend {
  BackendAddress address;
  // Index of its node in sl_nodes, of services whose packets are passed on to other nodes; 0: this
  // node, or not known.
  std::uint16_t node = 0;
  BackendState state = BackendState::kReady;
  bool local = false;           // on this node
  bool in_cluster_set = false;  // usable for traffic of policy Cluster
  bool in_local_set = false;    // usable for traffic of policy Local

  friend auto operator<=>(const DesiredBackend&, const DesiredBackend&) = default;
};

struct DesiredService {
  ServicePortName name;
  std::string type;                      // ClusterIP, NodePort, LoadBalancer: for people
  std::vector<Frontend> frontends;       // sorted, unique; those that this Service won
  std::vector<DesiredBackend> backends;  // sorted by address, unique; every endpoint that exists
  bool internal_local = false;           // internalTrafficPolicy: Local (ClusterIP only)
  bool external_local = false;           // externalTrafficPolicy: Local
  bool dsr = false;              // packets from outside are passed on to other nodes as they are
  std::uint32_t affinity_s = 0;  // 0: none
  abi::sl_algorithm algorithm = abi::SL_ALGORITHM_RANDOM;
  std::vector<IpPrefix> source_ranges;  // empty: everyone; guards EXTERNAL_IP and LOAD_BALANCER
  // Of the whole Service, by enum sl_family: whether some port has endpoints in the set.
  std::array<bool, 2> some_in_cluster_set{};
  std::array<bool, 2> some_in_local_set{};

  friend auto operator<=>(const DesiredService&, const DesiredService&) = default;
};

// Something in the input that could not be followed; the rest of its object stands.
struct Problem {
  std::string object;   // "Service default/web", "EndpointSlice default/web-x7k2p"
  std::string message;  // what is wrong, where (file:line when known) and what to do

  friend auto operator<=>(const Problem&, const Problem&) = default;
};

struct DesiredState {
  std::map<ServicePortName, DesiredService> services;
  std::vector<Problem> problems;

  friend bool operator==(const DesiredState&, const DesiredState&) = default;
};

}  // namespace sluice
