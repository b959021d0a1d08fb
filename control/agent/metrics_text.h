// SPDX-License-Identifier: Apache-2.0
// Metrics in Prometheus' text format, from the pinned maps and the agent's snapshot.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "control/agent/snapshot.h"
#include "maps/map_set.h"

namespace sluice {

// Errors: those of reading the maps. Cost: reads the counters of every service.
absl::StatusOr<std::string> MetricsText(const Snapshot& snapshot, const MapSet& maps);

// Writes metrics one after the other; all samples of one metric must follow its Begin.
class MetricsWriter {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;

  // `type`: "counter" or "gauge".
  void Begin(std::string_view name, std::string_view type, std::string_view help);
  void Sample(const Labels& labels, std::uint64_t value);
  const std::string& text() const { return text_; }

 private:
  std::string name_;
  std::string text_;
};

}  // namespace sluice
