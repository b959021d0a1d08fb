// SPDX-License-Identifier: Apache-2.0
// Whatever call fails, and wherever the agent is killed, the maps come to hold what is desired.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/random_cluster.h"
#include "test/support/state_sink.h"
#include "test/support/status_matchers.h"
#include "test/unit/apply/reconciler_world.h"

namespace sluice {
namespace {

using testing::IsOk;
using testing::RandomCluster;
using testing::ReconcilerWorld;

class ReconcilerPropertyTest : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(ReconcilerPropertyTest, FailureOfEachWriteInTurnIsMadeGood) {
  // How many rows the whole story writes when nothing fails.
  const auto tell = [](ReconcilerWorld& world, std::uint32_t seed) {
    RandomCluster cluster(seed, 5);
    for (int i = 0; i < 15; ++i) cluster.Change(*world.agent_);
    world.agent_->Synced();
    if (!world.Settle()) return false;
    for (int i = 0; i < 8; ++i) cluster.Change(*world.agent_);
    return world.Settle();
  };
  ReconcilerWorld smooth;
  ASSERT_TRUE(tell(smooth, GetParam()));
  ASSERT_EQ(smooth.CheckExact(), "");
  const std::uint64_t rows = smooth.maps_.faults.rows;
  for (std::uint64_t failing = 0; failing < rows; ++failing) {
    ReconcilerWorld world;
    std::uint64_t row = 0;
    world.maps_.faults.before_row = [&](const std::string&) {
      return row++ == failing ? absl::UnavailableError("once") : absl::OkStatus();
    };
    ASSERT_TRUE(tell(world, GetParam())) << "row " << failing;
    ASSERT_EQ(world.CheckExact(), "") << "row " << failing;
    ASSERT_EQ(world.agent_->counters().write_failures, 1u) << "row " << failing;
  }
}

TEST_P(ReconcilerPropertyTest, LongStoryWithFailuresAndRestartsArrives) {
  ReconcilerWorld world;
  RandomCluster cluster(GetParam());
  testing::StateSink said;
  world.maps_.faults.before_row = [&](const std::string&) {
    return cluster.Chance(2) ? absl::UnavailableError("now and then") : absl::OkStatus();
  };
  world.agent_->Synced();
  for (int chapter = 0; chapter < 15; ++chapter) {
    for (int i = 0; i < 6; ++i) {
      cluster.Change(said);
      // The agent hears the same: it is told the whole state of the cluster, as after a reset.
    }
    world.agent_->Reset();
    said.state().ForEachService([&](const model::Service& s) { world.agent_->SetService(s); });
    said.state().ForEachEndpointSlice(
        [&](const model::EndpointSlice& s) { world.agent_->SetEndpointSlice(s); });
    world.agent_->Synced();
    if (chapter % 3 == 2) {
      for (int i = 0; i < cluster.Pick(3); ++i) world.Step();
      world.StartAgent();
      while (!world.start_status_.ok()) world.StartAgent();
      said.state().ForEachService([&](const model::Service& s) { world.agent_->SetService(s); });
      said.state().ForEachEndpointSlice(
          [&](const model::EndpointSlice& s) { world.agent_->SetEndpointSlice(s); });
      world.agent_->Synced();
    }
    ASSERT_TRUE(world.Settle(400)) << world.agent_->degraded()[0];
    ASSERT_EQ(world.CheckExact(), "");
  }
}

TEST_P(ReconcilerPropertyTest, SpoiledMapsAreRepairedAtStart) {
  ReconcilerWorld world;
  RandomCluster cluster(GetParam());
  testing::StateSink said;
  for (int i = 0; i < 40; ++i) cluster.Change(said);
  const auto say = [&] {
    said.state().ForEachService([&](const model::Service& s) { world.agent_->SetService(s); });
    said.state().ForEachEndpointSlice(
        [&](const model::EndpointSlice& s) { world.agent_->SetEndpointSlice(s); });
    world.agent_->Synced();
  };
  say();
  ASSERT_TRUE(world.Settle());
  for (int round = 0; round < 10; ++round) {
    for (auto& [key, row] : world.maps_.services.rows()) {
      if (cluster.Chance(10)) row.id += static_cast<std::uint32_t>(cluster.Pick(3));
      if (cluster.Chance(10)) row.slots[0].offset += static_cast<std::uint32_t>(cluster.Pick(5));
      if (cluster.Chance(5)) row.slots[1].count = 0xfffffff0;
    }
    for (auto& [id, row] : world.maps_.backends.rows()) {
      if (cluster.Chance(10)) row.flags = static_cast<__u8>(cluster.Pick(8));
    }
    for (auto& [id, row] : world.maps_.service_names.rows()) {
      if (cluster.Chance(10)) row = {};
      if (cluster.Chance(10)) row = world.maps_.service_names.rows().begin()->second;
    }
    world.StartAgent();
    ASSERT_THAT(world.start_status_, IsOk());
    say();
    ASSERT_TRUE(world.Settle());
    ASSERT_EQ(world.CheckExact(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReconcilerPropertyTest, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace sluice
