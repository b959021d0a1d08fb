// SPDX-License-Identifier: Apache-2.0
#include "control/source/allocation_pool.h"

#include <optional>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace sluice {
namespace {

// The places in the order in which they are given when each is kept.
std::vector<std::uint64_t> Exhaust(const AllocationPool& pool, std::uint64_t seed) {
  std::vector<std::uint64_t> order;
  std::set<std::uint64_t> taken;
  while (const std::optional<std::uint64_t> place =
             pool.Choose(seed, [&](std::uint64_t each) { return !taken.contains(each); })) {
    order.push_back(*place);
    taken.insert(*place);
  }
  return order;
}

TEST(StableHashTest, IsTheSameForEver) {
  // Written down: another value would move every address of everyone who lost their state.
  EXPECT_EQ(StableHash(""), 0xefd01f60ba992926u);
  EXPECT_EQ(StableHash("default/web/address"), 0xd971b0fe28fc7e63u);
}

TEST(AllocationPoolTest, GivesEveryUsableAddressOnceAndTheLowEndLast) {
  const IpPrefix prefix = *IpPrefix::Parse("10.0.0.0/24");
  const std::vector<std::uint64_t> order = Exhaust(AllocationPool::OfPrefix(prefix), 12345);
  ASSERT_EQ(order.size(), 254u);  // without .0 and .255
  EXPECT_EQ(std::set<std::uint64_t>(order.begin(), order.end()).size(), 254u);
  for (std::size_t i = 0; i < 238; ++i) EXPECT_GE(order[i], 17u);
  for (std::size_t i = 238; i < 254; ++i) EXPECT_EQ(order[i], i - 237);
}

TEST(AllocationPoolTest, UsesSmallPrefixesWhole) {
  const auto size = [](const char* cidr) {
    return Exhaust(AllocationPool::OfPrefix(*IpPrefix::Parse(cidr)), 7).size();
  };
  EXPECT_EQ(size("10.0.0.1/32"), 1u);
  EXPECT_EQ(size("10.0.0.0/31"), 2u);
  EXPECT_EQ(size("10.0.0.0/30"), 2u);
  EXPECT_EQ(size("fd00::/128"), 1u);
  EXPECT_EQ(size("fd00::/126"), 3u);
}

TEST(AllocationPoolTest, GivesEveryPortOfTheRange) {
  const std::vector<std::uint64_t> order = Exhaust(AllocationPool::OfPorts(30000, 32767), 99);
  EXPECT_EQ(order.size(), 2768u);
  EXPECT_GE(order[0], 30086u);
  EXPECT_EQ(Exhaust(AllocationPool::OfPorts(30000, 30000), 99), std::vector<std::uint64_t>{30000});
  EXPECT_EQ(Exhaust(AllocationPool::OfPorts(63000, 65535), 99).size(), 2536u);
}

TEST(AllocationPoolTest, AddressesStayWithinTheirPrefix) {
  const IpPrefix v4 = *IpPrefix::Parse("10.96.0.0/12");
  EXPECT_EQ(AddressAt(v4, 1).ToString(), "10.96.0.1");
  EXPECT_EQ(AddressAt(v4, 0xfffff).ToString(), "10.111.255.255");
  const IpPrefix v6 = *IpPrefix::Parse("fd00:10:96::/64");
  EXPECT_EQ(AddressAt(v6, 0xfffffffe).ToString(), "fd00:10:96::ffff:fffe");
  const std::optional<std::uint64_t> last =
      AllocationPool::OfPrefix(v6).Choose(~std::uint64_t{0}, [](std::uint64_t) { return true; });
  ASSERT_TRUE(last.has_value());
  EXPECT_TRUE(v6.Contains(AddressAt(v6, *last)));
}

}  // namespace
}  // namespace sluice
