// SPDX-License-Identifier: Apache-2.0
// MapWriter: carries a plan out, in order, and says exactly how far it came.
#pragma once

#include <cstddef>
#include <span>

#include "control/apply/map_tables.h"
#include "control/plan/map_plan.h"
#include "control/plan/map_state.h"

namespace sluice {

struct WriteResult {
  absl::Status status;    // of the step that failed
  std::size_t steps = 0;  // that landed whole
  std::size_t rows = 0;   // of maps that landed, of the failed step too
  std::size_t retired_backends = 0;

  bool ok() const { return status.ok(); }
};

// Thread: loop only.
class MapWriter {
 public:
  explicit MapWriter(const MapTables& tables) : tables_(tables) {}

  // Writes `plan` step by step, has `state` follow what lands, and stops at the first failure.
  // `state` must be that from which the plan was made. Errors: as Table::Update and Delete;
  // INTERNAL when slots lie outside the map. Cost: one bpf(2) call per 512 rows of a step; a step
  // that forgets affinity reads all of that map.
  WriteResult Write(const MapPlan& plan, MapState& state);

  // Sets the filter's bits for rows that are in the maps, in case that somebody has cleared them.
  void CoverByFilter(const MapRows& rows);

  // Drops what clients were bound to under the ids for which `drop` is true.
  template <typename Predicate>
  absl::Status ForgetAffinityOf(Predicate drop);

 private:
  BatchResult Step(const ZeroServiceStats& step);
  BatchResult Step(const ZeroBackendStats& step);
  BatchResult Step(const ForgetAffinity& step);
  BatchResult Step(const WriteNames& step);
  BatchResult Step(const ClearNames& step);
  BatchResult Step(const WriteBackends& step);
  BatchResult Step(const RetireBackends& step);
  BatchResult Step(const WriteSourceRanges& step);
  BatchResult Step(const DeleteSourceRanges& step);
  BatchResult Step(const WriteSlots& step);
  BatchResult Step(const FreeSlots& step);
  BatchResult Step(const WriteServices& step);
  BatchResult Step(const DeleteServices& step);

  // Deletes the rows of services' or backends' sockets.
  absl::Status ForgetConnections(std::span<const std::uint32_t> ids,
                                 std::uint32_t abi::connection_stats_key::*which);

  MapTables tables_;
};

template <typename Predicate>
absl::Status MapWriter::ForgetAffinityOf(Predicate drop) {
  auto rows = tables_.affinity->Dump();
  if (!rows.ok()) return rows.status();
  std::vector<abi::affinity_key> keys;
  for (const auto& [key, row] : *rows) {
    if (drop(key.service_id)) keys.push_back(key);
  }
  return tables_.affinity->Delete(keys).status;
}

}  // namespace sluice
