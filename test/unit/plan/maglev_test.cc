// SPDX-License-Identifier: Apache-2.0
#include "control/plan/maglev.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "maps/maglev.h"
#include "test/unit/plan/plan_builder.h"

namespace sluice {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<BackendAddress> Members(int count, bool v4 = true) {
  std::vector<BackendAddress> members;
  for (int i = 0; i < count; ++i) {
    members.push_back({Ip(v4 ? absl::StrCat("10.244.", i / 200, ".", 1 + i % 200)
                             : absl::StrCat("fd00:244::", absl::Hex(1 + i))),
                       8080, IPPROTO_TCP});
  }
  std::sort(members.begin(), members.end());
  return members;
}

// Who has each slot.
std::vector<BackendAddress> TableOf(const std::vector<BackendAddress>& members) {
  std::vector<BackendAddress> table;
  for (std::size_t slot : BuildMaglevTable(members)) table.push_back(members.at(slot));
  return table;
}

TEST(MaglevTest, TheSizeIsTheSmallestNamedPrimeWithAHundredSlotsForEach) {
  for (std::uint32_t size : kMaglevTableSizes) {
    for (std::uint32_t factor = 2; factor * factor <= size; ++factor) ASSERT_NE(size % factor, 0u);
  }
  EXPECT_EQ(MaglevTableSize(1), 127u);
  EXPECT_EQ(MaglevTableSize(2), 509u);
  EXPECT_EQ(MaglevTableSize(5), 509u);
  EXPECT_EQ(MaglevTableSize(6), 2039u);
  EXPECT_EQ(MaglevTableSize(81), 8191u);
  EXPECT_EQ(MaglevTableSize(82), 32749u);
  EXPECT_EQ(MaglevTableSize(100), 32749u);
  EXPECT_EQ(MaglevTableSize(20971), 2097143u);
  EXPECT_EQ(MaglevTableSize(30000), 2097143u) << "there is no larger one";
  EXPECT_EQ(BuildMaglevTable(Members(100)).size(), 32749u);
}

TEST(MaglevTest, EachHasItsShareToASlot) {
  for (int count : {1, 2, 3, 10, 100, 327}) {
    const std::vector<std::size_t> table = BuildMaglevTable(Members(count));
    std::vector<std::size_t> shares(static_cast<std::size_t>(count));
    for (std::size_t member : table) ++shares.at(member);
    const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
    EXPECT_LE(*most - *least, 1u) << count;
  }
  EXPECT_THAT(BuildMaglevTable({}), IsEmpty());
  EXPECT_THAT(BuildMaglevTable(Members(1)), Each(0u));
}

// The table as it is today, by its begin: another one would move flows as nodes are upgraded, and
// be another than those of nodes that are not.
TEST(MaglevTest, TheTableIsTheSameEverywhereAndForGood) {
  const std::vector<std::size_t> table = BuildMaglevTable(Members(3));
  ASSERT_EQ(table.size(), 509u);
  EXPECT_THAT(std::vector(table.begin(), table.begin() + 12),
              ElementsAre(2, 1, 2, 1, 0, 1, 1, 0, 0, 2, 0, 0));
  const std::vector<std::size_t> v6 = BuildMaglevTable(Members(3, false));
  EXPECT_THAT(std::vector(v6.begin(), v6.begin() + 12),
              ElementsAre(0, 1, 0, 0, 2, 0, 1, 1, 2, 0, 2, 2));
}

// Flows by their points, 100,000 of them, as the datapath has it: those of the endpoint that leaves
// must move, and of the others at most 1 %.
TEST(MaglevTest, OneOfAHundredThatLeavesMovesFewFlowsOfOthers) {
  for (bool v4 : {true, false}) {
    const std::vector<BackendAddress> members = Members(100, v4);
    const std::vector<BackendAddress> before = TableOf(members);
    for (std::size_t gone : {std::size_t{0}, std::size_t{41}, std::size_t{99}}) {
      std::vector<BackendAddress> rest = members;
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(gone));
      const std::vector<BackendAddress> after = TableOf(rest);
      ASSERT_EQ(before.size(), after.size());
      int moved = 0, lost = 0;
      constexpr int kFlows = 100'000;
      for (int i = 0; i < kFlows; ++i) {
        abi::flow flow{};
        flow.source = Ip("198.51.100.7").ToAbi();
        flow.destination = Ip("192.0.2.1").ToAbi();
        flow.source_port = static_cast<__be16>(i);
        flow.destination_port = static_cast<__be16>(i >> 16);
        flow.protocol = IPPROTO_TCP;
        const std::uint32_t slot =
            abi::maglev_slot(abi::maglev_point(&flow), static_cast<__u32>(before.size()));
        if (before.at(slot) == members[gone]) {
          ++lost;
        } else if (before.at(slot) != after.at(slot)) {
          ++moved;
        }
      }
      EXPECT_GT(lost, kFlows / 100 * 8 / 10);
      EXPECT_LT(lost, kFlows / 100 * 12 / 10);
      EXPECT_LE(moved, kFlows / 100) << members[gone].address.ToString();
      RecordProperty(absl::StrCat(v4 ? "v4" : "v6", "_moved_", gone), moved);
    }
  }
}

