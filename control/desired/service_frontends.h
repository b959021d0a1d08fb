// SPDX-License-Identifier: Apache-2.0
// The part of BuildService() that reads the Service: its ports, its addresses and where each port
// is to be reached.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/desired/build_desired_state.h"

namespace sluice {

// One port of spec.ports that can be followed.
struct PortSpec {
  std::string name;
  std::uint32_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0: none
};

// Collects Problems of one object.
class ProblemList {
 public:
  ProblemList(std::string object, std::vector<Problem>& problems)
      : object_(std::move(object)), problems_(&problems) {}
  void Add(std::string message) { problems_->push_back({object_, std::move(message)}); }
  // A word of tomorrow's API or a slip of the pen, and what is `done` instead.
  void AddUnknown(std::string_view field, std::string_view value, std::string_view done);

 private:
  std::string object_;
  std::vector<Problem>* problems_;
};

// Addresses by which all ports of a Service are reached, of the families it has a ClusterIP of.
struct ServiceAddresses {
  std::vector<IpAddress> cluster;
  std::vector<IpAddress> external;
  std::vector<IpAddress> load_balancer;
  bool has_v4 = false;
  bool has_v6 = false;

  bool HasFamilyOf(const IpAddress& address) const { return address.is_v4() ? has_v4 : has_v6; }
};

// Whether traffic to an address of status.loadBalancer is sluice's to carry.
bool IsCaptured(const model::LoadBalancerIngress& ingress);

std::vector<PortSpec> ReadPorts(const model::Service& service, ProblemList& problems);
ServiceAddresses ReadAddresses(const model::Service& service, ProblemList& problems);
// loadBalancerSourceRanges. When none of those given can be read, the guarded addresses are taken
// out of `addresses`: open to everyone is not what was asked for.
std::vector<IpPrefix> ReadSourceRanges(const model::Service& service, ServiceAddresses& addresses,
                                       ProblemList& problems);
// Seconds; 0: no affinity.
std::uint32_t ReadAffinity(const model::Service& service, ProblemList& problems);
// Of the annotation kForwardingAnnotation; `otherwise` where it says nothing, or no word there is.
Forwarding ReadForwarding(const model::Service& service, Forwarding otherwise,
                          ProblemList& problems);
// Whether packets of the protocol are. SCTP's are not: nothing here could clamp what it sends.
bool IsPassedOn(Forwarding forwarding, std::uint32_t protocol);
// Of the annotations kAlgorithmAnnotation and kHashAnnotation; others of ours are reported.
abi::sl_algorithm ReadAlgorithm(const model::Service& service, ProblemList& problems);

// All that `port` claims, sorted, unique by address, port and protocol.
std::vector<Frontend> FrontendsOf(const PortSpec& port, const ServiceAddresses& addresses,
                                  const NodeConfig& node, ProblemList& problems);

// Adds what each frontend that the network reaches is to packets that other nodes have passed on.
void AddTunnelled(std::vector<Frontend>& frontends);

// An address that a Service or an endpoint may have. Errors: INVALID_ARGUMENT saying why not.
absl::StatusOr<IpAddress> ParseUnicast(const std::string& text);

}  // namespace sluice
