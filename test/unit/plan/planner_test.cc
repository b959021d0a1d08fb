// SPDX-License-Identifier: Apache-2.0
// Plans as values: what is written, in which order, for changes small enough to read.
#include "control/plan/planner.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "control/plan/service_rows.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"
#include "test/unit/plan/plan_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::SmallLimits;
using testing::StatusIs;

TEST(PlannerTest, NewServiceIsWrittenFromItsNameToItsFrontend) {
  const MapState empty(SmallLimits());
  EXPECT_THAT(
      Writes(Plan(empty, Web({Backend("198.51.100.1"), Backend("198.51.100.2", true)})).plan),
      ElementsAre(
          "zero sl_svc_stats 1", "write sl_svc_names 1 default/web:http/TCP",
          "write sl_backends 1 198.51.100.1:8080/TCP flags 0x3 generation 1 service 1",
          "write sl_backends 2 198.51.100.2:8080/TCP flags 0x7 generation 1 service 1",
          "write sl_slots from 0: 1 2",
          "write sl_services 192.0.2.1:80/TCP id 1 ClusterIP flags 0x41 by random internal 0+2 "
          "external 0+2 affinity 0s"));
}

TEST(PlannerTest, ServiceRowHasTheValuesThatProgramsRead) {
  MapState state(SmallLimits());
  DesiredService service = Web({Backend("2001:db8::1")}, "web", "2001:db8:1::1");
  service.affinity_s = 60;
  Carry(state, service);
  abi::service_key key = {};
  key.address = Ip("2001:db8:1::1").ToAbi();
  key.port = htons(80);
  key.protocol = IPPROTO_TCP;
  abi::service row = {};
  row.id = 1;
  row.kind = abi::SL_FRONTEND_CLUSTER_IP;
  row.flags =
      abi::SL_SERVICE_DENY_EXTERNAL | abi::SL_SERVICE_HAS_ENDPOINTS | abi::SL_SERVICE_AFFINITY;
  row.slots[0] = row.slots[1] = {0, 1};
  row.affinity_s = 60;
  ASSERT_NE(state.FindService(key), nullptr);
  EXPECT_EQ(*state.FindService(key), row);
  abi::backend backend = {};
  backend.address = Ip("2001:db8::1").ToAbi();
  backend.port = htons(8080);
  backend.protocol = IPPROTO_TCP;
  backend.flags = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE;
  backend.generation = 1;
  backend.service_id = 1;
  EXPECT_EQ(state.Backend(1), backend);
}

TEST(PlannerTest, EndpointThatIsReplacedIsMadeBeforeTheOldIsBroken) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1"), Backend("198.51.100.2")}));
  EXPECT_THAT(
      Writes(Plan(state, Web({Backend("198.51.100.1"), Backend("198.51.100.3")})).plan),
      ElementsAre(
          "write sl_backends 3 198.51.100.3:8080/TCP flags 0x3 generation 1 service 1",
          "write sl_slots from 2: 1 3",
          "write sl_services 192.0.2.1:80/TCP id 1 ClusterIP flags 0x41 by random internal 2+2 "
          "external 2+2 affinity 0s",
          "retire sl_backends 2 198.51.100.2:8080/TCP flags 0x0 generation 1 service 1"));
}

TEST(PlannerTest, EndpointThatIsNotReadyKeepsItsRowWithoutNewFlows) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1"), Backend("198.51.100.2")}));
  DesiredService service = Web({Backend("198.51.100.1"), Backend("198.51.100.2")});
  service.backends[1].state = BackendState::kNotReady;
  service.backends[1].in_cluster_set = false;
  EXPECT_THAT(
      Writes(Plan(state, service).plan),
      ElementsAre("write sl_slots from 2: 1",
                  "write sl_services 192.0.2.1:80/TCP id 1 ClusterIP flags 0x41 by random internal "
                  "2+1 external 2+1 affinity 0s",
                  "write sl_backends 2 198.51.100.2:8080/TCP flags 0x1 generation 1 service 1"));
}

TEST(PlannerTest, ServiceThatGoesTakesItsRowsFromTheFrontBackwards) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1")}));
  EXPECT_THAT(
      Writes(PlanRemoval(state).plan),
      ElementsAre("delete sl_services 192.0.2.1:80/TCP",
                  "retire sl_backends 1 198.51.100.1:8080/TCP flags 0x0 generation 1 service 1",
                  "clear sl_svc_names 1"));
  state.Apply(PlanRemoval(state).plan);
  EXPECT_TRUE(PlanRemoval(state).plan.empty());
}

