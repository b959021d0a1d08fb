// SPDX-License-Identifier: Apache-2.0
// Ids and slots: nothing in use is given out, nothing freed is given out too early.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "control/plan/id_allocator.h"
#include "control/plan/slot_allocator.h"

namespace sluice {
namespace {

constexpr std::uint64_t kNow = 1'000'000'000'000;

std::uint32_t Take(const IdAllocator& ids, std::uint64_t now = kNow) {
  const auto given = IdAllocator::Lease(ids, now).Take();
  return given ? given->id : 0;
}

TEST(IdAllocatorTest, GivesOutFromOneToItsLimit) {
  IdAllocator ids(4, IdAllocator::Order::kFreshFirst);
  EXPECT_EQ(ids.capacity(), 3u);
  for (std::uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(Take(ids), id);
    ids.MarkUsed(id);
  }
  EXPECT_EQ(Take(ids), 0u);
  EXPECT_EQ(ids.used(), 3u);
}

TEST(IdAllocatorTest, LeaseTakesNothingFromTheAllocator) {
  const IdAllocator ids(10, IdAllocator::Order::kReuseFirst);
  IdAllocator::Lease lease(ids, kNow);
  EXPECT_EQ(lease.Take()->id, 1u);
  EXPECT_EQ(lease.Take()->id, 2u);
  lease.Return(1);
  EXPECT_EQ(lease.Take()->id, 2u);
  EXPECT_EQ(ids.used(), 0u);
  EXPECT_EQ(Take(ids), 1u);
}

TEST(IdAllocatorTest, FreedIdWaitsForTheGraceTime) {
  IdAllocator ids(2, IdAllocator::Order::kReuseFirst);
  ids.MarkUsed(1);
  ids.Free(1, kNow);
  EXPECT_EQ(Take(ids, kNow + kReuseGraceNs - 1), 0u);
  EXPECT_EQ(Take(ids, kNow + kReuseGraceNs), 1u);
}

TEST(IdAllocatorTest, OrderSaysWhetherFreshOrFreedIdsComeFirst) {
  for (const auto order : {IdAllocator::Order::kFreshFirst, IdAllocator::Order::kReuseFirst}) {
    IdAllocator ids(4, order);
    ids.MarkUsed(1);
    ids.Free(1, 1);
    IdAllocator::Lease lease(ids, kNow);
    const auto first = lease.Take();
    const bool fresh_first = order == IdAllocator::Order::kFreshFirst;
    EXPECT_EQ(first->id, fresh_first ? 2u : 1u);
    EXPECT_EQ(first->fresh, fresh_first);
  }
}

TEST(IdAllocatorTest, LongestFreedIsGivenFirst) {
  IdAllocator ids(4, IdAllocator::Order::kReuseFirst);
  for (std::uint32_t id : {1u, 2u, 3u}) ids.MarkUsed(id);
  for (std::uint32_t id : {2u, 3u, 1u}) ids.Free(id, 1);
  IdAllocator::Lease lease(ids, kNow);
  EXPECT_EQ(lease.Take()->id, 2u);
  EXPECT_EQ(lease.Take()->id, 3u);
  EXPECT_EQ(lease.Take()->id, 1u);
}

TEST(IdAllocatorTest, IdsBelowTheHighestReadBackAreFree) {
  IdAllocator ids(10, IdAllocator::Order::kReuseFirst);
  ids.MarkUsed(5);
  ids.MarkUsed(2);
  IdAllocator::Lease lease(ids, kNow);
  std::set<std::uint32_t> given;
  while (const auto id = lease.Take()) given.insert(id->id);
  EXPECT_EQ(given, (std::set<std::uint32_t>{1, 3, 4, 6, 7, 8, 9}));
}

TEST(IdAllocatorTest, IdUsedAgainIsNotGivenOutFromItsOldPlace) {
  IdAllocator ids(3, IdAllocator::Order::kReuseFirst);
  ids.MarkUsed(1);
  ids.Free(1, 1);
  ids.MarkUsed(1);
  ids.Free(1, kNow);
  EXPECT_EQ(Take(ids, kNow + 1), 2u) << "1 was freed a moment ago";
  EXPECT_EQ(ids.used(), 0u);
}

TEST(SlotAllocatorTest, FreedRangeWaitsForTheGraceTimeAndIsJoined) {
  SlotAllocator slots(10);
  EXPECT_EQ(slots.Allocate(4, kNow), 0u);
  EXPECT_EQ(slots.Allocate(4, kNow), 4u);
  EXPECT_EQ(slots.Allocate(4, kNow), std::nullopt);
  slots.Free({0, 4}, kNow);
  slots.Free({4, 4}, kNow + 1);
  EXPECT_EQ(slots.Allocate(3, kNow + kReuseGraceNs - 1), std::nullopt);
  EXPECT_EQ(slots.used(), 0u);
  SlotAllocator later = slots;
  EXPECT_EQ(later.Allocate(4, kNow + kReuseGraceNs), 0u);
  EXPECT_EQ(slots.Allocate(10, kNow + kReuseGraceNs + 1), 0u) << "all of it as one";
}

TEST(SlotAllocatorTest, TakeCutsOutOfFreeRuns) {
  SlotAllocator slots(10);
  slots.Take({3, 2});
  slots.Take({8, 5});  // past the end, as a spoiled row may say
  slots.Take({4, 2});  // partly taken
  EXPECT_EQ(slots.used(), 5u);
  EXPECT_EQ(slots.Allocate(3, kNow), 0u);
  EXPECT_EQ(slots.Allocate(3, kNow), std::nullopt);
  EXPECT_EQ(slots.Allocate(2, kNow), 6u);
}

TEST(SlotAllocatorTest, NeverGivesOutASlotTwiceOrTooEarly) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    constexpr std::uint32_t kSize = 200;
    SlotAllocator slots(kSize);
    std::vector<bool> used(kSize);
    std::vector<std::uint64_t> usable_at(kSize);
    std::vector<abi::slot_range> ranges;
    std::uint64_t now = kNow;
    for (int step = 0; step < 2000; ++step) {
      now += random() % (kReuseGraceNs / 4);
      if (ranges.empty() || random() % 2 == 0) {
        const auto count = static_cast<std::uint32_t>(1 + random() % 20);
        const auto offset = slots.Allocate(count, now);
        if (!offset) continue;
        ASSERT_LE(*offset + count, kSize);
        for (std::uint32_t slot = *offset; slot < *offset + count; ++slot) {
          ASSERT_FALSE(used[slot]);
          ASSERT_LE(usable_at[slot], now);
          used[slot] = true;
        }
        ranges.push_back({*offset, count});
      } else {
        const std::size_t which = random() % ranges.size();
        const abi::slot_range range = ranges[which];
        ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(which));
        slots.Free(range, now);
        for (std::uint32_t slot = range.offset; slot < range.offset + range.count; ++slot) {
          used[slot] = false;
          usable_at[slot] = now + kReuseGraceNs;
        }
      }
      ASSERT_EQ(slots.used(),
                static_cast<std::uint32_t>(std::count(used.begin(), used.end(), true)));
    }
    for (const abi::slot_range& range : ranges) slots.Free(range, now);
    EXPECT_EQ(slots.Allocate(kSize, now + kReuseGraceNs), 0u) << "no slot was lost";
  }
}

}  // namespace
}  // namespace sluice
