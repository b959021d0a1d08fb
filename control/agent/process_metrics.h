// SPDX-License-Identifier: Apache-2.0
// The process_* metrics that every Prometheus client library has.
#pragma once

#include "absl/time/time.h"

#include "control/agent/metrics_writer.h"

namespace sluice {

// Of this process. What /proc does not tell is left out.
void AddProcessMetrics(absl::Time started_at, MetricsWriter& writer);

}  // namespace sluice