TEST(PlannerTest, EndpointThatLeavesOneServiceStaysWithTheOther) {
  MapState state(SmallLimits());
  const DesiredService a = Web({Backend("198.51.100.1")}, "a", "192.0.2.1");
  Carry(state, a);
  Carry(state, Web({Backend("198.51.100.1")}, "b", "192.0.2.2"));
  const BackendAddress address = {Ip("198.51.100.1"), 8080, IPPROTO_TCP};
  const std::uint32_t of_a = state.BackendId(1, address), of_b = state.BackendId(2, address);
  ASSERT_NE(of_a, of_b);
  constexpr unsigned kUsable = unsigned{abi::SL_BACKEND_PRESENT} | abi::SL_BACKEND_USABLE;
  DesiredService not_ready = a;
  not_ready.backends[0].in_cluster_set = false;
  Carry(state, not_ready);
  EXPECT_EQ(state.Backend(of_a).flags, abi::SL_BACKEND_PRESENT);
  EXPECT_EQ(state.Backend(of_b).flags, kUsable);
  // Connections of the service that goes, to a pod that stays, go on.
  constexpr unsigned kOrphan = unsigned{abi::SL_BACKEND_PRESENT} | abi::SL_BACKEND_ORPHAN;
  state.Apply(PlanRemoval(state, "a").plan);
  EXPECT_EQ(state.Backend(of_a).flags, kOrphan);
  EXPECT_EQ(state.Backend(of_b).flags, kUsable);
  EXPECT_TRUE(PlanRemoval(state, "a").plan.empty());
  state.Apply(PlanRemoval(state, "b").plan);
  EXPECT_EQ(state.Backend(of_a).flags, 0);
  EXPECT_EQ(state.Backend(of_b).flags, 0);
  EXPECT_THAT(state.orphans(), IsEmpty());
}

// A port that is renamed is another service to us, with the same frontends and endpoints.
TEST(PlannerTest, ServiceThatTakesOverFromAnotherInOnePlanKeepsItsConnections) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1"), Backend("198.51.100.2")}, "old"));
  const DesiredService next = Web({Backend("198.51.100.1")}, "next");
  const std::vector<ServiceChange> changes = {{{"default", "old", "http", IPPROTO_TCP}, nullptr},
                                              {next.name, &next}};
  state.Apply(PlanUpdate(state, changes, {.now_ns = kNow}).plan);
  EXPECT_EQ(state.Backend(1).flags, abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_ORPHAN);
  EXPECT_EQ(state.Backend(1).service_id, 0u) << "the id will be another's";
  EXPECT_EQ(state.Backend(2).flags, 0) << "no service has it any more";
  EXPECT_THAT(state.KeysOf(state.ServiceId(next.name)), SizeIs(1));
}

TEST(PlannerTest, OrphanIsAdoptedWhenTheEndpointComesBack) {
  MapState state(SmallLimits());
  const DesiredService a = Web({Backend("198.51.100.1")}, "a", "192.0.2.1");
  Carry(state, a);
  Carry(state, Web({Backend("198.51.100.1")}, "b", "192.0.2.2"));
  Carry(state, Web({}, "a", "192.0.2.1"));
  ASSERT_THAT(state.orphans(), ElementsAre(1u));
  Carry(state, a);
  EXPECT_EQ(state.Backend(1).flags, abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE);
  EXPECT_EQ(state.Backend(1).generation, 1u);
  EXPECT_THAT(state.orphans(), IsEmpty());
}

TEST(PlannerTest, BackendIdGivenAgainHasTheNextGenerationAndNoCounts) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1")}));
  state.Apply(PlanRemoval(state).plan);
  const std::uint64_t later = kNow + kReuseGraceNs;
  const std::vector<std::string> lines =
      Writes(Plan(state, Web({Backend("198.51.100.9")}), later).plan);
  EXPECT_THAT(lines, ::testing::Contains("zero sl_be_stats 1"));
  EXPECT_THAT(lines,
              ::testing::Contains(
                  "write sl_backends 1 198.51.100.9:8080/TCP flags 0x3 generation 2 service 2"));
}

TEST(PlannerTest, FreedIdsAndSlotsAreLeftAloneForTheGraceTime) {
  MapState state(SmallLimits());
  Carry(state, Web({Backend("198.51.100.1")}));
  state.Apply(PlanRemoval(state).plan);
  const DesiredService next = Web({Backend("198.51.100.2")});
  const std::vector<std::string> early = Writes(Plan(state, next, kNow + kReuseGraceNs - 1).plan);
  EXPECT_THAT(early, ::testing::Contains("write sl_slots from 1: 2"));
  const std::vector<std::string> late = Writes(Plan(state, next, kNow + kReuseGraceNs).plan);
  EXPECT_THAT(late, ::testing::Contains("write sl_slots from 0: 1"));
}

