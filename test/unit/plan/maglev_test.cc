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

constexpr std::uint32_t kSlots = 1 << 20;  // sluiced's default

std::vector<std::uint32_t> Table(const std::vector<BackendAddress>& members) {
  return BuildMaglevTable(members, MaglevTableSize(members.size(), kSlots));
}

// Who has each slot.
std::vector<BackendAddress> TableOf(const std::vector<BackendAddress>& members) {
  std::vector<BackendAddress> table;
  for (std::uint32_t slot : Table(members)) table.push_back(members.at(slot));
  return table;
}

TEST(MaglevTest, TheSizeIsTheSmallestNamedPrimeWithAHundredSlotsForEach) {
  for (std::uint32_t size : kMaglevTableSizes) {
    for (std::uint32_t factor = 2; factor * factor <= size; ++factor) ASSERT_NE(size % factor, 0u);
  }
  EXPECT_EQ(MaglevTableSize(1, kSlots), 127u);
  EXPECT_EQ(MaglevTableSize(2, kSlots), 509u);
  EXPECT_EQ(MaglevTableSize(5, kSlots), 509u);
  EXPECT_EQ(MaglevTableSize(6, kSlots), 2039u);
  EXPECT_EQ(MaglevTableSize(81, kSlots), 8191u);
  EXPECT_EQ(MaglevTableSize(82, kSlots), 32749u);
  EXPECT_EQ(MaglevTableSize(100, kSlots), 32749u);
  EXPECT_EQ(MaglevTableSize(1310, kSlots), 131071u);
  EXPECT_EQ(MaglevTableSize(20971, 1 << 24), 2097143u);
  EXPECT_EQ(MaglevTableSize(30000, 1 << 24), 2097143u) << "there is no larger one";
  EXPECT_EQ(Table(Members(100)).size(), 32749u);
}

// What is more than an eighth of all slots could be made, but not changed.
TEST(MaglevTest, WhereRoomIsShortTheTableIsSmaller) {
  EXPECT_EQ(MaglevTableSize(1311, kSlots), 131071u);
  EXPECT_EQ(MaglevTableSize(5000, kSlots), 131071u);
  EXPECT_EQ(MaglevTableSize(5000, 8 * 524287), 524287u);
  EXPECT_EQ(MaglevTableSize(13107, kSlots), 131071u);
  EXPECT_EQ(MaglevTableSize(13108, kSlots), 524287u) << "less than ten each is no balance";
  EXPECT_EQ(MaglevTableSize(100, 8 * 8191), 8191u);
  EXPECT_EQ(MaglevTableSize(100, 8 * 8191 - 1), 2039u);
  EXPECT_EQ(MaglevTableSize(100, 0), 2039u);
  EXPECT_EQ(MaglevTableSize(1, 0), 127u);
}

TEST(MaglevTest, EachHasItsShareToASlot) {
  for (int count : {1, 2, 3, 10, 100, 327}) {
    const std::vector<std::uint32_t> table = Table(Members(count));
    std::vector<std::size_t> shares(static_cast<std::size_t>(count));
    for (std::uint32_t member : table) ++shares.at(member);
    const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
    EXPECT_LE(*most - *least, 1u) << count;
  }
  EXPECT_THAT(BuildMaglevTable({}, 127), IsEmpty());
  EXPECT_THAT(Table(Members(1)), Each(0u));
}

// The table as it is today, by its begin: another one would move flows as nodes are upgraded, and
// be another than those of nodes that are not.
TEST(MaglevTest, TheTableIsTheSameEverywhereAndForGood) {
  const std::vector<std::uint32_t> table = Table(Members(3));
  ASSERT_EQ(table.size(), 509u);
  EXPECT_THAT(std::vector(table.begin(), table.begin() + 12),
              ElementsAre(2, 1, 2, 1, 0, 1, 1, 0, 0, 2, 0, 0));
  const std::vector<std::uint32_t> v6 = Table(Members(3, false));
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

// Two families, more endpoints than have a hundred slots each, a hundred of them on this node: all
// of them can be replaced at once, and there is room for others.
TEST(MaglevTest, AWideServiceCanBeChanged) {
  constexpr int kEndpoints = 1400;
  const auto wide = [](const char* v4, const char* v6) {
    DesiredService web = Web({});
    web.algorithm = abi::SL_ALGORITHM_MAGLEV;
    web.external_local = true;
    web.frontends.push_back({Ip("fd00:10:96::10"), 80, IPPROTO_TCP, abi::SL_FRONTEND_CLUSTER_IP});
    web.frontends.push_back({Ip("203.0.113.1"), 80, IPPROTO_TCP, abi::SL_FRONTEND_LOAD_BALANCER});
    web.frontends.push_back({Ip("2001:db8::1"), 80, IPPROTO_TCP, abi::SL_FRONTEND_LOAD_BALANCER});
    for (int i = 0; i < kEndpoints; ++i) {
      for (const std::string& address :
           {absl::StrCat(v4, i / 200, ".", 1 + i % 200), absl::StrCat(v6, absl::Hex(1 + i))}) {
        web.backends.push_back(Backend(address));
        web.backends.back().in_local_set = i < 100;
      }
    }
    std::sort(web.backends.begin(), web.backends.end(),
              [](const auto& a, const auto& b) { return a.address < b.address; });
    return web;
  };
  const DesiredService other =
      Web({Backend("198.51.100.1"), Backend("198.51.100.2")}, "other", "192.0.2.9");
  for (std::uint32_t slots : {kSlots, 2 * kSlots, kSlots / 2}) {
    MapState state({.services = 64,
                    .service_ids = 64,
                    .source_ranges = 8,
                    .slots = slots,
                    .backends = 16 * kEndpoints});
    Carry(state, other);
    std::uint64_t now = kNow;
    for (const auto& [v4, v6] :
         {std::pair{"10.1.", "fd00:1::"}, {"10.2.", "fd00:2::"}, {"10.3.", "fd00:3::"}}) {
      const DesiredService web = wide(v4, v6);
      now += 2 * kReuseGraceNs;
      Carry(state, web, now);
      for (const Frontend& frontend : web.frontends) {
        for (const abi::slot_range& range : state.FindService(ServiceKey(frontend))->slots) {
          ASSERT_GT(range.count, 100u);
          EXPECT_EQ(state.Backend(state.Slots(range)[0]).flags,
                    abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE);
        }
      }
      EXPECT_LT(state.slot_allocator().used(), slots * 3 / 8) << v4;
    }
  }
}

TEST(MaglevTest, ATableThatDoesNotFitIsRefusedByName) {
  MapState state(
      {.services = 64, .service_ids = 64, .source_ranges = 8, .slots = 100, .backends = 64});
  DesiredService web = Web({Backend("198.51.100.1"), Backend("198.51.100.2")});
  web.algorithm = abi::SL_ALGORITHM_MAGLEV;
  const PlannedUpdate update = Plan(state, web);
  ASSERT_EQ(update.refused.size(), 1u);
  EXPECT_THAT(update.refused[0].status.message(),
              ::testing::HasSubstr("sl_slots: 127 rows needed, the limit is 100 (raise "
                                   "--max-slots)"));
  EXPECT_TRUE(update.plan.empty());
}

}  // namespace
}  // namespace sluice
