// SPDX-License-Identifier: Apache-2.0
// Reads what explains an answer of `sluicectl trace` from the pinned maps. Writes nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "control/report/agent_snapshot.h"
#include "control/report/trace_facts.h"
#include "maps/map_set.h"

namespace sluice::report {

// The rows behind `answer`, which a packet at `hook` got; `agent` may be null. now_ns:
// CLOCK_MONOTONIC. Cost: reads the backends and source ranges, and where there is no frontend the
// services. Errors: as Table::Dump.
absl::StatusOr<TraceFacts> ReadTraceFacts(const MapSet& maps, TraceHook hook,
                                          const TraceAnswer& answer, const AgentSnapshot* agent,
                                          std::uint64_t now_ns);

}  // namespace sluice::report
