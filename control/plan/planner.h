// SPDX-License-Identifier: Apache-2.0
// PlanUpdate: from what is in the maps and what some services should be, to the writes that lead
// there. Pure: no clock, no map, no state of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "control/desired/desired_state.h"
#include "control/plan/capacity.h"
#include "control/plan/map_plan.h"
#include "control/plan/map_state.h"
#include "control/plan/service_rows.h"

namespace sluice {

struct ServiceChange {
  ServicePortName name;
  const DesiredService* desired = nullptr;  // null: gone
};

struct PlanOptions {
  RowOptions rows = {};
  std::uint64_t now_ns = 0;  // monotonic; what was freed kReuseGraceNs before it is free to reuse
  // Other services are planned right after this. A backend that a service leaves may be one of
  // theirs: it keeps its connections as an orphan, and the last of these plans judges it again.
  bool more_follows = false;
};

// A service whose rows stay as they are.
struct RefusedService {
  ServicePortName name;
  // RESOURCE_EXHAUSTED naming map, need and limit; UNAVAILABLE when there is room, but freed too
  // lately to be used again: plan it again after kReuseGraceNs.
  absl::Status status;

  friend bool operator==(const RefusedService&, const RefusedService&) = default;
};

struct PlannedUpdate {
  MapPlan plan;
  std::vector<RefusedService> refused;      // in the order of `changes`
  std::vector<CapacityShortage> shortages;  // why, by map
};

// Plans the services of `changes`, each at most once; others are not touched, except that what
// belongs to none is deleted (rows left over from a plan that failed, or found at start).
//
// Capacity is checked before anything is planned: a service that does not fit is refused whole and
// keeps its rows, the others are planned without it. Rows that a plan replaces count until it is
// done, since the new are made before the old are broken.
//
// Any prefix of the plan, row by row, leaves the maps such that every service row leads to backends
// that were usable for that service before or are so now; an id or a slot that the plan frees is
// not given out again by it. Equal states give an empty plan.
//
// Cost: in proportion to the rows of the services named, apart from a copy of the list of free slot
// ranges.
PlannedUpdate PlanUpdate(const MapState& actual, std::span<const ServiceChange> changes,
                         const PlanOptions& options);

}  // namespace sluice