TEST(PlannerTest, ServiceIdGivenAgainForgetsWhoWasBoundToIt) {
  MapLimits limits = SmallLimits();
  limits.service_ids = 2;
  MapState state(limits);
  Carry(state, Web({}, "old"));
  state.Apply(PlanRemoval(state, "old").plan);
  EXPECT_THAT(Plan(state, Web({}, "new")).refused,
              ElementsAre(::testing::Field(&RefusedService::status,
                                           StatusIs(absl::StatusCode::kUnavailable))));
  const PlannedUpdate update = Plan(state, Web({}, "new"), kNow + kReuseGraceNs);
  EXPECT_EQ(update.plan.steps.at(0), MapStep(ZeroServiceStats{{1}}));
  EXPECT_EQ(update.plan.steps.at(1), MapStep(ForgetAffinity{{1}}));
}

TEST(PlannerTest, EqualSetsShareOneRangeAndDifferentOnesDoNot) {
  MapState state(SmallLimits());
  DesiredService service = Web({Backend("198.51.100.1"), Backend("198.51.100.2", true)});
  service.frontends.push_back({Ip("192.0.2.100"), 30080, IPPROTO_TCP, abi::SL_FRONTEND_NODE_PORT});
  Carry(state, service);
  EXPECT_EQ(state.slot_allocator().used(), 2u);
  service.external_local = true;
  Carry(state, service);
  const abi::service* row = state.FindService(ServiceKey(service.frontends[1]));
  EXPECT_EQ(row->slots[abi::SL_SCOPE_INTERNAL].count, 2u) << "short-circuited to the cluster set";
  EXPECT_THAT(state.Slots(row->slots[abi::SL_SCOPE_EXTERNAL]), ElementsAre(2));
  EXPECT_NE(row->flags & abi::SL_SERVICE_LOCAL_EXTERNAL, 0);
  EXPECT_EQ(row->flags & abi::SL_SERVICE_LOCAL_INTERNAL, 0);
  EXPECT_EQ(state.slot_allocator().used(), 3u);
}

TEST(PlannerTest, InternalPolicyGovernsOnlyTheClusterIp) {
  MapState state(SmallLimits());
  DesiredService service = Web({Backend("198.51.100.1")});
  service.internal_local = true;
  service.frontends.push_back({Ip("192.0.2.100"), 30080, IPPROTO_TCP, abi::SL_FRONTEND_NODE_PORT});
  Carry(state, service);
  const abi::service* cluster_ip = state.FindService(ServiceKey(service.frontends[0]));
  EXPECT_EQ(cluster_ip->slots[abi::SL_SCOPE_INTERNAL].count, 0u);
  EXPECT_EQ(cluster_ip->flags & abi::SL_SERVICE_LOCAL_INTERNAL, abi::SL_SERVICE_LOCAL_INTERNAL);
  EXPECT_EQ(cluster_ip->flags & abi::SL_SERVICE_HAS_ENDPOINTS, abi::SL_SERVICE_HAS_ENDPOINTS)
      << "elsewhere: dropped, not rejected";
  const abi::service* node_port = state.FindService(ServiceKey(service.frontends[1]));
  EXPECT_EQ(node_port->slots[abi::SL_SCOPE_INTERNAL].count, 1u);
  EXPECT_EQ(node_port->slots[abi::SL_SCOPE_EXTERNAL].count, 1u);
  // Without any endpoint it is a reject under every policy.
  service.backends.clear();
  Carry(state, service);
  EXPECT_EQ(
      state.FindService(ServiceKey(service.frontends[0]))->flags & abi::SL_SERVICE_HAS_ENDPOINTS,
      0);
}

TEST(PlannerTest, BackendOfASetThatNoFrontendUsesTakesNoNewFlows) {
  MapState state(SmallLimits());
  DesiredService service = Web({Backend("198.51.100.1"), Backend("198.51.100.2", true)});
  service.internal_local = true;
  Carry(state, service);
  EXPECT_EQ(state.Backend(1).flags, abi::SL_BACKEND_PRESENT);
  EXPECT_EQ(state.Backend(2).flags,
            abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE | abi::SL_BACKEND_LOCAL);
}

