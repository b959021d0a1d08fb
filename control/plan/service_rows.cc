// SPDX-License-Identifier: Apache-2.0
#include "control/plan/service_rows.h"

#include "control/plan/maglev.h"
#include "control/plan/map_state.h"

namespace sluice {
namespace {

bool IsGuarded(abi::sl_frontend_kind kind) {
  return kind == abi::SL_FRONTEND_EXTERNAL_IP || kind == abi::SL_FRONTEND_LOAD_BALANCER ||
         kind == abi::SL_FRONTEND_EXTERNAL_ADDRESS;
}

bool IsOfCluster(abi::sl_frontend_kind kind) {
  return kind == abi::SL_FRONTEND_CLUSTER_IP || kind == abi::SL_FRONTEND_ADDRESS;
}

// Filtered: some range is of this family, and none is all of it.
bool IsFiltered(const DesiredService& service, abi::sl_family family) {
  const unsigned whole_family = family == abi::SL_FAMILY_V4 ? 96 : 0;
  bool filtered = false;
  for (const IpPrefix& range : service.source_ranges) {
    if (FamilyOf(range.address()) != family) continue;
    if (range.length() == whole_family) return false;
    filtered = true;
  }
  return filtered;
}

bool HasTable(abi::sl_algorithm algorithm) {
  return algorithm == abi::SL_ALGORITHM_MAGLEV || algorithm == abi::SL_ALGORITHM_MAGLEV_SOURCE;
}

// Of the whole Service, whose ports share the address.
unsigned AddressFlags(const DesiredService& service, const Frontend& frontend,
                      const RowOptions& options) {
  const abi::sl_family family = FamilyOf(frontend.address);
  unsigned flags = 0;
  if (service.some_in_cluster_set[family] || service.some_in_local_set[family]) {
    flags |= abi::SL_SERVICE_HAS_ENDPOINTS;
  }
  const auto answers = [&](abi::sl_scope scope) {
    return options.service_echo && (SetFor(service, frontend.kind, scope) == kLocalSet
                                        ? service.some_in_local_set[family]
                                        : service.some_in_cluster_set[family]);
  };
  if (answers(abi::SL_SCOPE_INTERNAL)) flags |= abi::SL_SERVICE_ECHO_INTERNAL;
  if (answers(abi::SL_SCOPE_EXTERNAL)) flags |= abi::SL_SERVICE_ECHO_EXTERNAL;
  return flags;
}

}  // namespace

abi::sl_family FamilyOf(const IpAddress& address) {
  return address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
}

BackendSet SetFor(const DesiredService& service, abi::sl_frontend_kind kind, abi::sl_scope scope) {
  bool local = false;
  if (kind == abi::SL_FRONTEND_TUNNELLED) {
    local = true;
  } else if (IsOfCluster(kind)) {
    local = service.internal_local;
  } else {
    // From pods and the node itself, external addresses are short-circuited to the cluster set.
    local = service.external_local && scope == abi::SL_SCOPE_EXTERNAL;
  }
  return local ? kLocalSet : kClusterSet;
}

std::array<FamilySets, abi::SL_FAMILY_COUNT> SetsOf(const DesiredService& service) {
  std::array<FamilySets, abi::SL_FAMILY_COUNT> families;
  for (std::size_t i = 0; i < service.backends.size(); ++i) {
    const DesiredBackend& backend = service.backends[i];
    FamilySets& family = families[FamilyOf(backend.address.address)];
    if (backend.in_cluster_set) family.sets[kClusterSet].push_back(i);
    if (backend.in_local_set) family.sets[kLocalSet].push_back(i);
  }
  for (const Frontend& frontend : service.frontends) {
    if (abi::frontend_is_address(frontend.kind)) continue;
    FamilySets& family = families[FamilyOf(frontend.address)];
    family.used[SetFor(service, frontend.kind, abi::SL_SCOPE_INTERNAL)] = true;
    family.used[SetFor(service, frontend.kind, abi::SL_SCOPE_EXTERNAL)] = true;
  }
  for (abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    families[family].filtered = IsFiltered(service, family);
  }
  return families;
}

std::vector<std::size_t> LayOut(const DesiredService& service, const std::vector<std::size_t>& set,
                                std::uint32_t slots) {
  if (!HasTable(service.algorithm)) return set;
  std::vector<BackendAddress> members;
  members.reserve(set.size());
  for (std::size_t index : set) members.push_back(service.backends[index].address);
  std::vector<std::size_t> places;
  for (std::uint32_t slot : BuildMaglevTable(members, MaglevTableSize(members.size(), slots))) {
    places.push_back(set[slot]);
  }
  return places;
}

abi::service RowOf(const DesiredService& service, const Frontend& frontend,
                   const FamilySets& family, const RowOptions& options) {
  unsigned flags = 0;
  if (IsOfCluster(frontend.kind)) {
    flags |= options.allow_external_cluster_ip ? abi::SL_SERVICE_MASQUERADE
                                               : abi::SL_SERVICE_DENY_EXTERNAL;
  }
  if (SetFor(service, frontend.kind, abi::SL_SCOPE_INTERNAL) == kLocalSet) {
    flags |= abi::SL_SERVICE_LOCAL_INTERNAL;
  }
  if (SetFor(service, frontend.kind, abi::SL_SCOPE_EXTERNAL) == kLocalSet) {
    flags |= abi::SL_SERVICE_LOCAL_EXTERNAL;
  }
  if (IsGuarded(frontend.kind) && family.filtered) {
    flags |= frontend.address.is_v4() ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6;
  }
  if (service.dsr && !service.external_local && !IsOfCluster(frontend.kind) &&
      !abi::frontend_is_address(frontend.kind) && frontend.kind != abi::SL_FRONTEND_TUNNELLED) {
    flags |= abi::SL_SERVICE_DSR;
  }
  abi::service row = {};
  row.kind = static_cast<__u8>(frontend.kind);
  if (abi::frontend_is_address(frontend.kind)) {
    flags |= AddressFlags(service, frontend, options);
  } else {
    if (!family.sets[kClusterSet].empty() || !family.sets[kLocalSet].empty()) {
      flags |= abi::SL_SERVICE_HAS_ENDPOINTS;
    }
    row.algorithm = static_cast<__u8>(service.algorithm);
    if (service.affinity_s != 0) {
      flags |= abi::SL_SERVICE_AFFINITY;
      row.affinity_s = service.affinity_s;
    }
  }
  row.flags = static_cast<__u16>(flags);
  return row;
}

std::set<abi::source_range_key> SourceRangeKeys(
    const DesiredService& service, std::uint32_t service_id,
    const std::array<FamilySets, abi::SL_FAMILY_COUNT>& families) {
  std::set<abi::source_range_key> keys;
  for (const Frontend& frontend : service.frontends) {
    if (!IsGuarded(frontend.kind) || !families[FamilyOf(frontend.address)].filtered) continue;
    for (const IpPrefix& range : service.source_ranges) {
      if (range.is_v4() != frontend.address.is_v4()) continue;
      keys.insert(SourceRangeKey(service_id, range));
    }
  }
  return keys;
}

}  // namespace sluice
