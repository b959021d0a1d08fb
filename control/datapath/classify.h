// SPDX-License-Identifier: Apache-2.0
// Which interfaces lead to pods, which to the network, and which are none of ours. Pure: the input
// is what rtnetlink said and what the flags say. DESIGN.md has the reasons.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/datapath/network_state.h"

namespace sluice {

enum class Role {
  kNone,
  kPod,     // sl_from_pod and sl_to_pod
  kUplink,  // sl_from_net and sl_to_net
};

std::string_view RoleName(Role role);  // "none", "pod", "uplink"

struct InterfaceFlags {
  // Globs as fnmatch(3) reads them. A list that is not empty replaces what would be found for that
  // role; a name in both is a pod's.
  std::vector<std::string> uplinks;
  std::vector<std::string> pod_interfaces;
  // Addresses inside are pods' (or gateways of pods), never the node's.
  std::vector<IpPrefix> cluster_cidrs;
};

struct Interface {
  Link link;
  Role role = Role::kNone;
  // Why it is not attached although it has a role; empty otherwise.
  std::string unsupported;

  friend bool operator==(const Interface&, const Interface&) = default;
};

// The interfaces that have a role, by ifindex. `node_addresses` are those that the Node object
// gives, empty without one. Cost: linear in links and addresses.
std::vector<Interface> Classify(const NetworkState& network, const InterfaceFlags& flags,
                                const std::set<IpAddress>& node_addresses);

// Splits "a,b*, c" and drops empty parts.
std::vector<std::string> SplitPatterns(std::string_view text);

}  // namespace sluice
