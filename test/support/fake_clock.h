// SPDX-License-Identifier: Apache-2.0
// A clock that stands still until it is told to go on.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "control/base/clock.h"

namespace sluice::testing {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::FromUnixNanos(static_cast<std::int64_t>(monotonic_ns_));
  }
  std::uint64_t MonotonicNs() const override { return monotonic_ns_; }
  void Advance(absl::Duration by) {
    monotonic_ns_ += static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(by));
  }

 private:
  std::uint64_t monotonic_ns_ = 1'000'000'000'000;
};

}  // namespace sluice::testing
