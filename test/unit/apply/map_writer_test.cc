// SPDX-License-Identifier: Apache-2.0
#include "control/apply/map_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using testing::FakeMaps;
using testing::IsOk;
using testing::SmallLimits;
using testing::StatusIs;

abi::backend BackendRow(std::uint8_t last_byte) {
  abi::backend row = {};
  row.address = IpAddress::Parse(absl::StrCat("192.0.2.", last_byte))->ToAbi();
  row.flags = abi::SL_BACKEND_PRESENT;
  row.generation = 1;
  return row;
}

MapPlan ThreeBackendsAndSlots() {
  return {{WriteBackends{{{1, BackendRow(1)}, {2, BackendRow(2)}, {3, BackendRow(3)}}},
           WriteSlots{{{0, {1, 2, 3}}}}}};
}

TEST(MapWriterTest, WritesStepsInOrderAndStateFollows) {
  FakeMaps maps;
  MapState state(SmallLimits());
  std::vector<std::string> order;
  maps.faults.before_row = [&](const std::string& map) {
    order.push_back(map);
    return absl::OkStatus();
  };
  abi::service row = {};
  row.id = 5;
  row.slots[0] = {0, 3};
  MapPlan plan = ThreeBackendsAndSlots();
  plan.steps.push_back(WriteServices{{{abi::service_key{}, row}}});
  const WriteResult result = MapWriter(maps.Tables()).Write(plan, state);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_EQ(result.steps, 3u);
  EXPECT_EQ(result.rows, 5u);
  EXPECT_THAT(order, ElementsAre("sl_backends", "sl_backends", "sl_backends", "sl_services"));
  EXPECT_EQ(maps.slots.Read(1), 2u);
  EXPECT_EQ(*state.FindService({}), row);
  EXPECT_THAT(state.Slots({0, 3}), ElementsAre(1, 2, 3));
}

TEST(MapWriterTest, StopsAtTheFirstFailureAndStateHoldsWhatLanded) {
  FakeMaps maps;
  MapState state(SmallLimits());
  int left = 2;
  maps.faults.before_row = [&](const std::string&) {
    return left-- > 0 ? absl::OkStatus() : absl::UnavailableError("busy");
  };
  const WriteResult result = MapWriter(maps.Tables()).Write(ThreeBackendsAndSlots(), state);
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(result.steps, 0u);
  EXPECT_EQ(result.rows, 2u);
  EXPECT_EQ(state.Backend(2), BackendRow(2));
  EXPECT_EQ(state.Backend(3), abi::backend{});
  EXPECT_EQ(maps.slots.Read(0), 0u);
  EXPECT_TRUE(state.Slots({0, 3}).empty());
}

TEST(MapWriterTest, ZeroesCountersOfIdsGivenAgain) {
  FakeMaps maps;
  MapState state(SmallLimits());
  maps.service_stats.rows()[7] = {1, 2, 3, 4, 5, 6, 7, 8};
  maps.backend_stats.rows()[8] = {9, 9};
  const abi::connection_stats_key of_service{7, 0}, of_backend{0, 8}, others{8, 0};
  for (const auto& key : {of_service, of_backend, others}) {
    maps.connection_stats.rows()[key].established = 3;
  }
  const MapPlan plan{{ZeroServiceStats{{7}}, ZeroBackendStats{{8}}}};
  ASSERT_TRUE(MapWriter(maps.Tables()).Write(plan, state).ok());
  EXPECT_EQ(maps.service_stats.rows()[7], abi::service_stats{});
  EXPECT_EQ(maps.backend_stats.rows()[8], abi::backend_stats{});
  EXPECT_EQ(maps.connection_stats.rows().size(), 1u);
  EXPECT_TRUE(maps.connection_stats.rows().contains(others));
}

TEST(MapWriterTest, WhatGoesTakesTheCountersOfItsSocketsWithIt) {
  FakeMaps maps;
  MapState state(SmallLimits());
  ASSERT_TRUE(MapWriter(maps.Tables()).Write(ThreeBackendsAndSlots(), state).ok());
  for (const std::uint32_t id : {1U, 2U}) {
    maps.connection_stats.rows()[{0, id}].established = 1;
    maps.connection_stats.rows()[{id, 0}].established = 1;
  }
  const MapPlan plan{{RetireBackends{{{1, abi::backend{}}}, 1}, ClearNames{{2}, 1}}};
  const WriteResult result = MapWriter(maps.Tables()).Write(plan, state);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result.retired_backends, 1u);
  EXPECT_EQ(maps.connection_stats.rows().size(), 2u);
  EXPECT_TRUE(maps.connection_stats.rows().contains({0, 2}));
  EXPECT_TRUE(maps.connection_stats.rows().contains({1, 0}));
}

TEST(MapWriterTest, ForgetsOnlyTheAffinityOfTheServicesNamed) {
  FakeMaps maps;
  MapState state(SmallLimits());
  const abi::affinity_key kept{3, 0, {}};
  const abi::affinity_key gone{4, 0, {}};
  maps.affinity.rows()[kept] = {1, 1, 1, 0};
  maps.affinity.rows()[gone] = {1, 1, 1, 0};
  ASSERT_TRUE(MapWriter(maps.Tables()).Write({{ForgetAffinity{{4}}}}, state).ok());
  EXPECT_TRUE(maps.affinity.rows().contains(kept));
  EXPECT_FALSE(maps.affinity.rows().contains(gone));
}

TEST(MapWriterTest, SlotsOutsideTheMapAreAnError) {
  FakeMaps maps;
  MapState state(SmallLimits());
  const std::uint32_t end = SmallLimits().slots;
  const WriteResult result =
      MapWriter(maps.Tables()).Write({{WriteSlots{{{end - 1, {1, 2}}}}}}, state);
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(result.rows, 0u);
}

}  // namespace
}  // namespace sluice
