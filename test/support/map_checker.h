// SPDX-License-Identifier: Apache-2.0
// What the maps must hold, worked out from the desired state without the planner: exactly, once a
// plan is done, and at the least, at any moment in between.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/plan/maglev.h"
#include "test/support/fake_table.h"

namespace sluice::testing {

using DesiredServices = std::map<ServicePortName, DesiredService>;

// The addresses, in order, that a scope of a frontend should send new flows to.
inline std::vector<BackendAddress> ExpectedTargets(const DesiredService& service,
                                                   const Frontend& frontend, abi::sl_scope scope) {
  std::vector<BackendAddress> targets;
  if (abi::frontend_is_address(frontend.kind)) return targets;
  const bool cluster_ip = frontend.kind == abi::SL_FRONTEND_CLUSTER_IP;
  const bool local = frontend.kind == abi::SL_FRONTEND_TUNNELLED ||
                     (cluster_ip ? service.internal_local
                                 : service.external_local && scope == abi::SL_SCOPE_EXTERNAL);
  for (const DesiredBackend& backend : service.backends) {
    if (backend.address.address.is_v4() != frontend.address.is_v4()) continue;
    if (local ? backend.in_local_set : backend.in_cluster_set) targets.push_back(backend.address);
  }
  return targets;
}

class MapChecker {
 public:
  explicit MapChecker(const FakeMaps& maps) : maps_(maps) {}

  // Empty when every row leads somewhere that is right in `before` or in `after`; else what is
  // wrong.
  std::string CheckSafe(const DesiredServices& before, const DesiredServices& after) const {
    for (const auto& [key, row] : maps_.services.rows()) {
      if (!maps_.filter.Has(key.address, key.port, key.protocol)) {
        return absl::StrCat(KeyText(key), ": the filter lets nothing to it");
      }
      const std::optional<ServicePortName> name = NameOfId(row.id);
      if (!name) return absl::StrCat(KeyText(key), ": id ", row.id, " has no name");
      const std::vector<const DesiredService*> states = StatesOf(*name, before, after);
      for (abi::sl_scope scope : {abi::SL_SCOPE_INTERNAL, abi::SL_SCOPE_EXTERNAL}) {
        std::string problem;
        const auto targets = Targets(row.id, row.slots[scope], problem);
        if (!problem.empty()) return absl::StrCat(KeyText(key), ": ", problem);
        const bool known = std::any_of(states.begin(), states.end(), [&](const DesiredService* s) {
          return std::any_of(s->frontends.begin(), s->frontends.end(), [&](const Frontend& f) {
            return ServiceKey(f) == key && ExpectedTargets(*s, f, scope) == targets;
          });
        });
        if (!known) return absl::StrCat(KeyText(key), ": targets of neither state, scope ", scope);
      }
      if (std::string problem = CheckRanges(row, states); !problem.empty()) {
        return absl::StrCat(KeyText(key), ": ", problem);
      }
    }
    return "";
  }

  // Empty when the maps hold `desired` and nothing else; else what is wrong.
  std::string CheckExact(const DesiredServices& desired) const {
    std::size_t frontends = 0;
    std::set<ServicePortName> names;
    std::set<abi::source_range_key> ranges;
    ServiceBackends backends;
    for (const auto& [name, service] : desired) {
      const std::uint32_t id = IdOfName(name);
      if (id == 0) return absl::StrCat(name.name, ": no id");
      frontends += service.frontends.size();
      for (const Frontend& frontend : service.frontends) {
        if (std::string p = CheckRow(service, frontend, id); !p.empty()) return p;
        AddRanges(service, frontend, id, ranges);
      }
      AddBackends(service, id, backends);
    }
    if (maps_.services.rows().size() != frontends) return "service rows that nobody wants";
    for (const auto& [id, row] : maps_.service_names.rows()) {
      if (row.name[0] != 0) names.insert(NameOf(row));
    }
    if (names.size() != desired.size()) return "names that nobody wants";
    std::set<abi::source_range_key> there;
    for (const auto& [key, row] : maps_.source_ranges.rows()) there.insert(key);
    if (there != ranges) return "source ranges differ";
    return CheckBackends(backends);
  }

 private:
  // Flags, by service id and address.
  using ServiceBackends = std::map<std::pair<std::uint32_t, BackendAddress>, unsigned>;

  static std::string KeyText(const abi::service_key& key) {
    return absl::StrCat(IpAddress::FromAbi(key.address).ToString(), " port (network order) ",
                        key.port, " protocol ", key.protocol);
  }

  static std::vector<const DesiredService*> StatesOf(const ServicePortName& name,
                                                     const DesiredServices& before,
                                                     const DesiredServices& after) {
    std::vector<const DesiredService*> states;
    for (const DesiredServices* services : {&before, &after}) {
      const auto it = services->find(name);
      if (it != services->end()) states.push_back(&it->second);
    }
    return states;
  }

  std::optional<ServicePortName> NameOfId(std::uint32_t id) const {
    const auto it = maps_.service_names.rows().find(id);
    if (id == 0 || it == maps_.service_names.rows().end() || it->second.name[0] == 0) return {};
    return NameOf(it->second);
  }

