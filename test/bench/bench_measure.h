// SPDX-License-Identifier: Apache-2.0
// All kinds of packet in one cluster, checked, counted and timed.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "test/bench/bench_cases.h"
#include "test/bench/bench_report.h"
#include "test/bench/bench_scenario.h"

namespace sluice::bench {

// The programs at TC, or sl_xdp and what it stands beside.
enum class Part { kTc, kXdp };

// In tables of its own, so that nothing of another cluster is in them: established flows in each of
// the numbers `flow_counts`, which grow, then new ones with the tables full. Adds to `report`;
// calls for the network of BuildNetwork. Errors: those of CaseRunner::Run.
absl::Status MeasureCluster(Part part, const Shape& shape,
                            const std::vector<std::uint32_t>& flow_counts, const Effort& effort,
                            Report& report);

}  // namespace sluice::bench
