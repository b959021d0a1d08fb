// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/backoff.h"

#include <algorithm>

namespace sluice {

absl::Duration Backoff::Between(absl::Duration low, absl::Duration high) {
  std::uniform_int_distribution<std::int64_t> pick(absl::ToInt64Nanoseconds(low),
                                                   absl::ToInt64Nanoseconds(high));
  return absl::Nanoseconds(pick(random_));
}

absl::Duration Backoff::Next() {
  const absl::Duration due = next_;
  next_ = std::min(next_ * 2, max_);
  return Between(due / 2, due);
}

}  // namespace sluice
