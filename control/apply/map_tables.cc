// SPDX-License-Identifier: Apache-2.0
#include "control/apply/map_tables.h"

#include <algorithm>

#include "control/base/status_macros.h"

namespace sluice {

MapTables MapTables::Of(const MapSet& maps) {
  return {&maps.services(),         &maps.service_stats(), &maps.service_names(),
          &maps.source_ranges(),    &maps.backends(),      &maps.backend_stats(),
          &maps.connection_stats(), &maps.affinity(),      &maps.slots(),
          &maps.filter(),           &maps.loads(),         &maps.nodes(),
          &maps.node_ids()};
}

MapLimits MapTables::Limits() const {
  return {services->max_entries(),
          std::min(service_names->max_entries(), service_stats->max_entries()),
          source_ranges->max_entries(), slots->size(),
          std::min({backends->max_entries(), backend_stats->max_entries(), loads->size()})};
}

absl::StatusOr<MapRows> ReadMaps(const MapTables& tables) {
  MapRows rows;
  ASSIGN_OR_RETURN(rows.services, tables.services->Dump());
  ASSIGN_OR_RETURN(rows.names, tables.service_names->Dump());
  ASSIGN_OR_RETURN(rows.backends, tables.backends->Dump());
  ASSIGN_OR_RETURN(const auto ranges, tables.source_ranges->Dump());
  rows.source_ranges.reserve(ranges.size());
  for (const auto& [key, range] : ranges) rows.source_ranges.push_back(key);
  // In the order of keys, so that equal maps are read alike whatever the order of the kernel's
  // hash.
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(rows.services.begin(), rows.services.end(), by_key);
  std::sort(rows.names.begin(), rows.names.end(), by_key);
  std::sort(rows.backends.begin(), rows.backends.end(), by_key);
  std::uint64_t end = 0;
  for (const auto& [key, row] : rows.services) {
    for (const abi::slot_range& range : row.slots) {
      end = std::max(end, std::uint64_t{range.offset} + range.count);
    }
  }
  end = std::min<std::uint64_t>(end, tables.slots->size());
  rows.slots.reserve(end);
  for (std::uint32_t slot = 0; slot < end; ++slot) rows.slots.push_back(tables.slots->Read(slot));
  return rows;
}

}  // namespace sluice
