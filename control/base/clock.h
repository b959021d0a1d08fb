// SPDX-License-Identifier: Apache-2.0
// Where time comes from, so that tests can say what time it is.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace sluice {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;  // wall clock, for people
  // CLOCK_MONOTONIC: the clock of the time stamps that the programs write into maps.
  virtual std::uint64_t MonotonicNs() const = 0;
};

class SystemClock final : public Clock {
 public:
  absl::Time Now() const override;
  std::uint64_t MonotonicNs() const override;
};

}  // namespace sluice
