// SPDX-License-Identifier: Apache-2.0
// What one service should have in the maps, apart from ids and places: its sets of backends and,
// for each frontend, the row. The rules of traffic policies and source ranges live here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "control/desired/desired_state.h"
#include "maps/config.h"
#include "maps/row_compare.h"
#include "maps/service.h"

namespace sluice {

// The backends (indices into DesiredService::backends, in its order) that new flows go to.
enum BackendSet { kClusterSet = 0, kLocalSet = 1, kBackendSetCount = 2 };

struct FamilySets {
  std::vector<std::size_t> sets[kBackendSetCount];
  bool used[kBackendSetCount] = {};  // some frontend of the family sends flows there
  // IPv4 or IPv6 clients of external and load balancer addresses must be in a source range.
  bool filtered = false;
};

// Which set a scope of a frontend uses.
BackendSet SetFor(const DesiredService& service, abi::sl_frontend_kind kind, abi::sl_scope scope);

abi::sl_family FamilyOf(const IpAddress& address);

// Indexed by enum sl_family.
std::array<FamilySets, abi::SL_FAMILY_COUNT> SetsOf(const DesiredService& service);

// What the agent's flags make of all services.
struct RowOptions {
  bool allow_external_cluster_ip =
      false;                 // else packets from the network to ClusterIPs are dropped
  bool service_echo = true;  // ICMP echoes to services' addresses are answered
};

// How a set is laid out in slots (as indices into DesiredService::backends): as it is, or, if the
// service's algorithm asks for it, as a Maglev table of at most a share of all `slots`.
std::vector<std::size_t> LayOut(const DesiredService& service, const std::vector<std::size_t>& set,
                                std::uint32_t slots);

// The row of `frontend` without id and slots.
abi::service RowOf(const DesiredService& service, const Frontend& frontend,
                   const FamilySets& family, const RowOptions& options);

// The rows of sl_src_ranges: those of the families that are filtered, when anything is guarded.
std::set<abi::source_range_key> SourceRangeKeys(
    const DesiredService& service, std::uint32_t service_id,
    const std::array<FamilySets, abi::SL_FAMILY_COUNT>& families);

}  // namespace sluice
