// SPDX-License-Identifier: Apache-2.0
#include "control/agent/health_checks.h"

#include <set>

namespace sluice {

std::map<ObjectName, ServiceHealth> CountHealthChecks(
    const std::map<ObjectName, HealthCheckedService>& checked,
    const std::map<ServicePortName, DesiredService>& services) {
  std::map<ObjectName, ServiceHealth> result;
  for (const auto& [name, wanted] : checked) {
    std::set<IpAddress> ready;
    bool served = false;
    for (auto it = services.lower_bound({name.name_space, name.name, "", 0});
         it != services.end() && it->first.name_space == name.name_space &&
         it->first.name == name.name;
         ++it) {
      served = true;
      for (const DesiredBackend& backend : it->second.backends) {
        const bool counts = backend.local && backend.state == BackendState::kReady;
        if (counts) ready.insert(backend.address.address);
      }
    }
    if (!served) continue;
    ServiceHealth& health = result[name];
    health.port = wanted.port;
    health.local.has_v4 = wanted.has_v4;
    health.local.has_v6 = wanted.has_v6;
    for (const IpAddress& address : ready) ++(address.is_v4() ? health.local.v4 : health.local.v6);
  }
  return result;
}

}  // namespace sluice
