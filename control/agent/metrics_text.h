// SPDX-License-Identifier: Apache-2.0
// All metrics, in Prometheus' text format, from the pinned maps and the agent's snapshot.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

#include "control/agent/snapshot.h"
#include "maps/map_set.h"

namespace sluice {

struct MetricsOptions {
  // Backends that have series of their own: a cluster has more than a Prometheus wants.
  std::size_t backend_series = 0;
};

// `snapshot` was taken with its part `metrics`. Errors: those of reading the maps. Cost: reads the
// counters of every service.
absl::StatusOr<std::string> MetricsText(const Snapshot& snapshot, const MapSet& maps,
                                        const MetricsOptions& options);

}  // namespace sluice
