// SPDX-License-Identifier: Apache-2.0
#include "control/plan/service_rows.h"

#include "control/plan/map_state.h"

namespace sluice {
namespace {

bool IsGuarded(abi::sl_frontend_kind kind) {
  return kind == abi::SL_FRONTEND_EXTERNAL_IP || kind == abi::SL_FRONTEND_LOAD_BALANCER;
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

}  // namespace

abi::sl_family FamilyOf(const IpAddress& address) {
  return address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
}

BackendSet SetFor(const DesiredService& service, abi::sl_frontend_kind kind, abi::sl_scope scope) {
  bool local = false;
  if (kind == abi::SL_FRONTEND_CLUSTER_IP) {
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
    if (frontend.kind == abi::SL_FRONTEND_ADDRESS) continue;
    FamilySets& family = families[FamilyOf(frontend.address)];
    family.used[SetFor(service, frontend.kind, abi::SL_SCOPE_INTERNAL)] = true;
    family.used[SetFor(service, frontend.kind, abi::SL_SCOPE_EXTERNAL)] = true;
  }
  for (abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    families[family].filtered = IsFiltered(service, family);
  }
  return families;
}

abi::service RowOf(const DesiredService& service, const Frontend& frontend,
                   const FamilySets& family, bool allow_external_cluster_ip) {
  unsigned flags = 0;
  // The row of an address stands for a ClusterIP's: no other kind of address has one.
  if (frontend.kind == abi::SL_FRONTEND_CLUSTER_IP || frontend.kind == abi::SL_FRONTEND_ADDRESS) {
    flags |= allow_external_cluster_ip ? abi::SL_SERVICE_MASQUERADE : abi::SL_SERVICE_DENY_EXTERNAL;
  }
  abi::service row = {};
  row.kind = static_cast<__u8>(frontend.kind);
  if (frontend.kind != abi::SL_FRONTEND_ADDRESS) {
    if (SetFor(service, frontend.kind, abi::SL_SCOPE_INTERNAL) == kLocalSet) {
      flags |= abi::SL_SERVICE_LOCAL_INTERNAL;
    }
    if (SetFor(service, frontend.kind, abi::SL_SCOPE_EXTERNAL) == kLocalSet) {
      flags |= abi::SL_SERVICE_LOCAL_EXTERNAL;
    }
    if (!family.sets[kClusterSet].empty() || !family.sets[kLocalSet].empty()) {
      flags |= abi::SL_SERVICE_HAS_ENDPOINTS;
    }
    if (IsGuarded(frontend.kind) && family.filtered) {
      flags |= frontend.address.is_v4() ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6;
    }
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
