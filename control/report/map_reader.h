// SPDX-License-Identifier: Apache-2.0
// Reads PinnedState from the maps. Writes nothing: the rows belong to the agent and the programs.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/report/pinned_state.h"
#include "maps/map_set.h"
#include "maps/table.h"

namespace sluice::report {

// All but flows. Cost: reads the services, backends, names and counters, about 20 MB at the
// default sizes. Errors: as Table::Dump.
absl::StatusOr<PinnedState> ReadPinnedState(const MapSet& maps);

// Sets state.flows, sorted by key. Cost: 96 bytes read for each row of sl_flows.
absl::Status ReadFlows(const Table<abi::flow, abi::flow_entry>& flows, PinnedState& state);

// Sets state.opening; a flow with two places in the table is taken once. Cost: reads sl_opening
// whole, 14 MiB at the default size.
absl::Status ReadOpening(const Table<std::uint32_t, abi::opening_bucket>& opening,
                         PinnedState& state);

// A service's name for people, from sl_svc_names: "id 7" for an id without one. Errors: as
// Table::Lookup.
absl::StatusOr<std::string> ReadServiceLabel(const Table<std::uint32_t, abi::service_name>& names,
                                             std::uint32_t service_id);

}  // namespace sluice::report
