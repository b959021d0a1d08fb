// SPDX-License-Identifier: Apache-2.0
// The metrics that kube-proxy has, under its names, labels and units.
#pragma once

#include "control/agent/metrics_writer.h"
#include "control/agent/snapshot.h"

namespace sluice {

// Of `snapshot`, taken with its part `metrics`. What is told of one mode of kube-proxy (iptables,
// nftables) is left out, as kube-proxy leaves it out in other modes.
void AddKubeProxyMetrics(const Snapshot& snapshot, MetricsWriter& writer);

}  // namespace sluice