  std::uint32_t IdOfName(const ServicePortName& name) const {
    for (const auto& [id, row] : maps_.service_names.rows()) {
      if (row.name[0] != 0 && NameOf(row) == name) return id;
    }
    return 0;
  }

  // Where the slots lead. `problem`: a slot leads nowhere.
  std::vector<BackendAddress> Targets(std::uint32_t service_id, const abi::slot_range& range,
                                      std::string& problem) const {
    std::vector<BackendAddress> targets;
    for (std::uint32_t i = 0; i < range.count; ++i) {
      const std::uint32_t id = maps_.slots.Read(range.offset + i);
      const auto row = maps_.backends.rows().find(id);
      constexpr unsigned kNeed = unsigned{abi::SL_BACKEND_PRESENT} | abi::SL_BACKEND_USABLE;
      if (id == 0 || row == maps_.backends.rows().end() || (row->second.flags & kNeed) != kNeed) {
        problem = absl::StrCat("slot ", range.offset + i, " leads to backend ", id,
                               ", which is not usable");
        return targets;
      }
      if (!maps_.filter.Has(row->second.address, row->second.port,
                            row->second.protocol | abi::SL_FILTER_BACKEND)) {
        problem = absl::StrCat("backend ", id, ": the filter lets no reply of it through");
        return targets;
      }
      if (row->second.service_id != service_id) {
        problem = absl::StrCat("slot ", range.offset + i, " leads to backend ", id, " of service ",
                               row->second.service_id);
        return targets;
      }
      targets.push_back(
          {IpAddress::FromAbi(row->second.address), ntohs(row->second.port), row->second.protocol});
    }
    // A Maglev table, which is larger than any set of these tests, has each of them many times.
    if (range.count >= kMaglevTableSizes[0]) {
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    }
    return targets;
  }

  static bool IsGuarded(const Frontend& frontend) {
    return frontend.kind == abi::SL_FRONTEND_EXTERNAL_IP ||
           frontend.kind == abi::SL_FRONTEND_LOAD_BALANCER ||
           frontend.kind == abi::SL_FRONTEND_EXTERNAL_ADDRESS;
  }

  // Ranges of the frontend's family; empty when they filter nothing.
  static std::vector<IpPrefix> Filter(const DesiredService& service, bool v4) {
    std::vector<IpPrefix> filter;
    for (const IpPrefix& range : service.source_ranges) {
      if (range.is_v4() != v4) continue;
      if (range.length() == (v4 ? 96U : 0U)) return {};
      filter.push_back(range);
    }
    return filter;
  }

  static void AddRanges(const DesiredService& service, const Frontend& frontend, std::uint32_t id,
                        std::set<abi::source_range_key>& ranges) {
    if (!IsGuarded(frontend)) return;
    for (const IpPrefix& range : Filter(service, frontend.address.is_v4())) {
      ranges.insert({32 + range.length(), id, range.address().ToAbi()});
    }
  }

  // A row that filters must find all ranges of one of the two states.
  std::string CheckRanges(const abi::service& row,
                          const std::vector<const DesiredService*>& states) const {
    for (bool v4 : {true, false}) {
      const unsigned flag = v4 ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6;
      if ((row.flags & flag) == 0) continue;
      const bool whole = std::any_of(states.begin(), states.end(), [&](const DesiredService* s) {
        const std::vector<IpPrefix> filter = Filter(*s, v4);
        return !filter.empty() && std::all_of(filter.begin(), filter.end(), [&](const IpPrefix& r) {
          return maps_.source_ranges.rows().contains(
              {32 + r.length(), row.id, r.address().ToAbi()});
        });
      });
      if (!whole) return "filters by source ranges that are not all there";
    }
    return "";
  }

  static unsigned PortFlags(const DesiredService& service, bool v4) {
    unsigned flags = service.affinity_s != 0 ? abi::SL_SERVICE_AFFINITY : 0;
    for (const DesiredBackend& b : service.backends) {
      const bool usable = b.in_cluster_set || b.in_local_set;
      if (b.address.address.is_v4() == v4 && usable) flags |= abi::SL_SERVICE_HAS_ENDPOINTS;
    }
    return flags;
  }

  // `policies`: SL_SERVICE_LOCAL_*. An echo is answered where a flow to some port would be.
  static unsigned AddressFlags(const DesiredService& service, bool v4, unsigned policies) {
    const std::size_t family = v4 ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
    const bool cluster = service.some_in_cluster_set[family];
    const bool local = service.some_in_local_set[family];
    unsigned flags = cluster || local ? abi::SL_SERVICE_HAS_ENDPOINTS : 0;
    if ((policies & abi::SL_SERVICE_LOCAL_INTERNAL) ? local : cluster) {
      flags |= abi::SL_SERVICE_ECHO_INTERNAL;
    }
    if ((policies & abi::SL_SERVICE_LOCAL_EXTERNAL) ? local : cluster) {
      flags |= abi::SL_SERVICE_ECHO_EXTERNAL;
    }
    return flags;
  }

