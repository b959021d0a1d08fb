// SPDX-License-Identifier: Apache-2.0
// From one Service and its EndpointSlices to what the node should do for it: kube-proxy's rules of
// which Services, addresses, ports and endpoints count. Pure; what Services compete for is settled
// by DesiredTracker.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/model/cluster_state.h"
#include "control/model/ip_address.h"

namespace sluice {

class NodeTable;

// How packets from outside reach a backend of another node (annotation sluice.io/forwarding).
enum class Forwarding : std::uint8_t {
  kSnat,    // with this node's address as their source; the answer comes back here
  kDsr,     // as they came, wrapped; the other node answers the client itself
  kHybrid,  // TCP as kDsr, UDP as kSnat
};
// "snat", "dsr", "hybrid"; nothing for another word.
std::optional<Forwarding> ForwardingNamed(std::string_view name);

// What the rules need to know about this node and this agent.
struct NodeConfig {
  std::string node_name;  // as EndpointSlices name it
  std::string zone;       // label topology.kubernetes.io/zone of the Node; empty: none
  // Where node ports are reached: already chosen by --nodeport-addresses. Loopback is ignored.
  std::vector<IpAddress> node_port_addresses;
  // Addresses of machines: of all Nodes, and whatever interfaces of this one hold. A load balancer
  // that reports such an address has only its ports there; the others are the machine's.
  std::set<IpAddress> machine_addresses;
  // {IPPROTO_*, port}: node ports that would hide something the node needs (a listener on 22, say).
  std::set<std::pair<std::uint32_t, std::uint16_t>> refused_node_ports;
  // Services labelled for another proxy are skipped unless the label says this.
  std::string proxy_name = "sluice";
  Forwarding forwarding = Forwarding::kSnat;  // of Services that say nothing else
  const NodeTable* nodes = nullptr;           // where the other nodes are; null: none are known

  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

struct BuiltService {
  // One for each port that can be followed; `frontends` is all that the port claims, sorted.
  std::vector<DesiredService> ports;
  std::vector<Problem> problems;
  std::string not_served;  // as WhyNotServed
};

// Why this agent does not serve the Service at all, in words: headless, ExternalName, another
// proxy's, no ClusterIP. Empty: it does.
std::string WhyNotServed(const model::Service& service, const NodeConfig& node);

// Why a Service of type LoadBalancer has no address of status.loadBalancer that sluice could serve,
// in words. Empty: it has one, or is of another type.
std::string WhyNoLoadBalancerAddress(const model::Service& service);

// `slices`: those that name the Service, in any order. What cannot be followed is in `problems` and
// the rest stands. Cost: linear in the endpoints times the Service's ports.
BuiltService BuildService(const model::Service& service,
                          std::span<const model::EndpointSlice* const> slices,
                          const NodeConfig& node);

// Everything at once, for those who keep no tracker.
DesiredState BuildDesiredState(const ClusterState& cluster, const NodeConfig& node);

}  // namespace sluice
