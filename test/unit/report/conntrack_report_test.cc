// SPDX-License-Identifier: Apache-2.0
#include "control/report/conntrack_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::testing::ElementsAre;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kTick = std::uint64_t{1} << abi::SL_TICK_SHIFT;

std::vector<std::string> Sources(const std::vector<FlowReport>& flows) {
  std::vector<std::string> sources;
  for (const FlowReport& flow : flows) sources.push_back(flow.source);
  return sources;
}

std::vector<std::string> States(const std::vector<FlowReport>& flows) {
  std::vector<std::string> states;
  for (const FlowReport& flow : flows) states.push_back(flow.state);
  return states;
}

TEST(ConntrackReportTest, AFlowIsOneEntryWithBothEnds) {
  PinnedStateBuilder builder = ExampleState();
  builder.state().flows.resize(2);
  builder.state().flows[0].second.last_seen = 10;
  builder.state().flows[1].second.last_seen = 12;  // the backend spoke last
  const auto flows = BuildFlowReports(builder.state(), {}, 12 * kTick + 5 * kSecond);
  EXPECT_EQ(FlowsToJson(flows), Json::parse(R"([
    {"protocol": "TCP", "source": "203.0.113.50:4001", "destination": "198.51.100.1:80",
     "newSource": "203.0.113.50:4001", "newDestination": "203.0.113.1:8080",
     "direction": "forward", "state": "established", "stale": false,
     "service": "default/web:http", "backend": "203.0.113.1:8080", "path": "",
     "idleSeconds": 5}])"));
}

TEST(ConntrackReportTest, FiltersByServiceAndBackend) {
  PinnedStateBuilder builder = ExampleState();
  const auto sources = [&](FlowFilter filter) {
    return Sources(BuildFlowReports(builder.state(), filter, 0));
  };
  EXPECT_THAT(sources({}), ElementsAre("203.0.113.50:4001", "203.0.113.50:4002",
                                       "203.0.113.51:4003", "203.0.113.51:4004"));
  EXPECT_THAT(sources({ParseServiceFilter("default/web").value(), {}}),
              ElementsAre("203.0.113.50:4001", "203.0.113.50:4002", "203.0.113.51:4003"));
  EXPECT_THAT(sources({{}, ParseEndpoint("203.0.113.1").value()}),
              ElementsAre("203.0.113.50:4001", "203.0.113.50:4002", "203.0.113.51:4004"));
  EXPECT_THAT(sources({{}, ParseEndpoint("203.0.113.1:5353").value()}),
              ElementsAre("203.0.113.51:4004"));
  EXPECT_THAT(sources({ParseServiceFilter("default/web").value(),
                       ParseEndpoint("203.0.113.3:8080").value()}),
              ElementsAre("203.0.113.51:4003"));
  EXPECT_THAT(sources({ParseServiceFilter("default/none").value(), {}}), ElementsAre());
}

TEST(ConntrackReportTest, StateIsWhatBothRowsKnow) {
  PinnedStateBuilder builder = ExampleState();
  builder.Flow("203.0.113.60", 1, "198.51.100.1", 80, 1, 2, abi::SL_FLOW_FIN_CLIENT)
      .Flow("203.0.113.60", 2, "198.51.100.1", 80, 1, 2)
      .Flow("203.0.113.60", 3, "198.51.100.1", 80, 1, 2, abi::SL_FLOW_CLOSED);
  auto& rows = builder.state().flows;
  rows[9].second.flags = abi::SL_FLOW_FIN_BACKEND;  // reply of the first
  rows[11].second.flags = abi::SL_FLOW_RESET;       // reply of the second
  const FlowFilter to_second = {{}, ParseEndpoint("203.0.113.2").value()};
  EXPECT_THAT(States(BuildFlowReports(builder.state(), to_second, 0)),
              ElementsAre("closed", "reset", "closed"));
  EXPECT_THAT(States(BuildFlowReports(ExampleState().state(), {}, 0)),
              ElementsAre("established", "closing", "established", "established"));
}