TEST(PlannerTest, ClusterIpIsClosedToTheNetworkUnlessAllowed) {
  MapState state(SmallLimits());
  const DesiredService service = Web({Backend("198.51.100.1")});
  const std::vector<ServiceChange> changes = {{service.name, &service}};
  state.Apply(
      PlanUpdate(state, changes, {.rows = {.allow_external_cluster_ip = true}, .now_ns = kNow})
          .plan);
  const abi::service_key key = ServiceKey(service.frontends[0]);
  EXPECT_EQ(state.FindService(key)->flags,
            abi::SL_SERVICE_MASQUERADE | abi::SL_SERVICE_HAS_ENDPOINTS);
  EXPECT_EQ(state.FindService(key)->slots[abi::SL_SCOPE_EXTERNAL].count, 1u);
  Carry(state, service);
  EXPECT_EQ(state.FindService(key)->flags,
            abi::SL_SERVICE_DENY_EXTERNAL | abi::SL_SERVICE_HAS_ENDPOINTS);
}

struct RangesCase {
  const char* what;
  std::vector<std::string> ranges;
  std::vector<std::string> rows;  // prefix of sl_src_ranges
  bool filters_v4;
  bool filters_v6;
};

TEST(PlannerTest, SourceRangesFilterByFamilyAndOnlyGuardedFrontends) {
  const RangesCase cases[] = {
      {"none", {}, {}, false, false},
      {"IPv4 only", {"198.51.100.0/24"}, {"198.51.100.0/24"}, true, false},
      {"IPv6 only", {"2001:db8::/32"}, {"2001:db8::/32"}, false, true},
      {"both",
       {"198.51.100.0/24", "2001:db8::/32"},
       {"198.51.100.0/24", "2001:db8::/32"},
       true,
       true},
      {"all of IPv4", {"198.51.100.0/24", "0.0.0.0/0"}, {}, false, false},
      {"all of IPv6", {"198.51.100.0/24", "::/0"}, {"198.51.100.0/24"}, true, false},
  };
  for (const RangesCase& c : cases) {
    MapState state(SmallLimits());
    DesiredService service = Web({Backend("198.51.100.1"), Backend("2001:db8::1")});
    const auto add = [&](const std::string& address, abi::sl_frontend_kind kind) {
      service.frontends.push_back({Ip(address), 80, IPPROTO_TCP, kind});
    };
    add("2001:db8:1::1", abi::SL_FRONTEND_CLUSTER_IP);
    add("192.0.2.2", abi::SL_FRONTEND_NODE_PORT);
    add("2001:db8:1::2", abi::SL_FRONTEND_NODE_PORT);
    add("192.0.2.3", abi::SL_FRONTEND_LOAD_BALANCER);
    add("2001:db8:1::3", abi::SL_FRONTEND_LOAD_BALANCER);
    add("192.0.2.4", abi::SL_FRONTEND_EXTERNAL_IP);
    add("2001:db8:1::4", abi::SL_FRONTEND_EXTERNAL_IP);
    for (const std::string& range : c.ranges) {
      service.source_ranges.push_back(*IpPrefix::Parse(range));
    }
    Carry(state, service);
    for (const Frontend& frontend : service.frontends) {
      const unsigned flags = state.FindService(ServiceKey(frontend))->flags;
      const bool guarded = frontend.kind == abi::SL_FRONTEND_LOAD_BALANCER ||
                           frontend.kind == abi::SL_FRONTEND_EXTERNAL_IP;
      const bool v4 = frontend.address.is_v4();
      EXPECT_EQ((flags & abi::SL_SERVICE_RANGES_V4) != 0, guarded && v4 && c.filters_v4) << c.what;
      EXPECT_EQ((flags & abi::SL_SERVICE_RANGES_V6) != 0, guarded && !v4 && c.filters_v6) << c.what;
    }
    std::set<abi::source_range_key> rows;
    for (const std::string& row : c.rows) rows.insert(SourceRangeKey(1, *IpPrefix::Parse(row)));
    EXPECT_EQ(state.SourceRangesOf(1), rows) << c.what;
  }
}

TEST(PlannerTest, SourceRangeKeyCountsTheServiceIdAndTheMappedAddress) {
  EXPECT_EQ(SourceRangeKey(7, *IpPrefix::Parse("198.51.100.0/24")).prefix_len, 32u + 96 + 24);
  EXPECT_EQ(SourceRangeKey(7, *IpPrefix::Parse("2001:db8::/32")).prefix_len, 32u + 32);
}

