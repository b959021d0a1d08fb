// SPDX-License-Identifier: Apache-2.0
// Plans against maps that another agent, or nobody sensible, has left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/plan/planner.h"
#include "control/plan/service_rows.h"
#include "test/support/fake_table.h"
#include "test/unit/plan/plan_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SmallLimits;

TEST(PlannerRestartTest, RowsOfNobodyAreDeleted) {
  MapRows rows;
  abi::service stray = {};
  stray.id = 9;
  rows.services.emplace_back(AddressKey(Ip("192.0.2.7"), 80, IPPROTO_TCP), stray);
  rows.source_ranges.push_back(SourceRangeKey(8, *IpPrefix::Parse("10.0.0.0/8")));
  abi::backend lost = {};
  lost.address = Ip("198.51.100.7").ToAbi();
  lost.flags = abi::SL_BACKEND_PRESENT;
  lost.generation = 4;
  lost.service_id = 7;
  rows.backends.emplace_back(3, lost);
  MapState state = MapState::FromRows(SmallLimits(), rows, kNow);
  const MapPlan plan = PlanUpdate(state, {}, {.now_ns = kNow}).plan;
  EXPECT_THAT(
      Writes(plan),
      ElementsAre("delete sl_services 192.0.2.7:80/TCP",
                  HasSubstr("delete sl_src_ranges service 8"),
                  "retire sl_backends 3 198.51.100.7:0/any flags 0x0 generation 4 service 7",
                  "clear sl_svc_names 7", "clear sl_svc_names 8", "clear sl_svc_names 9"));
  state.Apply(plan);
  EXPECT_TRUE(PlanUpdate(state, {}, {.now_ns = kNow}).plan.empty());
}

// An endpoint that is not ready is in no slot: its row alone says whose it is.
TEST(PlannerRestartTest, BackendThatIsNotReadyIsFoundAgainAfterARestart) {
  MapState before(SmallLimits());
  DesiredService service = Web({Backend("198.51.100.1")});
  service.backends[0].in_cluster_set = false;
  Carry(before, service);
  MapRows rows;
  for (const auto& [key, row] : before.services()) rows.services.emplace_back(key, row);
  rows.names.emplace_back(1, NameRow(service.name));
  rows.backends.emplace_back(1, before.Backend(1));
  MapState state = MapState::FromRows(SmallLimits(), rows, kNow);
  EXPECT_TRUE(PlanUpdate(state, {}, {.now_ns = kNow}).plan.empty());
  EXPECT_TRUE(Plan(state, service).plan.empty()) << ToString(Plan(state, service).plan);
  service.backends.clear();
  EXPECT_THAT(Writes(Plan(state, service).plan), ::testing::Contains(HasSubstr("retire")));
}

TEST(PlannerRestartTest, SecondRowOfOneBackendIsRetired) {
  MapState before(SmallLimits());
  const DesiredService service = Web({Backend("198.51.100.1")});
  Carry(before, service);
  MapRows rows;
  for (const auto& [key, row] : before.services()) rows.services.emplace_back(key, row);
  rows.names.emplace_back(1, NameRow(service.name));
  rows.slots = {1};
  rows.backends.emplace_back(1, before.Backend(1));
  rows.backends.emplace_back(2, before.Backend(1));
  MapState state = MapState::FromRows(SmallLimits(), rows, kNow);
  EXPECT_THAT(
      Writes(Plan(state, service).plan),
      ElementsAre("retire sl_backends 2 198.51.100.1:8080/TCP flags 0x0 generation 1 service 1"));
}

}  // namespace
}  // namespace sluice
