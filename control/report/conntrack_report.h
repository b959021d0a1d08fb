// SPDX-License-Identifier: Apache-2.0
// `sluicectl conntrack list|flush`: the flows that the datapath remembers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/report/endpoint_text.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"
#include "maps/table.h"

namespace sluice::report {

// All that is set must match.
struct FlowFilter {
  std::optional<ServiceFilter> service;
  std::optional<EndpointText> backend;  // without a port: any
};

// One flow as its client opened it. Of a flow whose forward row is missing (the other direction
// puts it back within about a second of traffic) the reply row is shown, as it is.
struct FlowReport {
  std::string protocol;
  std::string source;  // endpoints as text, see FormatEndpoint()
  std::string destination;
  std::string new_source;
  std::string new_destination;
  bool reply = false;  // the reply row of a flow without a forward row
  // "opening" (not answered), "answered" (not established yet), "established", "closing" (one side
  // has sent FIN), "closed", "reset".
  std::string state;
  bool stale = false;  // its backend is gone: the next packet of TCP is reset, of UDP moves on
  std::string service;
  std::string backend;
  // "to node 192.0.2.11": passed on as it is, and its answers do not come by; "from any node": its
  // packets may come from nodes that have passed them on; else empty.
  std::string path = {};
  std::uint64_t idle_s = 0;  // since the last packet of either direction
};

// The flows of state.opening and state.flows that match, those of sl_flows last.
// now_ns: CLOCK_MONOTONIC. Cost: linear in the flows, with one hash lookup each.
std::vector<FlowReport> BuildFlowReports(const PinnedState& state, const FlowFilter& filter,
                                         std::uint64_t now_ns);
// Array of {protocol, source, destination, newSource, newDestination, direction, state, stale,
// service, backend, idleSeconds}.
Json FlowsToJson(const std::vector<FlowReport>& flows);
std::string FlowsToTable(const std::vector<FlowReport>& flows);

struct FlushResult {
  std::uint64_t flows = 0;
  std::uint64_t rows = 0;
};

// Deletes both rows of every established flow of state.flows that matches. Flows that are only
// being opened stay: they end by themselves within seconds.
// Errors: as Table::Delete.
absl::StatusOr<FlushResult> FlushFlows(const PinnedState& state, const FlowFilter& filter,
                                       Table<abi::flow, abi::flow_entry>& flows);

}  // namespace sluice::report
