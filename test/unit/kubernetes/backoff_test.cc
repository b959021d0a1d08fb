// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/backoff.h"

#include <set>

#include "gtest/gtest.h"

namespace sluice {
namespace {

TEST(BackoffTest, DoublesUpToItsMostWithHalfOfItRandom) {
  Backoff backoff(absl::Milliseconds(100), absl::Milliseconds(1000), 1);
  for (const int due : {100, 200, 400, 800, 1000, 1000, 1000}) {
    const absl::Duration wait = backoff.Next();
    EXPECT_GE(wait, absl::Milliseconds(due) / 2);
    EXPECT_LE(wait, absl::Milliseconds(due));
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Milliseconds(100));
}

TEST(BackoffTest, NodesDoNotWaitAlike) {
  std::set<absl::Duration> waits;
  for (std::uint64_t node = 0; node < 100; ++node) {
    waits.insert(Backoff(absl::Seconds(1), absl::Seconds(1), node).Next());
  }
  EXPECT_GT(waits.size(), 95u);
}

}  // namespace
}  // namespace sluice
