// SPDX-License-Identifier: Apache-2.0
// What holds of every plan, over random clusters: what the maps become is checked by MapChecker,
// which shares no code with the planner.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/apply/map_writer.h"
#include "control/desired/build_desired_state.h"
#include "control/plan/planner.h"
#include "test/support/map_checker.h"
#include "test/support/random_cluster.h"
#include "test/support/state_sink.h"

namespace sluice {
namespace {

using testing::DesiredServices;
using testing::FakeMaps;
using testing::MapChecker;
using testing::RandomCluster;
using testing::StateSink;

NodeConfig TestNode() {
  NodeConfig node;
  node.node_name = "node-1";
  node.zone = "zone-a";
  node.node_port_addresses = {*IpAddress::Parse("192.0.2.100"), *IpAddress::Parse("2001:db8::100")};
  return node;
}

std::vector<ServiceChange> AllChanges(const MapState& state, const DesiredServices& desired) {
  std::vector<ServiceChange> changes;
  for (const auto& [name, service] : desired) changes.push_back({name, &service});
  for (const auto& [name, id] : state.service_ids()) {
    if (!desired.contains(name)) changes.push_back({name, nullptr});
  }
  return changes;
}

// A cluster, the maps it is written to and the time.
class World {
 public:
  explicit World(std::uint32_t seed) : cluster_(seed), state_(testing::SmallLimits()) {}

  void Advance(int changes) {
    before_ = desired_;
    for (int i = 0; i < changes; ++i) cluster_.Change(sink_);
    desired_ = BuildDesiredState(sink_.state(), TestNode()).services;
    now_ns_ += kReuseGraceNs / 3;  // so that what is freed is often still held back
  }
  PlannedUpdate Plan() const {
    return PlanUpdate(state_, AllChanges(state_, desired_), {.now_ns = now_ns_});
  }
  WriteResult Write(const MapPlan& plan) { return MapWriter(maps_.Tables()).Write(plan, state_); }
  MapState Reread() {
    return MapState::FromRows(testing::SmallLimits(), *ReadMaps(maps_.Tables()), now_ns_);
  }

  FakeMaps maps_;
  StateSink sink_;
  RandomCluster cluster_;
  MapState state_;
  DesiredServices before_;
  DesiredServices desired_;
  std::uint64_t now_ns_ = 1'000'000'000'000;
};

class PlannerPropertyTest : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(PlannerPropertyTest, CarriedOutPlanLeavesExactlyWhatIsDesired) {
  World world(GetParam());
  for (int round = 0; round < 60; ++round) {
    world.Advance(1 + round % 7);
    const PlannedUpdate update = world.Plan();
    ASSERT_TRUE(update.refused.empty()) << update.refused[0].status;
    ASSERT_TRUE(world.Write(update.plan).ok());
    ASSERT_EQ(MapChecker(world.maps_).CheckExact(world.desired_), "") << ToString(update.plan);
  }
}

TEST_P(PlannerPropertyTest, EqualStatesGiveAnEmptyPlan) {
  World world(GetParam());
  for (int round = 0; round < 20; ++round) {
    world.Advance(5);
    ASSERT_TRUE(world.Write(world.Plan().plan).ok());
    ASSERT_EQ(ToString(world.Plan().plan), "");
    ASSERT_TRUE(world.Plan().plan.empty());
  }
}

TEST_P(PlannerPropertyTest, EveryPrefixOfAPlanIsSafe) {
  World world(GetParam());
  for (int round = 0; round < 25; ++round) {
    world.Advance(1 + round % 9);
    const MapPlan plan = world.Plan().plan;
    std::string problem;
    std::uint64_t row = 0;
    world.maps_.faults.after_row = [&] {
      ++row;
      if (problem.empty()) {
        problem = MapChecker(world.maps_).CheckSafe(world.before_, world.desired_);
        if (!problem.empty()) problem = absl::StrCat("after row ", row, ": ", problem);
      }
    };
    ASSERT_TRUE(world.Write(plan).ok());
    ASSERT_EQ(problem, "") << ToString(plan);
    world.maps_.faults.after_row = nullptr;
  }
}

TEST_P(PlannerPropertyTest, WhatIsReadBackEqualsWhatWasTracked) {
  World world(GetParam());
  for (int round = 0; round < 20; ++round) {
    world.Advance(6);
    ASSERT_TRUE(world.Write(world.Plan().plan).ok());
    ASSERT_EQ(world.state_.CountDifferences(world.Reread()), 0u);
  }
}

TEST_P(PlannerPropertyTest, RestartWritesNothingAndKeepsIds) {
  World world(GetParam());
  for (int round = 0; round < 10; ++round) {
    world.Advance(8);
    ASSERT_TRUE(world.Write(world.Plan().plan).ok());
    const std::uint64_t rows = world.maps_.faults.rows;
    const auto ids = world.state_.service_ids();
    world.state_ = world.Reread();
    const PlannedUpdate update = PlanUpdate(world.state_, AllChanges(world.state_, world.desired_),
                                            {.now_ns = world.now_ns_});
    ASSERT_TRUE(world.Write(update.plan).ok());
    EXPECT_EQ(world.maps_.faults.rows, rows) << ToString(update.plan);
    EXPECT_EQ(world.state_.service_ids(), ids);
    ASSERT_TRUE(world.Plan().plan.empty());
  }
}

TEST_P(PlannerPropertyTest, RestartInTheMiddleOfAPlanStaysSafeAndArrives) {
  World world(GetParam());
  for (int round = 0; round < 40; ++round) {
    world.Advance(6);
    int rows_left = world.cluster_.Pick(40);
    world.maps_.faults.before_row = [&](const std::string&) {
      return rows_left-- > 0 ? absl::OkStatus() : absl::UnavailableError("the agent was killed");
    };
    world.Write(world.Plan().plan).status.IgnoreError();  // wherever it stopped
    world.maps_.faults.before_row = nullptr;
    world.state_ = world.Reread();
    const PlannedUpdate update = PlanUpdate(world.state_, AllChanges(world.state_, world.desired_),
                                            {.now_ns = world.now_ns_});
    std::string problem;
    world.maps_.faults.after_row = [&] {
      if (problem.empty()) {
        problem = MapChecker(world.maps_).CheckSafe(world.before_, world.desired_);
      }
    };
    ASSERT_TRUE(world.Write(update.plan).ok());
    world.maps_.faults.after_row = nullptr;
    ASSERT_EQ(problem, "") << ToString(update.plan);
    ASSERT_EQ(MapChecker(world.maps_).CheckExact(world.desired_), "") << ToString(update.plan);
  }
}

// A failed plan is planned again from what landed, by the same agent.
TEST_P(PlannerPropertyTest, FailureAtAnyRowIsMadeGoodByTheNextPlan) {
  World world(GetParam());
  for (int round = 0; round < 60; ++round) {
    world.Advance(4);
    int rows_left = world.cluster_.Pick(30);
    world.maps_.faults.before_row = [&](const std::string&) {
      return rows_left-- > 0 ? absl::OkStatus() : absl::UnavailableError("try again");
    };
    world.Write(world.Plan().plan).status.IgnoreError();  // made good below
    world.maps_.faults.before_row = nullptr;
    const MapPlan plan = world.Plan().plan;
    ASSERT_TRUE(world.Write(plan).ok());
    ASSERT_EQ(MapChecker(world.maps_).CheckExact(world.desired_), "") << ToString(plan);
    ASSERT_TRUE(world.Plan().plan.empty()) << ToString(world.Plan().plan);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlannerPropertyTest, ::testing::Range(1u, 21u));

}  // namespace
}  // namespace sluice
