// SPDX-License-Identifier: Apache-2.0
// The sweep of flows on a real map, in batches.
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <set>

#include "gtest/gtest.h"

#include "control/base/clock.h"
#include "control/gc/conntrack_sweep.h"
#include "maps/bpf_table.h"
#include "maps/names.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kFlows = 20'000;  // several batches

abi::flow Key(std::uint32_t number) {
  abi::flow key{};
  key.source.w[3] = number;
  key.protocol = IPPROTO_TCP;
  return key;
}

class SweepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fd_.Reset(bpf_map_create(BPF_MAP_TYPE_HASH, names::kFlows, sizeof(abi::flow),
                             sizeof(abi::flow_entry), 2 * kFlows, nullptr));
    ASSERT_TRUE(fd_.valid());
    auto table = BpfTable<abi::flow, abi::flow_entry>::Create(Map());
    ASSERT_THAT(table, IsOk());
    table_ = std::make_unique<BpfTable<abi::flow, abi::flow_entry>>(*std::move(table));
  }

  BpfMap Map() { return BpfMap::FromFd(UniqueFd(::dup(fd_.get()))).value(); }

  // Every fourth flow is over.
  void Fill() {
    std::vector<FlowRow> rows;
    const auto now = static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT);
    for (std::uint32_t i = 0; i < kFlows; ++i) {
      abi::flow_entry entry{};
      entry.last_seen = now;
      entry.flags = abi::SL_FLOW_FORWARD;
      if (i % 4 == 0) {
        entry.flags |= abi::SL_FLOW_RESET;
        entry.last_seen = 0;
      }
      rows.emplace_back(Key(i), entry);
    }
    ASSERT_THAT(table_->Update(rows).status, IsOk());
  }

  const SystemClock clock_;
  UniqueFd fd_;
  std::unique_ptr<BpfTable<abi::flow, abi::flow_entry>> table_;
};

TEST_F(SweepTest, TheCursorGivesEveryRowOnceAndEnds) {
  Fill();
  BpfFlowCursor cursor(Map());
  for (int round = 0; round < 2; ++round) {
    cursor.Rewind();
    std::set<std::uint32_t> seen;
    std::size_t batches = 0;
    while (true) {
      const auto rows = cursor.Next();
      ASSERT_THAT(rows, IsOk());
      if (rows->empty()) break;
      ++batches;
      for (const auto& [key, entry] : *rows) EXPECT_TRUE(seen.insert(key.source.w[3]).second);
    }
    EXPECT_EQ(seen.size(), kFlows);
    EXPECT_GT(batches, 1u);
    EXPECT_TRUE(cursor.Next()->empty());
  }
}

TEST_F(SweepTest, AnEmptyMapEndsAtOnce) {
  BpfFlowCursor cursor(Map());
  EXPECT_TRUE(cursor.Next()->empty());
}

TEST_F(SweepTest, DeletesWhatIsOverAndLeavesTheRest) {
  if ((clock_.MonotonicNs() >> abi::SL_TICK_SHIFT) < 12) {
    GTEST_FAIL() << "the machine has been up for less than the timeout of closed flows";
  }
  Fill();
  FakeFaults faults;
  FakeTable<std::uint32_t, abi::backend> backends("sl_backends", FakeKind::kArray, 4, faults);
  FakeTable<std::uint32_t, abi::service_name> names("sl_svc_names", FakeKind::kArray, 4, faults);
  ConntrackSweep sweep(std::make_unique<BpfFlowCursor>(Map()), {*table_, backends, names}, clock_,
                       SweepTimeouts{});
  std::size_t steps = 0;
  while (true) {
    const auto ended = sweep.Step();
    ASSERT_THAT(ended, IsOk());
    ++steps;
    if (*ended) break;
  }
  EXPECT_GT(steps, 2u);
  EXPECT_EQ(sweep.counts().deleted, kFlows / 4);
  EXPECT_EQ(sweep.counts().rows[static_cast<std::size_t>(FlowState::kTcpEstablished)],
            kFlows - kFlows / 4);
  EXPECT_EQ(table_->Dump()->size(), kFlows - kFlows / 4);
  EXPECT_FALSE(table_->Lookup(Key(4))->has_value());
  EXPECT_TRUE(table_->Lookup(Key(5))->has_value());
}

}  // namespace
}  // namespace sluice::testing
