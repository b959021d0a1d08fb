// SPDX-License-Identifier: Apache-2.0
#include "control/plan/backend_index.h"

#include <netinet/in.h>

#include <map>
#include <random>
#include <set>

#include "gmock/gmock.h"

#include "control/model/ip_address.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Backend `number`; each has another address.
abi::backend Row(std::uint32_t number) {
  abi::backend row = {};
  row.address = IpAddress::Parse("2001:db8::1")->ToAbi();
  row.address.w[2] = number;
  row.port = htons(8080);
  row.protocol = IPPROTO_TCP;
  return row;
}

TEST(BackendIndexTest, FindsNothingWhenEmpty) {
  BackendIndex index;
  const std::vector<abi::backend> rows = {{}, Row(1)};
  EXPECT_THAT(index.At(rows, AddressOf(rows[1])), IsEmpty());
  index.Remove(rows, 1);  // nothing happens
}

TEST(BackendIndexTest, TellsPortsAndProtocolsOfAnAddressApart) {
  std::vector<abi::backend> rows(4, Row(1));
  rows[2].port = htons(8081);
  rows[3].protocol = IPPROTO_UDP;
  BackendIndex index;
  for (std::uint32_t id : {1, 2, 3}) index.Add(rows, id);
  for (std::uint32_t id : {1, 2, 3}) {
    EXPECT_THAT(index.At(rows, AddressOf(rows[id])), ElementsAre(id));
  }
}

// What is found first of two is the one read first, also when there have become many since.
TEST(BackendIndexTest, KeepsTheOrderInWhichIdsOfOneAddressWereAdded) {
  constexpr std::uint32_t kMany = 1000;
  std::vector<abi::backend> rows;
  for (std::uint32_t id = 0; id < kMany; ++id) rows.push_back(Row(id));
  rows[7] = rows[3] = rows[5] = Row(kMany);
  BackendIndex index;
  for (std::uint32_t id : {7, 3, 5}) index.Add(rows, id);
  for (std::uint32_t id = 8; id < kMany; ++id) index.Add(rows, id);
  EXPECT_THAT(index.At(rows, AddressOf(Row(kMany))), ElementsAre(7, 3, 5));
  index.Remove(rows, 3);
  EXPECT_THAT(index.At(rows, AddressOf(Row(kMany))), ElementsAre(7, 5));
  index.Add(rows, 3);
  EXPECT_THAT(index.At(rows, AddressOf(Row(kMany))), ElementsAre(7, 5, 3));
}

TEST(BackendIndexTest, FindsWhatAMapWouldWhateverCameAndWent) {
  constexpr std::uint32_t kIds = 3000;
  constexpr std::uint32_t kAddresses = 2000;  // fewer: some have several ids
  std::mt19937 engine(1);
  const auto below = [&engine](std::uint32_t end) {
    return std::uniform_int_distribution<std::uint32_t>(0, end - 1)(engine);
  };
  std::vector<abi::backend> rows(1);
  std::map<std::uint32_t, std::set<std::uint32_t>> wanted;  // ids by number of the address
  std::map<std::uint32_t, std::uint32_t> number_of;
  BackendIndex index;
  for (int step = 0; step < 20000; ++step) {
    const std::uint32_t id = 1 + below(kIds - 1);
    if (const auto there = number_of.find(id); there != number_of.end()) {
      index.Remove(rows, id);
      wanted[there->second].erase(id);
      number_of.erase(there);
    } else {
      const std::uint32_t number = below(kAddresses);
      if (rows.size() <= id) rows.resize(id + 1);
      rows[id] = Row(number);
      index.Add(rows, id);
      wanted[number].insert(id);
      number_of[id] = number;
    }
  }
  for (std::uint32_t number = 0; number < kAddresses; ++number) {
    const BackendIndex::Ids found = index.At(rows, AddressOf(Row(number)));
    EXPECT_EQ(std::set<std::uint32_t>(found.begin(), found.end()), wanted[number]) << number;
    EXPECT_EQ(found.size(), wanted[number].size()) << number;
  }
}

}  // namespace
}  // namespace sluice
