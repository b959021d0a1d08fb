// SPDX-License-Identifier: Apache-2.0
// How long to wait before the next try: doubled with each, and random, so that the nodes of a
// cluster do not come back to a server all at once.
#pragma once

#include <cstdint>
#include <random>

#include "absl/time/time.h"

namespace sluice {

class Backoff {
 public:
  // Requires: 0 < min <= max.
  Backoff(absl::Duration min, absl::Duration max, std::uint64_t seed)
      : min_(min), max_(max), next_(min), random_(seed) {}

  // Between half of what is due and all of it; the first is of `min`, the last of `max`.
  absl::Duration Next();
  void Reset() { next_ = min_; }
  // Uniform between the two, for what else is to be spread over time.
  absl::Duration Between(absl::Duration low, absl::Duration high);

 private:
  absl::Duration min_;
  absl::Duration max_;
  absl::Duration next_;
  std::mt19937_64 random_;
};

}  // namespace sluice
