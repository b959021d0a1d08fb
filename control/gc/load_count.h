// SPDX-License-Identifier: Apache-2.0
// Keeps the live connections of backends (sl_loads) true. The programs count flows as they begin
// and end, but nobody tells them of one that is forgotten: a client that vanished, an opening that
// was never answered, a row that made room. After each sweep what is there is compared with what
// was counted.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "absl/status/status.h"

#include "control/base/clock.h"
#include "control/gc/conntrack_sweep.h"
#include "maps/flow.h"
#include "maps/load_array.h"
#include "maps/table.h"

namespace sluice {

// Thread: loop only.
class LoadCount {
 public:
  // All must outlive this.
  LoadCount(LoadArray& loads, const Table<std::uint32_t, abi::opening_bucket>& opening,
            const Clock& clock)
      : loads_(loads), opening_(opening), clock_(clock) {}

  // A sweep of sl_flows begins. `counted`: the backends with SL_BACKEND_COUNTED; none: nothing is
  // read.
  void Begin(std::span<const BackendKey> counted);

  // It has ended: `established` are the flows that it found. What two sweeps in turn
  // find missing is added, and the other way round: flows come and go while a sweep is under way,
  // and are nobody's fault. Only backends named to Begin() are looked at.
  // Errors: those of Table::Dump; nothing is changed then.
  absl::Status Finish(const std::map<BackendKey, std::uint64_t>& established);

  // Connections added or taken away since the start.
  std::uint64_t corrected() const { return corrected_; }

 private:
  struct Backend {
    std::int32_t at_begin = 0;
    std::int32_t drift = 0;  // as the sweep before found it
  };

  LoadArray& loads_;
  const Table<std::uint32_t, abi::opening_bucket>& opening_;
  const Clock& clock_;
  std::map<BackendKey, Backend> backends_;
  std::uint64_t corrected_ = 0;
};

}  // namespace sluice
