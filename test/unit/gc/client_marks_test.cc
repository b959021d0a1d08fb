// SPDX-License-Identifier: Apache-2.0
#include "control/gc/client_marks.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdint>
#include <vector>

#include "control/gc/conntrack_sweep.h"
#include "maps/client_array.h"
#include "test/support/packet.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using testing::IsOk;
using testing::MapAddress;

constexpr std::uint32_t kSeed = 7;

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
  void See(const std::vector<FlowRow>& rows) {
    for (const FlowRow& row : rows) marks_.See(row);
  }
  void Sweep(const std::vector<FlowRow>& rows) {
    See(rows);
    ASSERT_THAT(marks_.Finish(), IsOk());
  }
  // As a program does before it writes a row.
  void Promote(std::uint32_t hash) { array_.Mark(half_, hash); }

  std::vector<abi::client_word> memory_ = std::vector<abi::client_word>(64);
  ClientArray array_{memory_};
  std::uint32_t half_ = 0;  // as programs are told
  absl::Status use_half_status_;
  ClientMarks marks_{array_, kSeed, half_, [this](std::uint32_t half) {
                       if (use_half_status_.ok()) half_ = half;
                       return use_half_status_;
                     }};
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

TEST_F(ClientMarksTest, WhoHasAFlowIsKnownAtEveryMoment) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  Promote(hash);
  for (int sweep = 0; sweep < 5; ++sweep) {
    EXPECT_TRUE(array_.Has(hash));
    See({Forward("10.1.0.1", 4000)});
    EXPECT_TRUE(array_.Has(hash));
    ASSERT_THAT(marks_.Finish(), IsOk());
    EXPECT_TRUE(array_.Has(hash));
  }
}

TEST_F(ClientMarksTest, WhatIsPromotedWhileASweepRunsStaysUntilTheNextFindsIt) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  for (int before = 0; before < 2; ++before) {  // in either half
    Sweep({});
    Promote(hash);  // its row comes behind the sweep
    ASSERT_THAT(marks_.Finish(), IsOk());
    EXPECT_TRUE(array_.Has(hash));
    Sweep({Forward("10.1.0.1", 4000)});
    EXPECT_TRUE(array_.Has(hash));
  }
}

// A program that has read which half before the change, and sets its bits after it.
TEST_F(ClientMarksTest, WhatIsPromotedIntoTheOldHalfStaysUntilTheNextFindsIt) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  const std::uint32_t old_half = half_;
  Sweep({});
  ASSERT_NE(half_, old_half);
  array_.Mark(old_half, hash);
  See({Forward("10.1.0.1", 4000)});
  EXPECT_TRUE(array_.Has(hash));
  ASSERT_THAT(marks_.Finish(), IsOk());
  EXPECT_TRUE(array_.Has(hash));
}

TEST_F(ClientMarksTest, AfterAllWereMarkedTwoSweepsLeaveTheTruth) {
  array_.MarkAll();
  const std::vector<FlowRow> rows = {Forward("10.1.0.2", 4000)};
  Sweep(rows);
  EXPECT_EQ(array_.CountSet(), memory_.size() * ClientArray::kBits);
  Sweep(rows);
  EXPECT_LE(array_.CountSet(), 2u);
  EXPECT_TRUE(array_.Has(Hash("10.1.0.2", 4000)));
}

TEST_F(ClientMarksTest, WhileProgramsCannotBeToldTheirHalfIsKept) {
  const std::uint32_t hash = Hash("10.1.0.1", 4000);
  use_half_status_ = absl::UnavailableError("busy");
  for (int sweep = 0; sweep < 3; ++sweep) {
    Promote(hash);
    EXPECT_FALSE(marks_.Finish().ok());
    EXPECT_TRUE(array_.Has(hash));
  }
  use_half_status_ = absl::OkStatus();
  Sweep({});
  Sweep({});
  EXPECT_FALSE(array_.Has(hash));
}

}  // namespace
}  // namespace sluice
