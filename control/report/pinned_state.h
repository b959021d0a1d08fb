// SPDX-License-Identifier: Apache-2.0
// What the pinned maps say, read once and held as values: the ground on which every report that
// needs no agent is built.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/desired/desired_state.h"
#include "maps/backend.h"
#include "maps/connection.h"
#include "maps/flow.h"
#include "maps/reason.h"
#include "maps/row_compare.h"
#include "maps/service.h"

namespace sluice::report {

using FlowRow = std::pair<abi::flow, abi::flow_entry>;

// Rows of the maps, sorted by their keys where they are not sequences.
struct PinnedState {
  std::vector<std::pair<abi::service_key, abi::service>> frontends;  // SL_FRONTEND_ADDRESS too
  std::map<std::uint32_t, ServicePortName> names;                    // by service id
  std::map<std::uint32_t, abi::service_stats> service_stats;         // by service id
  std::map<std::uint32_t, abi::backend> backends;                    // by backend id
  std::map<std::uint32_t, abi::backend_stats> backend_stats;         // by backend id
  std::map<abi::connection_stats_key, abi::connection_stats> connection_stats;
  std::vector<FlowRow> flows;              // sl_flows, both directions
  std::vector<abi::opening_flow> opening;  // sl_opening: forward rows
  std::vector<std::pair<abi::drop_key, abi::drop_count>> drops;
};

// A service's name for people: of an id without a name, "id 7"; of 0, "".
std::string ServiceLabelOf(const PinnedState& state, std::uint32_t service_id);

// Whether the flow's backend is still the endpoint that it was when the flow was opened.
bool BackendLives(const PinnedState& state, const abi::flow_entry& entry);

// Whether the flow may still carry packets: neither reset nor closed by both sides.
bool IsOpen(const abi::flow_entry& entry);

// Established flows and connections per (service id, backend id): forward rows that are open and
// whose backend lives, and sockets. Cost: one pass over the flows.
std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> CountConnections(
    const PinnedState& state);

// The key under which the partner of a row is stored: the other direction of the flow.
abi::flow PartnerKey(const FlowRow& row);

// Network order to a number.
std::uint16_t PortOf(__be16 port);

// "192.0.2.1:80": an ABI address with its port.
std::string FormatAbiEndpoint(const abi::addr& address, __be16 port);

// Names are NUL-padded in the map; a row without a NUL is cut at the field's end.
ServicePortName FromAbiName(const abi::service_name& name);

}  // namespace sluice::report