TEST(PlannerTest, SourceRangesAreWrittenBeforeTheyFilterAndDeletedAfter) {
  MapState state(SmallLimits());
  DesiredService service = Web({});
  service.frontends[0].kind = abi::SL_FRONTEND_EXTERNAL_IP;
  Carry(state, service);
  service.source_ranges = {*IpPrefix::Parse("198.51.100.0/24")};
  const auto order = [&] {
    std::vector<std::string> verbs;
    for (const std::string& line : Writes(Plan(state, service).plan)) {
      verbs.push_back(line.substr(0, line.find(' ', line.find(' ') + 1)));
    }
    return verbs;
  };
  EXPECT_THAT(order(), ElementsAre("write sl_src_ranges", "write sl_services"));
  Carry(state, service);
  service.source_ranges.clear();
  EXPECT_THAT(order(), ElementsAre("write sl_services", "delete sl_src_ranges"));
}

TEST(PlannerTest, FrontendThatMovesIsOverwrittenAndNotDeleted) {
  MapState state(SmallLimits());
  const DesiredService old_owner = Web({}, "a", "192.0.2.1");
  Carry(state, old_owner);
  DesiredService loser = old_owner;
  loser.frontends.clear();
  const DesiredService winner = Web({}, "b", "192.0.2.1");
  const std::vector<ServiceChange> changes = {{loser.name, &loser}, {winner.name, &winner}};
  const MapPlan plan = PlanUpdate(state, changes, {.now_ns = kNow}).plan;
  EXPECT_THAT(
      Writes(plan),
      ElementsAre("zero sl_svc_stats 2", "write sl_svc_names 2 default/b:http/TCP",
                  "write sl_services 192.0.2.1:80/TCP id 2 ClusterIP flags 0x1 by random internal "
                  "0+0 external 0+0 affinity 0s"));
  state.Apply(plan);
  EXPECT_THAT(state.KeysOf(1), IsEmpty());
  EXPECT_THAT(state.KeysOf(2), SizeIs(1));
}

TEST(PlannerTest, EveryMapThatIsTooSmallIsNamedWithNeedAndLimit) {
  DesiredService service = Web({Backend("198.51.100.1"), Backend("198.51.100.2")});
  service.frontends.push_back({Ip("192.0.2.9"), 80, IPPROTO_TCP, abi::SL_FRONTEND_EXTERNAL_IP});
  service.source_ranges = {*IpPrefix::Parse("198.51.100.0/24"), *IpPrefix::Parse("10.0.0.0/8")};
  struct Case {
    std::uint32_t MapLimits::*limit;
    std::uint32_t value;
    CapacityShortage shortage;
  };
  const Case cases[] = {{&MapLimits::services, 1, {"sl_services", 2, 1}},
                        {&MapLimits::service_ids, 1, {"sl_svc_names", 1, 0}},
                        {&MapLimits::source_ranges, 1, {"sl_src_ranges", 2, 1}},
                        {&MapLimits::slots, 1, {"sl_slots", 2, 1}},
                        {&MapLimits::backends, 2, {"sl_backends", 2, 1}}};
  for (const Case& c : cases) {
    MapLimits limits = SmallLimits();
    limits.*c.limit = c.value;
    const PlannedUpdate update = Plan(MapState(limits), service);
    ASSERT_THAT(update.refused, SizeIs(1)) << c.shortage.map;
    EXPECT_THAT(update.refused[0].status,
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(ToString(c.shortage))));
    EXPECT_THAT(update.shortages, ElementsAre(c.shortage));
    EXPECT_TRUE(update.plan.empty()) << ToString(update.plan);
    limits.*c.limit = c.value + 1;
    EXPECT_THAT(Plan(MapState(limits), service).refused, IsEmpty()) << c.shortage.map;
  }
}

TEST(PlannerTest, NeedCountsAllThatWasAskedForAndTheRestIsPlanned) {
  MapLimits limits = SmallLimits();
  limits.backends = 1 + 3;
  MapState state(limits);
  Carry(state, Web({Backend("198.51.100.1")}, "old", "192.0.2.9"));
  std::vector<DesiredBackend> many;
  for (int i = 10; i < 20; ++i) many.push_back(Backend(absl::StrCat("198.51.100.", i)));
  const DesiredService big = Web(many, "big", "192.0.2.1");
  const DesiredService small = Web({Backend("198.51.100.2")}, "small", "192.0.2.2");
  const std::vector<ServiceChange> changes = {{big.name, &big}, {small.name, &small}};
  const PlannedUpdate update = PlanUpdate(state, changes, {.now_ns = kNow});
  ASSERT_THAT(update.refused, SizeIs(1));
  EXPECT_EQ(update.refused[0].name, big.name);
  EXPECT_THAT(update.shortages, ElementsAre(CapacityShortage{"sl_backends", 12, 3}));
  state.Apply(update.plan);
  EXPECT_NE(state.ServiceId(small.name), 0u);
  EXPECT_EQ(state.ServiceId(big.name), 0u);
}

}  // namespace
}  // namespace sluice