TEST(ConntrackReportTest, AReplyRowAloneIsShownAsSuch) {
  PinnedStateBuilder builder = ExampleState();
  auto& rows = builder.state().flows;
  rows.erase(rows.begin());  // the forward row of the first flow
  const FlowFilter to_first = {{}, ParseEndpoint("203.0.113.1:8080").value()};
  const auto flows = BuildFlowReports(builder.state(), to_first, 0);
  ASSERT_EQ(flows.size(), 2u);
  EXPECT_TRUE(flows[0].reply);
  EXPECT_EQ(flows[0].source, "203.0.113.1:8080");
  EXPECT_EQ(flows[0].new_destination, "203.0.113.50:4001");
  EXPECT_EQ(flows[0].backend, "203.0.113.1:8080");
  EXPECT_FALSE(flows[1].reply);
}

// Of what is passed on nothing of the other node's choice is known here but where it went.
TEST(ConntrackReportTest, AFlowThatIsPassedOnNamesTheNode) {
  PinnedStateBuilder builder = ExampleState();
  auto& rows = builder.state().flows;
  abi::flow_entry& entry = rows[0].second;
  entry.path = abi::SL_PATH_TO_NODE;
  entry.new_destination = IpAddress::Parse("192.0.2.11")->ToAbi();
  entry.new_source_port = entry.new_destination_port = 0;
  const auto flows = BuildFlowReports(builder.state(), {}, 0);
  ASSERT_FALSE(flows.empty());
  EXPECT_EQ(flows[0].path, "to node 192.0.2.11");
  EXPECT_EQ(flows[0].new_destination, "to node 192.0.2.11");
  EXPECT_EQ(flows[0].new_source, flows[0].source);
  EXPECT_EQ(flows[0].backend, "203.0.113.1:8080");
}

TEST(ConntrackReportTest, StaleWhenTheBackendIsGoneOrAnother) {
  PinnedStateBuilder builder = ExampleState();
  builder.state().backends[1].generation = 2;
  builder.state().backends[3].flags = 0;
  const auto flows = BuildFlowReports(builder.state(), {}, 0);
  ASSERT_EQ(flows.size(), 4u);
  EXPECT_TRUE(flows[0].stale);
  EXPECT_TRUE(flows[2].stale);
  EXPECT_FALSE(flows[3].stale);
}

TEST(ConntrackReportTest, OpeningFlowsComeFirst) {
  PinnedStateBuilder builder = ExampleState();
  auto& state = builder.state();
  state.opening.push_back({state.flows[0].first, state.flows[0].second});
  state.opening.push_back({state.flows[2].first, state.flows[2].second});
  state.opening[1].entry.flags |= abi::SL_FLOW_ANSWERED;
  EXPECT_THAT(
      States(BuildFlowReports(state, {}, 0)),
      ElementsAre("opening", "answered", "established", "closing", "established", "established"));
}

TEST(ConntrackReportTest, Table) {
  PinnedStateBuilder builder = ExampleState();
  auto& rows = builder.state().flows;
  rows.erase(rows.begin() + 4, rows.end());
  rows.erase(rows.begin());
  rows[1].second.new_source = Address("192.0.2.10").ToAbi();
  EXPECT_EQ(FlowsToTable(BuildFlowReports(builder.state(), {}, 75 * kSecond)),
            "PROTOCOL  SOURCE             DESTINATION        NEW SOURCE       NEW DESTINATION    "
            "STATE               IDLE  SERVICE\n"
            "TCP       203.0.113.1:8080   203.0.113.50:4001  198.51.100.1:80  203.0.113.50:4001  "
            "established,reply  1m15s  default/web:http\n"
            "TCP       203.0.113.50:4002  198.51.100.1:80    192.0.2.10:4002  203.0.113.1:8080   "
            "closing            1m15s  default/web:http\n");
}

}  // namespace
}  // namespace sluice::report
