// SPDX-License-Identifier: Apache-2.0
#include "control/base/clock.h"

#include <ctime>

#include "absl/time/clock.h"

namespace sluice {

absl::Time SystemClock::Now() const { return absl::Now(); }

std::uint64_t SystemClock::MonotonicNs() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail: the clock exists and `now` is ours
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace sluice
