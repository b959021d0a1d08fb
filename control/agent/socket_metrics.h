// SPDX-License-Identifier: Apache-2.0
// Metrics of the TCP connections that got their backend at connect().
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/agent/metrics_writer.h"
#include "maps/connection.h"

namespace sluice {

using LabelledConnections = std::vector<std::pair<MetricsWriter::Labels, abi::connection_stats>>;

// `prefix`: "sluice_service" or "sluice_backend". Series of what never had such a connection are
// left out: most services of a cluster have none on a node.
void AddSocketMetrics(const std::string& prefix, const LabelledConnections& rows,
                      MetricsWriter& writer);

}  // namespace sluice
