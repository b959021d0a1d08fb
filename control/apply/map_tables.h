// SPDX-License-Identifier: Apache-2.0
// The maps that the agent keeps equal to the cluster, as MapWriter and Reconciler see them: those
// of a MapSet, or fakes.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

#include "control/plan/map_state.h"
#include "maps/map_set.h"

namespace sluice {

// Nothing is owned: the maps must outlive whoever holds this.
struct MapTables {
  Table<abi::service_key, abi::service>* services = nullptr;
  Table<std::uint32_t, abi::service_stats>* service_stats = nullptr;
  Table<std::uint32_t, abi::service_name>* service_names = nullptr;
  Table<abi::source_range_key, abi::source_range>* source_ranges = nullptr;
  Table<std::uint32_t, abi::backend>* backends = nullptr;
  Table<std::uint32_t, abi::backend_stats>* backend_stats = nullptr;
  Table<abi::connection_stats_key, abi::connection_stats>* connection_stats = nullptr;
  Table<abi::affinity_key, abi::affinity>* affinity = nullptr;
  SlotArray* slots = nullptr;
  FilterArray* filter = nullptr;
  LoadArray* loads = nullptr;
  Table<std::uint32_t, abi::node>* nodes = nullptr;     // null: other nodes are not known
  Table<abi::addr, std::uint32_t>* node_ids = nullptr;  // with `nodes`

  static MapTables Of(const MapSet& maps);
  MapLimits Limits() const;
};

// All rows of the maps. Errors: those of Table::Dump; nothing may be concluded from maps of which
// one could not be read. Cost: reads every row, about 50 ms at default sizes.
absl::StatusOr<MapRows> ReadMaps(const MapTables& tables);

}  // namespace sluice
