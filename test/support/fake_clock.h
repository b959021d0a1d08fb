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
    return absl::FromUnixNanos(static_cast<std::int64_t>(monotonic_ns_)) + wall_set_by_;
  }
  std::uint64_t MonotonicNs() const override { return monotonic_ns_; }
  void Advance(absl::Duration by) {
    monotonic_ns_ += static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(by));
  }

  // As somebody who sets the node's clock.
  void SetWall(absl::Duration by) { wall_set_by_ += by; }

 private:
  absl::Duration wall_set_by_;
  std::uint64_t monotonic_ns_ = 1'000'000'000'000;
};

}  // namespace sluice::testing
