// SPDX-License-Identifier: Apache-2.0
// `sluicectl service list|show`: services with their frontends, backends and counters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/report/agent_snapshot.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"

namespace sluice::report {

struct FrontendReport {
  IpAddress address;
  std::uint16_t port = 0;
  std::string kind;  // "ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"
};

struct ServiceBackendReport {
  IpAddress address;
  std::uint16_t port = 0;
  std::string node;  // empty: nobody said
  // "ready", "terminating", "notReady". Without an agent: "ready" when it is given new flows,
  // else "notReady".
  std::string state;
  std::uint64_t connections = 0;  // established through this service
  abi::connection_stats sockets{};
};

struct ServiceReport {
  ServicePortName name;
  std::string type;                            // of the Service, see ServiceType in the .cc
  std::vector<FrontendReport> frontends;       // by kind, then address
  std::vector<ServiceBackendReport> backends;  // by address
  abi::service_stats stats{};
  abi::connection_stats sockets{};
};

// All services that have a name in the maps, sorted by it. `agent` may be null.
std::vector<ServiceReport> BuildServiceReports(const PinnedState& state,
                                               const AgentSnapshot* agent);

// Array of {namespace, name, portName, protocol, type, frontends, backends, stats}
// and, where there were connections that got their backend at connect(), sockets: a contract.
Json ServicesToJson(const std::vector<ServiceReport>& services);
// One element of it.
Json ServiceToJson(const ServiceReport& service);
// One line a service.
std::string ServicesToTable(const std::vector<ServiceReport>& services);
// All there is to know of one service, with `remarks` as lines below its name.
std::string ServiceToDetail(const ServiceReport& service, const std::vector<std::string>& remarks);

}  // namespace sluice::report
