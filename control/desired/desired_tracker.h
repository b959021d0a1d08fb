// SPDX-License-Identifier: Apache-2.0
// DesiredTracker: the desired state of all Services, kept up to date one Service at a time. Settles
// what Services compete for, and tells which service ports a change concerns.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/desired/build_desired_state.h"
#include "control/desired/frontend_claims.h"

namespace sluice {

// Thread: loop only.
class DesiredTracker {
 public:
  explicit DesiredTracker(NodeConfig node) : node_(std::move(node)) {}

  const NodeConfig& node() const { return node_; }
  // Takes effect for a Service with its next update: call UpdateAll().
  void SetNode(NodeConfig node) { node_ = std::move(node); }

  // Computes the Service anew from what `cluster` has under that name, if anything. Adds to
  // `changed` every service port that came, went or is another now, of other Services too where
  // they compete. Cost: linear in the Service's endpoints.
  void Update(const ObjectName& service, const ClusterState& cluster,
              std::set<ServicePortName>& changed);
  void UpdateAll(const ClusterState& cluster, std::set<ServicePortName>& changed);
  // NodeConfig::machine_addresses, of which other Nodes have most: only Services are computed anew
  // that have a load balancer's address which has become a machine's or is none any more.
  void SetMachineAddresses(std::set<IpAddress> addresses, const ClusterState& cluster,
                           std::set<ServicePortName>& changed);

  const std::map<ServicePortName, DesiredService>& services() const { return services_; }

  // What could not be followed, sorted; Problems() is that and Conflicts().
  std::vector<Problem> ObjectProblems() const;
  std::vector<Problem> Problems() const;
  std::vector<Problem> Conflicts() const { return claims_.Conflicts(); }
  // Services that are there and not served, with the reason in words.
  const std::map<ObjectName, std::string>& not_served() const { return not_served_; }
  // Slices whose Service is not there: kept for when it comes.
  std::size_t slices_without_service() const;

 private:
  std::vector<ServicePortName> PortsOf(const ObjectName& service) const;
  void TakeOver(const ObjectName& service, std::vector<DesiredService> ports, const Age& age,
                std::set<ServicePortName>& changed);
  void SetProblems(const ObjectName& service, std::vector<Problem> problems);

  NodeConfig node_;
  std::map<ServicePortName, DesiredService> services_;
  std::map<ObjectName, std::vector<Problem>> problems_;
  std::map<ObjectName, std::string> not_served_;
  FrontendClaims claims_;
  std::map<ObjectName, std::size_t> slices_without_service_;
};

}  // namespace sluice
