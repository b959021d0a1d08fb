// SPDX-License-Identifier: Apache-2.0
// Why a service gets no traffic, or loses part of it, in words. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/report/agent_snapshot.h"
#include "control/report/pinned_state.h"

namespace sluice::report {

// Of a service with that id (0: it has none) and name; `service` is what the agent knows of it, and
// `agent` all that it says: both null when none runs; `samples`: of its drops. One line each, the
// most important first; empty: nothing is in the way of its traffic. Cost: linear in the frontends
// and rows of `state`.
std::vector<std::string> ServiceNotes(const PinnedState& state, std::uint32_t id,
                                      const ServicePortName& name, const AgentService* service,
                                      const AgentSnapshot* agent,
                                      std::span<const AgentDrop> samples);

// What the agent reports of the Service `name_space`/`name` and of the `slices` named.
std::vector<AgentProblem> ServiceProblems(const AgentSnapshot& agent, const std::string& name_space,
                                          const std::string& name,
                                          const std::vector<std::string>& slices);

}  // namespace sluice::report
