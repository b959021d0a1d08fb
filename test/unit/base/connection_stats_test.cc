// SPDX-License-Identifier: Apache-2.0
#include "control/base/connection_stats.h"

#include <array>

#include "gtest/gtest.h"

namespace sluice {
namespace {

abi::connection_stats Ended(__u64 established, __u64 closed, __u64 reset) {
  abi::connection_stats stats{};
  stats.established = established;
  stats.failed = 9;
  stats.closed = closed;
  stats.reset = reset;
  return stats;
}

TEST(ConnectionStatsTest, OpenAreThoseNotEnded) {
  EXPECT_EQ(OpenConnections(Ended(7, 2, 1)), 4u);
  EXPECT_EQ(OpenConnections({}), 0u);
  // Read while one ends: its end is there, its beginning not yet.
  EXPECT_EQ(OpenConnections(Ended(1, 2, 0)), 0u);
}

TEST(ConnectionStatsTest, QuantilesLieInTheirPlaceOfTheHistogram) {
  std::array<__u64, abi::SL_TIME_BUCKETS> times{};
  EXPECT_EQ(QuantileMicroseconds(times, 0.5), 0);
  times[0] = 1;  // below 1 us
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 1), 1);
  times[5] = 98;  // 16 to 32 us
  times[20] = 1;  // 0.5 to 1 s
  EXPECT_EQ(CountTimes(times), 100u);
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 0.5), 16 + 16 * 49.0 / 98);
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 0.99), 32);
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 1), 1 << 20);
}

TEST(ConnectionStatsTest, TheLastPlaceIsTakenAsOneOfTwiceTheOneBefore) {
  std::array<__u64, abi::SL_TIME_BUCKETS> times{};
  times.back() = 3;
  EXPECT_DOUBLE_EQ(QuantileMicroseconds(times, 1), 1 << (abi::SL_TIME_BUCKETS - 1));
}

}  // namespace
}  // namespace sluice
