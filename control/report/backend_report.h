// SPDX-License-Identifier: Apache-2.0
// `sluicectl backend list`: the endpoints that the datapath knows, whichever services share them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/report/agent_snapshot.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"

namespace sluice::report {

struct BackendReport {
  BackendAddress address;
  std::string node;  // empty: nobody said
  bool local = false;
  // "ready", "terminating", "notReady": the best that a service says of it. Without an agent:
  // "ready" when some service gives it new flows, else "notReady".
  std::string state;
  std::vector<std::string> services;  // labels, sorted: that list it or have flows to it
  std::uint64_t connections = 0;      // established, of all services
  std::uint64_t opened = 0;
  std::uint64_t failed = 0;
};

// All endpoints that exist, sorted by address. `agent` may be null.
std::vector<BackendReport> BuildBackendReports(const PinnedState& state,
                                               const AgentSnapshot* agent);

// Array of {address, port, protocol, node, local, state, services, connections, opened, failed}.
Json BackendsToJson(const std::vector<BackendReport>& backends);
std::string BackendsToTable(const std::vector<BackendReport>& backends);

}  // namespace sluice::report
