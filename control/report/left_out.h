// SPDX-License-Identifier: Apache-2.0
// Why an endpoint takes no new connections, derived from what the agent says of all endpoints.
#pragma once

#include <string_view>

#include "control/report/agent_snapshot.h"

namespace sluice::report {

// In words, to stand after "left out: ". Empty: the endpoint is in the set. `local_set`: the set of
// policy Local counts, else the cluster's. The rules that made the sets are those of
// control/desired; each leaves its trace in the state, so that nothing else has to be known.
std::string_view WhyLeftOut(const AgentBackend& backend, bool local_set);

}  // namespace sluice::report
