// SPDX-License-Identifier: Apache-2.0
// What the agent serves over HTTP: the local endpoint for sluicectl, health for probes, metrics.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "control/agent/http_server.h"
#include "control/agent/snapshot.h"

namespace sluice {

inline constexpr int kHealthzPort = 10256;  // kube-proxy's
inline constexpr int kMetricsPort = 10249;

// `<state_dir>/sluiced.sock`: GET /v1/snapshot, GET /v1/drops, POST /v1/sync?timeoutMs=N.
// `pin_folder`: where the maps are pinned, for their use in the snapshot. `view` must outlive it.
absl::StatusOr<std::unique_ptr<HttpServer>> ServeLocal(const std::string& state_dir,
                                                       const std::string& pin_folder,
                                                       AgentView& view);

// What the metrics endpoint needs to know of the agent's options.
struct MetricsEndpointOptions {
  std::string address = {};
  std::string pin_folder = {};
  std::string configz = {};        // body of /configz
  std::size_t backend_series = 0;  // backends that have metrics of their own
};

// As kube-proxy's: GET /metrics in Prometheus' text format, /configz, /proxyMode ("ebpf"), and
// /healthz, which is "ok" while the agent answers at all.
absl::StatusOr<std::unique_ptr<HttpServer>> ServeMetrics(const MetricsEndpointOptions& options,
                                                         AgentView& view);

}  // namespace sluice
