// SPDX-License-Identifier: Apache-2.0
// `sluicectl interfaces`: where the programs are attached. From the agent, or without one from the
// pinned links.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "control/report/agent_snapshot.h"
#include "control/report/json.h"

namespace sluice::report {

// As the agent says it (GET /v1/snapshot).
using InterfaceReport = AgentInterface;

// The interfaces that `<pins>/links` names ("<interface>_<hook>"), sorted by name. A link whose
// interface is gone has an error; interfaces with clsact filters have no link and are not listed.
// Empty when nothing is pinned. Errors: PERMISSION_DENIED, INTERNAL.
absl::StatusOr<std::vector<InterfaceReport>> ReadPinnedLinks(const std::string& pins);

// {agent, interfaces: [{name, ifindex, role, hooks, attach, error}]}.
Json InterfacesToJson(const std::vector<InterfaceReport>& interfaces, bool agent_runs);
std::string InterfacesToTable(const std::vector<InterfaceReport>& interfaces);

}  // namespace sluice::report
