// SPDX-License-Identifier: Apache-2.0
// `sluicectl drops`: what was dropped or rejected, why and of which service, and samples of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/report/agent_snapshot.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"

namespace sluice::report {

struct DropReport {
  std::string reason;   // see ReasonName()
  std::string service;  // empty: no service's
  std::uint64_t packets = 0;
};

// Sorted: most packets first, then by reason and service.
std::vector<DropReport> BuildDropReports(const PinnedState& state);

// {agent, drops: [{reason, service, packets}], samples: [{time, reason, service, protocol, source,
// destination, interface, hook, length}]}. `samples` null: no agent runs, which alone keeps them.
Json DropsToJson(const std::vector<DropReport>& drops, const std::vector<AgentDrop>* samples);
std::string DropsToTable(const std::vector<DropReport>& drops,
                         const std::vector<AgentDrop>* samples);

}  // namespace sluice::report
