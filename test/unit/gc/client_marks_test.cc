// SPDX-License-Identifier: Apache-2.0
#include "control/gc/client_marks.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdint>
#include <vector>

#include "control/gc/conntrack_sweep.h"
#include "maps/client_array.h"
#include "test/support/packet.h"

namespace sluice {
namespace {

using testing::MapAddress;

constexpr std::uint32_t kSeed = 7;
constexpr std::uint64_t kOneMark = std::uint64_t{1} << abi::SL_CLIENT_BITS;

std::uint32_t Hash(const char* address, std::uint16_t port) {
  const abi::addr addr = MapAddress(address);
  return abi::client_hash(&addr, htons(port), IPPROTO_TCP, kSeed);
}

std::uint32_t AnswerHash(const char* to, std::uint16_t to_port, const char* from,
                         std::uint16_t from_port) {
  const abi::addr addr = MapAddress(from);
  return abi::client_answer_hash(Hash(to, to_port), &addr, htons(from_port), IPPROTO_TCP);
}

// The forward row of client:port to 10.96.0.1:80, whose backend is 10.244.0.9:8080; `node` is its
// source then, with SNAT.
FlowRow Forward(const char* client, std::uint16_t port, const char* node = nullptr,
                std::uint16_t node_port = 0) {
  FlowRow row;
  row.first.source = MapAddress(client);
  row.first.source_port = htons(port);
  row.first.destination = MapAddress("10.96.0.1");
  row.first.destination_port = htons(80);
  row.first.protocol = IPPROTO_TCP;
  row.second.new_source = MapAddress(node != nullptr ? node : client);
  row.second.new_source_port = htons(node != nullptr ? node_port : port);
  row.second.new_destination = MapAddress("10.244.0.9");
  row.second.new_destination_port = htons(8080);
  row.second.flags = abi::SL_FLOW_FORWARD;
  if (node != nullptr) row.second.flags |= abi::SL_FLOW_SNAT;
  return row;
}

// The other row of the same flow.
FlowRow Reply(const FlowRow& forward) {
  FlowRow row;
  row.first = PartnerKey(forward.second);
  row.first.protocol = forward.first.protocol;
  row.second = forward.second;
  row.second.new_source = forward.first.destination;
  row.second.new_source_port = forward.first.destination_port;
  row.second.new_destination = forward.first.source;
  row.second.new_destination_port = forward.first.source_port;
  row.second.flags = forward.second.flags & ~abi::SL_FLOW_FORWARD;
  return row;
}

class ClientMarksTest : public ::testing::Test {
 protected:
  void Sweep(const std::vector<FlowRow>& rows) {
    marks_.Begin();
    for (const FlowRow& row : rows) marks_.See(row);
    marks_.Finish();
  }
  // As a program does before it writes a row.
  void Promote(std::uint32_t hash) {
    memory_[array_.IndexOf(hash)].bits += kOneMark;
    array_.Mark(hash);
  }

  std::vector<abi::client_word> memory_ = std::vector<abi::client_word>(64);
  ClientArray array_{memory_};
  ClientMarks marks_{array_, kSeed};
};

TEST_F(ClientMarksTest, EitherRowNeedsItsClient) {
  for (const FlowRow& row : {Forward("10.1.0.1", 4000), Reply(Forward("10.1.0.1", 4000))}) {
    memory_.assign(memory_.size(), {});
    Sweep({row});
    EXPECT_TRUE(array_.Has(Hash("10.1.0.1", 4000)));
    EXPECT_LE(array_.CountSet(), 2u);
  }
}

TEST_F(ClientMarksTest, WithSnatEitherRowNeedsTheAnswersToo) {
  const FlowRow forward = Forward("192.0.2.9", 4000, "198.51.100.1", 6000);
  for (const FlowRow& row : {forward, Reply(forward)}) {
    memory_.assign(memory_.size(), {});
    Sweep({row});
    EXPECT_TRUE(array_.Has(Hash("192.0.2.9", 4000)));
    EXPECT_TRUE(array_.Has(AnswerHash("198.51.100.1", 6000, "10.244.0.9", 8080)));
    EXPECT_GT(array_.CountSet(), 2u);
  }
}

TEST_F(ClientMarksTest, WhatNoRowNeedsGoesWithTheSecondSweep) {
  Promote(Hash("10.1.0.1", 4000));
  Promote(Hash("10.1.0.2", 4000));
  const std::vector<FlowRow> rows = {Forward("10.1.0.2", 4000)};
  Sweep(rows);
  EXPECT_TRUE(array_.Has(Hash("10.1.0.1", 4000))) << "its row may come any moment";
  Sweep(rows);
  EXPECT_FALSE(array_.Has(Hash("10.1.0.1", 4000)));
  EXPECT_TRUE(array_.Has(Hash("10.1.0.2", 4000)));
}

TEST_F(ClientMarksTest, WhatIsPromotedWhileASweepRunsStays) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  Promote(hash);
  Sweep({});
  marks_.Begin();
  Promote(hash);  // the same bits: only the count tells; its row comes behind the sweep
  marks_.Finish();
  EXPECT_TRUE(array_.Has(hash));
  Sweep({Forward("10.1.0.1", 4000)});
  EXPECT_TRUE(array_.Has(hash));
}

// A program that was held up between its mark and its row, for as long as a sweep of an empty table
// takes.
TEST_F(ClientMarksTest, WhatIsPromotedJustBeforeASweepStays) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  Sweep({});
  Promote(hash);
  Sweep({});
  EXPECT_TRUE(array_.Has(hash));
}

TEST_F(ClientMarksTest, AfterAllWereMarkedTwoSweepsLeaveTheTruth) {
  array_.MarkAll();
  const std::vector<FlowRow> rows = {Forward("10.1.0.2", 4000)};
  Sweep(rows);
  EXPECT_EQ(array_.CountSet(), memory_.size() * abi::SL_CLIENT_BITS);
  Sweep(rows);
  EXPECT_LE(array_.CountSet(), 2u);
  EXPECT_TRUE(array_.Has(Hash("10.1.0.2", 4000)));
  EXPECT_EQ(marks_.cleared(), memory_.size());
}

TEST_F(ClientMarksTest, ASweepThatFailedClearsNothing) {
  Promote(Hash("10.1.0.1", 4000));
  Sweep({Forward("10.1.0.1", 4000)});
  marks_.Begin();  // fails before it has come to the row
  Sweep({Forward("10.1.0.1", 4000)});
  EXPECT_TRUE(array_.Has(Hash("10.1.0.1", 4000)));
}

}  // namespace
}  // namespace sluice
