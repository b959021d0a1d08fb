// SPDX-License-Identifier: Apache-2.0
#include "control/report/map_reader.h"

#include <netinet/in.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/report/conntrack_report.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"
#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::sluice::testing::FakeFaults;
using ::sluice::testing::FakeKind;
using ::sluice::testing::FakeTable;
using ::sluice::testing::IsOk;
using ::sluice::testing::StatusIs;
using ::testing::UnorderedElementsAre;

TEST(ReadOpeningTest, AFlowWithTwoPlacesIsReadOnce) {
  FakeFaults faults;
  FakeTable<std::uint32_t, abi::opening_bucket> opening("sl_opening", FakeKind::kArray, 8, faults);
  const PinnedState example = ExampleState().state();
  abi::opening_bucket bucket{};
  bucket.tag[0] = 1;
  bucket.last_seen[0] = 77;
  bucket.flows[0] = {example.flows[0].first, example.flows[0].second};
  bucket.tag[2] = 2;
  bucket.flows[2] = {example.flows[2].first, example.flows[2].second};
  bucket.flows[3] = {example.flows[4].first, example.flows[4].second};  // tag 0: free
  opening.rows()[1] = bucket;
  bucket.tag[2] = 0;
  opening.rows()[5] = bucket;
  PinnedState state;
  ASSERT_THAT(ReadOpening(opening, state), IsOk());
  ASSERT_EQ(state.opening.size(), 2u);
  EXPECT_EQ(PortOf(state.opening[0].key.source_port), 4001);
  EXPECT_EQ(state.opening[0].entry.last_seen, 77u);
  EXPECT_EQ(PortOf(state.opening[1].key.source_port), 4002);
}

class FlushFlowsTest : public ::testing::Test {
 protected:
  FlushFlowsTest() {
    state_ = ExampleState().state();
    for (const FlowRow& row : state_.flows) table_.rows().insert(row);
    EXPECT_THAT(ReadFlows(table_, state_), IsOk());
  }
  std::vector<std::uint16_t> ClientPorts() const {
    std::vector<std::uint16_t> ports;
    for (const auto& [key, entry] : table_.rows()) {
      if ((entry.flags & abi::SL_FLOW_FORWARD) != 0) ports.push_back(PortOf(key.source_port));
    }
    return ports;
  }

  FakeFaults faults_;
  FakeTable<abi::flow, abi::flow_entry> table_{"sl_flows", FakeKind::kHash, 64, faults_};
  PinnedState state_;
};

TEST_F(FlushFlowsTest, DeletesBothRowsOfWhatMatchesAndNothingElse) {
  const auto result =
      FlushFlows(state_, {ParseServiceFilter("default/web").value(), std::nullopt}, table_);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->flows, 3u);
  EXPECT_EQ(result->rows, 6u);
  EXPECT_EQ(table_.rows().size(), 2u);
  EXPECT_THAT(ClientPorts(), UnorderedElementsAre(4004));
}

TEST_F(FlushFlowsTest, AReplyRowAloneCountsAsAFlow) {
  std::erase_if(table_.rows(),
                [](const auto& row) { return (row.second.flags & abi::SL_FLOW_FORWARD) != 0; });
  ASSERT_THAT(ReadFlows(table_, state_), IsOk());
  const auto result = FlushFlows(state_, {}, table_);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->flows, 4u);
  EXPECT_EQ(result->rows, 4u);
  EXPECT_TRUE(table_.rows().empty());
}

TEST_F(FlushFlowsTest, ARowThatComesBackMeanwhileIsDeletedToo) {
  const auto first = *table_.rows().begin();
  bool put_back = false;
  // As a packet does that passes between the deletes of the two rows.
  faults_.after_row = [&] {
    if (!put_back && table_.rows().empty()) {
      put_back = true;
      table_.rows().insert(first);
    }
  };
  ASSERT_THAT(FlushFlows(state_, {}, table_), IsOk());
  EXPECT_TRUE(put_back);
  EXPECT_TRUE(table_.rows().empty());
}

TEST_F(FlushFlowsTest, FailuresAreTold) {
  faults_.before_row = [](const std::string&) { return absl::PermissionDeniedError("no"); };
  EXPECT_THAT(FlushFlows(state_, {}, table_), StatusIs(absl::StatusCode::kPermissionDenied));
  table_.read_status = absl::InternalError("broken");
  EXPECT_THAT(ReadFlows(table_, state_), StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace sluice::report