  std::string CheckRow(const DesiredService& service, const Frontend& frontend,
                       std::uint32_t id) const {
    const abi::service_key key = ServiceKey(frontend);
    const auto it = maps_.services.rows().find(key);
    if (it == maps_.services.rows().end()) return absl::StrCat(KeyText(key), ": no row");
    const abi::service& row = it->second;
    const bool address = abi::frontend_is_address(frontend.kind);
    const bool cluster_ip =
        frontend.kind == abi::SL_FRONTEND_CLUSTER_IP || frontend.kind == abi::SL_FRONTEND_ADDRESS;
    const bool v4 = frontend.address.is_v4();
    unsigned flags = 0;
    if (cluster_ip) {
      flags |= abi::SL_SERVICE_DENY_EXTERNAL;
      if (service.internal_local) {
        flags |= abi::SL_SERVICE_LOCAL_INTERNAL | abi::SL_SERVICE_LOCAL_EXTERNAL;
      }
    } else if (frontend.kind == abi::SL_FRONTEND_TUNNELLED) {
      flags |= abi::SL_SERVICE_LOCAL_INTERNAL | abi::SL_SERVICE_LOCAL_EXTERNAL;
    } else if (service.external_local) {
      flags |= abi::SL_SERVICE_LOCAL_EXTERNAL;
    } else if (service.dsr && !address) {
      flags |= abi::SL_SERVICE_DSR;
    }
    if (IsGuarded(frontend) && !Filter(service, v4).empty()) {
      flags |= v4 ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6;
    }
    flags |= address ? AddressFlags(service, v4, flags) : PortFlags(service, v4);
    if (row.id != id || row.kind != frontend.kind || row.flags != flags ||
        row.affinity_s != (address ? 0 : service.affinity_s) ||
        row.algorithm != (address ? 0 : service.algorithm)) {
      return absl::StrCat(KeyText(key), ": id ", row.id, " flags ", row.flags, " instead of id ",
                          id, " flags ", flags);
    }
    for (abi::sl_scope scope : {abi::SL_SCOPE_INTERNAL, abi::SL_SCOPE_EXTERNAL}) {
      std::string problem;
      if (Targets(row.id, row.slots[scope], problem) != ExpectedTargets(service, frontend, scope)) {
        return absl::StrCat(KeyText(key), ": other targets in scope ", scope, " ", problem);
      }
    }
    return "";
  }

  static void AddBackends(const DesiredService& service, std::uint32_t service_id,
                          ServiceBackends& backends) {
    for (const DesiredBackend& backend : service.backends) {
      unsigned& flags = backends[{service_id, backend.address}];
      flags |= abi::SL_BACKEND_PRESENT;
      if (service.algorithm == abi::SL_ALGORITHM_LEAST_CONNECTION) {
        flags |= abi::SL_BACKEND_COUNTED;
      }
      if (backend.local) flags |= abi::SL_BACKEND_LOCAL;
      for (const Frontend& frontend : service.frontends) {
        for (abi::sl_scope scope : {abi::SL_SCOPE_INTERNAL, abi::SL_SCOPE_EXTERNAL}) {
          const auto targets = ExpectedTargets(service, frontend, scope);
          if (std::find(targets.begin(), targets.end(), backend.address) != targets.end()) {
            flags |= abi::SL_BACKEND_USABLE;
          }
        }
      }
    }
  }

  std::string CheckBackends(const ServiceBackends& expected) const {
    ServiceBackends there;
    std::vector<std::pair<BackendAddress, unsigned>> orphans;
    for (const auto& [id, row] : maps_.backends.rows()) {
      if (row.flags == 0) continue;
      const BackendAddress address{IpAddress::FromAbi(row.address), ntohs(row.port), row.protocol};
      if (row.flags & abi::SL_BACKEND_ORPHAN) {
        orphans.emplace_back(address, row.flags);
        continue;
      }
      if (!there.emplace(std::pair(row.service_id, address), row.flags).second) {
        return absl::StrCat(address.address.ToString(), ": two backends of one service");
      }
    }
    for (const auto& [key, flags] : expected) {
      const std::string text =
          absl::StrCat(key.second.address.ToString(), " of service ", key.first, ": ");
      const auto it = there.find(key);
      if (it == there.end()) return absl::StrCat(text, "no backend");
      if (it->second != flags) {
        return absl::StrCat(text, "flags ", it->second, " instead of ", flags);
      }
    }
    // Kept for connections while some service has the endpoint, and given no new ones.
    for (const auto& [address, flags] : orphans) {
      const bool known = std::any_of(expected.begin(), expected.end(),
                                     [&](const auto& one) { return one.first.second == address; });
      if (!known || flags != (unsigned{abi::SL_BACKEND_PRESENT} | abi::SL_BACKEND_ORPHAN)) {
        return absl::StrCat(address.address.ToString(), ": an orphan that should have gone");
      }
    }
    return there.size() == expected.size() ? "" : "backends that nobody wants";
  }

  const FakeMaps& maps_;
};

}  // namespace sluice::testing
