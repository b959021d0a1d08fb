// SPDX-License-Identifier: Apache-2.0
#include "control/gc/load_count.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "test/support/fake_clock.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using testing::FakeClock;
using testing::FakeFaults;
using testing::FakeKind;
using testing::FakeTable;
using testing::IsOk;

class LoadCountTest : public ::testing::Test {
 protected:
  std::uint32_t NowTicks() const {
    return static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT);
  }

  // A flow that is being opened, `age` ticks ago.
  void Open(std::uint32_t bucket, int way, std::uint32_t backend, std::uint8_t flags = 0,
            std::uint32_t age = 0) {
    abi::opening_bucket& row = opening_.rows()[bucket];
    row.tag[way] = 1;
    row.last_seen[way] = NowTicks() - age;
    row.flows[way].entry.backend_id = backend;
    row.flows[way].entry.backend_generation = 1;
    row.flows[way].entry.flags = flags;
  }

  // One sweep, of which nothing happens in the middle.
  void Sweep(const std::map<std::uint32_t, std::uint64_t>& established) {
    count_.Begin(counted_);
    ASSERT_THAT(count_.Finish(OfGeneration(1, established)), IsOk());
  }
  static std::map<BackendKey, std::uint64_t> OfGeneration(
      std::uint32_t generation, const std::map<std::uint32_t, std::uint64_t>& by_id) {
    std::map<BackendKey, std::uint64_t> flows;
    for (const auto& [id, count] : by_id) flows[{id, generation}] = count;
    return flows;
  }

  FakeClock clock_;
  FakeFaults faults_;
  FakeTable<std::uint32_t, abi::opening_bucket> opening_{"sl_opening", FakeKind::kArray, 16,
                                                         faults_};
  std::vector<abi::backend_load> memory_ = std::vector<abi::backend_load>(8);
  LoadArray loads_{memory_};
  LoadCount count_{loads_, opening_, clock_};
  std::vector<BackendKey> counted_ = {{1, 1}, {2, 1}};
};

TEST_F(LoadCountTest, WhatTwoSweepsMissIsTakenAway) {
  loads_.AddFlows(1, 7);
  Sweep({{1, 5}});
  EXPECT_EQ(loads_.Flows(1), 7) << "one sweep may have come at a bad moment";
  Sweep({{1, 5}});
  EXPECT_EQ(loads_.Flows(1), 5);
  EXPECT_EQ(count_.corrected(), 2u);
}

TEST_F(LoadCountTest, WhatTwoSweepsFindMoreIsAdded) {
  Sweep({{2, 3}});
  Sweep({{2, 9}});
  EXPECT_EQ(loads_.Flows(2), 3) << "what both agree on";
  Sweep({{2, 9}});
  EXPECT_EQ(loads_.Flows(2), 9);
}

TEST_F(LoadCountTest, FlowsThatComeAndGoMeanwhileAreNoDrift) {
  loads_.AddFlows(1, 100);
  for (int i = 0; i < 4; ++i) {
    count_.Begin(counted_);
    loads_.AddFlows(1, i % 2 == 0 ? 10 : -10);
    ASSERT_THAT(count_.Finish(OfGeneration(1, {{1, 105}})), IsOk());
  }
  EXPECT_EQ(loads_.Flows(1), 100);
  EXPECT_EQ(count_.corrected(), 0u);
}

TEST_F(LoadCountTest, FlowsBeingOpenedCountOnceWhateverPlacesTheyHave) {
  loads_.AddFlows(1, 5);
  for (int sweep = 0; sweep < 3; ++sweep) {
    Open(0, 0, 1);
    Open(0, 1, 1, abi::SL_FLOW_SNAT);  // by the client's address
    Open(7, 2, 1, abi::SL_FLOW_SNAT);  // by the node's
    Open(3, 0, 1, abi::SL_FLOW_RESET);
    Open(3, 1, 1, 0, abi::SL_OPENING_TICKS + 1);
    Open(3, 2, 1, 0, abi::SL_OPENING_TICKS);
    Sweep({{1, 2}});
  }
  EXPECT_EQ(loads_.Flows(1), 5);
}

TEST_F(LoadCountTest, BackendsThatNobodyCountsAreLeftAlone) {
  loads_.AddFlows(3, 4);
  Sweep({{3, 1}});
  Sweep({{3, 1}});
  EXPECT_EQ(loads_.Flows(3), 4);
  counted_ = {{3, 1}, {99, 1}};  // 99 is outside of the map
  Sweep({{3, 1}});
  Sweep({{3, 1}, {99, 5}});
  EXPECT_EQ(loads_.Flows(3), 1);
}

// A pod that dies leaves rows that nobody takes away for hours; its id is soon another's.
TEST_F(LoadCountTest, FlowsOfWhoHadTheIdBeforeAreNotCounted) {
  for (int sweep = 0; sweep < 3; ++sweep) {
    Open(0, 0, 1);
    opening_.rows()[0].flows[0].entry.backend_generation = 2;
    count_.Begin(counted_);
    ASSERT_THAT(count_.Finish(OfGeneration(2, {{1, 2000}})), IsOk());
  }
  EXPECT_EQ(loads_.Flows(1), 0);
}

TEST_F(LoadCountTest, WithoutCountedBackendsNothingIsRead) {
  faults_.before_row = [](const std::string&) { return absl::InternalError("read"); };
  counted_.clear();
  Sweep({{1, 2}});
}

}  // namespace
}  // namespace sluice