TEST(MaglevTest, PointsOfFlowsAreSpreadEvenly) {
  std::vector<int> hits(64);
  constexpr int kFlows = 64 * 1000;
  for (int i = 0; i < kFlows; ++i) {
    abi::flow flow{};
    flow.source = Ip(absl::StrCat("10.0.", i / 250, ".", 1 + i % 250)).ToAbi();
    flow.source_port = 0x5000;
    flow.protocol = IPPROTO_UDP;
    ++hits.at(abi::maglev_slot(abi::maglev_point(&flow), 64));
  }
  double chi_square = 0;
  for (int count : hits) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 103.4);  // 63 degrees of freedom, 0.001
}

TEST(MaglevTest, BySourceOnlyTheClientCounts) {
  const abi::addr client = Ip("198.51.100.7").ToAbi(), other = Ip("198.51.100.8").ToAbi();
  EXPECT_EQ(abi::maglev_source_point(&client), abi::maglev_source_point(&client));
  EXPECT_NE(abi::maglev_source_point(&client), abi::maglev_source_point(&other));
}

TEST(MaglevTest, ThePlanHasTheTableAndTheRowsSayHowToReadIt) {
  MapState state(
      {.services = 64, .service_ids = 64, .source_ranges = 8, .slots = 8192, .backends = 64});
  DesiredService web = Web({Backend("198.51.100.1"), Backend("198.51.100.2")});
  Carry(state, web);
  const abi::service_key key = ServiceKey(web.frontends[0]);
  EXPECT_EQ(state.FindService(key)->algorithm, abi::SL_ALGORITHM_RANDOM);
  EXPECT_EQ(state.FindService(key)->slots[0].count, 2u);
  const std::uint32_t id = state.BackendId(state.ServiceId(web.name), web.backends[0].address);
  const abi::backend before = state.Backend(id);

  web.algorithm = abi::SL_ALGORITHM_MAGLEV;
  Carry(state, web);
  const abi::slot_range range = state.FindService(key)->slots[0];
  EXPECT_EQ(state.FindService(key)->algorithm, abi::SL_ALGORITHM_MAGLEV);
  ASSERT_EQ(range.count, 509u);
  const auto slots = state.Slots(range);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), id), 255 - (slots[0] != id ? 1 : 0));
  EXPECT_EQ(state.Backend(id), before) << "established flows are not touched";

  web.algorithm = abi::SL_ALGORITHM_MAGLEV_SOURCE;
  EXPECT_EQ(Writes(Plan(state, web).plan).size(), 1u) << "the table stays, the row changes";

  web.algorithm = abi::SL_ALGORITHM_LEAST_CONNECTION;
  Carry(state, web);
  EXPECT_EQ(state.FindService(key)->slots[0].count, 2u);
  EXPECT_EQ(state.Backend(id).flags, before.flags | abi::SL_BACKEND_COUNTED);
  EXPECT_EQ(state.Backend(id).generation, before.generation);
}

TEST(MaglevTest, ATableThatDoesNotFitIsRefusedByName) {
  MapState state(
      {.services = 64, .service_ids = 64, .source_ranges = 8, .slots = 200, .backends = 64});
  DesiredService web = Web({Backend("198.51.100.1"), Backend("198.51.100.2")});
  web.algorithm = abi::SL_ALGORITHM_MAGLEV;
  const PlannedUpdate update = Plan(state, web);
  ASSERT_EQ(update.refused.size(), 1u);
  EXPECT_THAT(update.refused[0].status.message(),
              ::testing::HasSubstr("sl_slots: 509 rows needed, the limit is 200 (raise "
                                   "--max-slots)"));
  EXPECT_TRUE(update.plan.empty());
}

}  // namespace
}  // namespace sluice
