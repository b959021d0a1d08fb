// SPDX-License-Identifier: Apache-2.0
// The check that what is asked for fits into the maps, made before anything is planned.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "control/plan/map_state.h"

namespace sluice {

// A map that is too small: `need` counts all that was asked for together with all that is there.
struct CapacityShortage {
  std::string map;
  std::uint64_t need = 0;
  std::uint64_t limit = 0;

  friend bool operator==(const CapacityShortage&, const CapacityShortage&) = default;
};

// "map sl_backends: 120000 rows needed, the limit is 100000 (raise --max-backends)"
std::string ToString(const CapacityShortage& shortage);

// Rows that one service needs on top of those that are there.
struct Demand {
  std::uint32_t services = 0;
  std::uint32_t service_ids = 0;
  std::uint32_t source_ranges = 0;
  std::uint32_t slots = 0;
  std::uint32_t backends = 0;
};

// What the services of one plan ask for, one after the other. Thread-compatible.
class CapacityLedger {
 public:
  explicit CapacityLedger(const MapState& actual);

  // Takes `demand` if all of it fits on top of what was taken, else nothing.
  // Errors: RESOURCE_EXHAUSTED naming the first map that is too small for it.
  absl::Status Take(const Demand& demand);

  // The maps that were too small for some demand, with the sum of all demands as the need.
  std::vector<CapacityShortage> Shortages() const;

 private:
  struct Account {
    const char* map;
    std::uint64_t limit;
    std::uint64_t used;
    std::uint64_t asked;  // used and every demand, also those that did not fit
    bool short_of = false;
  };
  static constexpr std::size_t kMaps = 5;
  std::array<Account, kMaps> accounts_;
};

}  // namespace sluice
