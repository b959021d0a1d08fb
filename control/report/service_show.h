// SPDX-License-Identifier: Apache-2.0
// `sluicectl service show`: a Service with all that stands in the way of its traffic, also when it
// is in no map. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/report/agent_snapshot.h"
#include "control/report/endpoint_text.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"
#include "control/report/service_report.h"

namespace sluice::report {

struct ShownService {
  // Of a Service that is not served: no more than its namespace and name, with protocol 0.
  ServiceReport report;
  std::vector<std::string> notes;  // why it gets no traffic or loses part of it; see ServiceNotes
  std::vector<AgentProblem> problems;
};

// The ports that `filter` names, in the maps or known to the agent alone, sorted by name; else the
// Service itself, if the agent knows why it has none. Empty: nobody knows it. `agent` may be null.
std::vector<ShownService> BuildShownServices(const PinnedState& state, const AgentSnapshot* agent,
                                             std::span<const AgentDrop> samples,
                                             const ServiceFilter& filter);

// Array as ServicesToJson, with notes (of strings) and problems (of {origin, object, message}).
Json ShownServicesToJson(const std::vector<ShownService>& services);
// One block after the other.
std::string ShownServicesToDetail(const std::vector<ShownService>& services);

}  // namespace sluice::report
