// SPDX-License-Identifier: Apache-2.0
// What health checks are told, in kube-proxy's words. Pure: from values and the time to answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "control/health/answer.h"

namespace sluice {

// The state of the proxy, as the agent's loop said it last.
struct ProxyHealth {
  bool synced = false;  // what the source said has been in the maps once
  absl::Time last_applied = absl::InfinitePast();
  // How long the oldest change has waited that is not in the maps yet; zero: none waits.
  absl::Duration waiting;
  bool node_eligible = true;  // the Node object is not about to be removed
  bool loop_answers = true;   // the loop has been heard of lately
  std::vector<std::string> degraded;
};

// Whether a restart would help nothing: the loop runs, and no change has waited longer than
// kube-proxy allows (two sync periods of 30 s). Also while it starts, however long that takes.
bool IsAlive(const ProxyHealth& proxy);

// Whether the proxy does its work: alive, and synced once.
bool IsHealthy(const ProxyHealth& proxy);

// Of /healthz, which needs a healthy proxy and an eligible node, and of /livez (`with_node` false),
// which needs one that is alive; with our own field `degraded`: at most 20 lines and 3 KiB.
HealthAnswer ProxyAnswer(const ProxyHealth& proxy, absl::Time now, bool with_node);

// How many of a Service's endpoints on this node are ready: distinct addresses, by family. A family
// that the Service does not have is not set.
struct LocalEndpoints {
  bool has_v4 = false;
  bool has_v6 = false;
  std::uint32_t v4 = 0;
  std::uint32_t v6 = 0;

  // A client of one family is told of that family's endpoints, as the two proxiers of a dual-stack
  // kube-proxy do; of a Service with one family everyone is told of that.
  std::uint32_t For(bool client_v4) const {
    if (has_v4 && has_v6) return client_v4 ? v4 : v6;
    return has_v6 ? v6 : v4;
  }
  friend bool operator==(const LocalEndpoints&, const LocalEndpoints&) = default;
};

// Of a healthCheckNodePort.
HealthAnswer ServiceAnswer(const std::string& name_space, const std::string& name,
                           std::uint32_t local_endpoints, bool proxy_healthy);

}  // namespace sluice
