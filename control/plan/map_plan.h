// SPDX-License-Identifier: Apache-2.0
// MapPlan: what to write to the maps and in which order, as a value that can be printed and
// compared. A step is a run of rows of one map; the rows are written in order, so that a plan that
// stops anywhere, even within a step, leaves the maps in a state that is safe to run on.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "maps/backend.h"
#include "maps/row_compare.h"
#include "maps/service.h"

namespace sluice {

// Counters of ids that are given out (anew).
struct ZeroServiceStats {
  std::vector<std::uint32_t> ids;
  friend bool operator==(const ZeroServiceStats&, const ZeroServiceStats&) = default;
};
struct ZeroBackendStats {
  std::vector<std::uint32_t> ids;
  friend bool operator==(const ZeroBackendStats&, const ZeroBackendStats&) = default;
};

// Drops what clients were bound to under service ids that are given out again.
struct ForgetAffinity {
  std::vector<std::uint32_t> service_ids;
  friend bool operator==(const ForgetAffinity&, const ForgetAffinity&) = default;
};

struct WriteNames {
  std::vector<std::pair<std::uint32_t, abi::service_name>> rows;
  friend bool operator==(const WriteNames&, const WriteNames&) = default;
};

// Frees the ids: they may be given out again once kReuseGraceNs have passed.
struct ClearNames {
  std::vector<std::uint32_t> ids;
  std::uint64_t freed_at_ns = 0;
  friend bool operator==(const ClearNames&, const ClearNames&) = default;
};

struct WriteBackends {
  std::vector<std::pair<std::uint32_t, abi::backend>> rows;
  friend bool operator==(const WriteBackends&, const WriteBackends&) = default;
};

// Writes the rows, whose flags are 0, and frees their ids as ClearNames does.
struct RetireBackends {
  std::vector<std::pair<std::uint32_t, abi::backend>> rows;
  std::uint64_t freed_at_ns = 0;
  friend bool operator==(const RetireBackends&, const RetireBackends&) = default;
};

struct WriteSourceRanges {
  std::vector<abi::source_range_key> keys;
  friend bool operator==(const WriteSourceRanges&, const WriteSourceRanges&) = default;
};
struct DeleteSourceRanges {
  std::vector<abi::source_range_key> keys;
  friend bool operator==(const DeleteSourceRanges&, const DeleteSourceRanges&) = default;
};

struct SlotRun {
  std::uint32_t offset = 0;
  std::vector<std::uint32_t> backend_ids;
  friend bool operator==(const SlotRun&, const SlotRun&) = default;
};
struct WriteSlots {
  std::vector<SlotRun> runs;
  friend bool operator==(const WriteSlots&, const WriteSlots&) = default;
};

// Bookkeeping: no row names these ranges any more; reuse as with ClearNames.
struct FreeSlots {
  std::vector<abi::slot_range> ranges;
  std::uint64_t freed_at_ns = 0;
  friend bool operator==(const FreeSlots&, const FreeSlots&) = default;
};

struct WriteServices {
  std::vector<std::pair<abi::service_key, abi::service>> rows;
  friend bool operator==(const WriteServices&, const WriteServices&) = default;
};
struct DeleteServices {
  std::vector<abi::service_key> keys;
  friend bool operator==(const DeleteServices&, const DeleteServices&) = default;
};

using MapStep =
    std::variant<ZeroServiceStats, ForgetAffinity, WriteNames, ZeroBackendStats, WriteBackends,
                 WriteSourceRanges, WriteSlots, WriteServices, DeleteServices, DeleteSourceRanges,
                 ClearNames, RetireBackends, FreeSlots>;

struct MapPlan {
  std::vector<MapStep> steps;

  bool empty() const { return steps.empty(); }
  friend bool operator==(const MapPlan&, const MapPlan&) = default;
};

// Rows of a step; what "landed" counts.
std::size_t RowCount(const MapStep& step);

// Whether the step changes no map, only the agent's books.
bool IsBookkeeping(const MapStep& step);

// One line a row, in order: "write sl_services 192.0.2.1:80/TCP id 3 ClusterIP ...".
std::string ToString(const MapPlan& plan);

}  // namespace sluice
