// SPDX-License-Identifier: Apache-2.0
#include "control/apply/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/service_builder.h"
#include "test/support/status_matchers.h"
#include "test/unit/apply/reconciler_world.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::ReconcilerWorld;
using testing::ServiceBuilder;
using ::testing::SizeIs;
using testing::SliceBuilder;
using testing::SmallLimits;
using testing::StatusIs;

ServiceBuilder Web(int number = 1) {
  return ServiceBuilder(absl::StrCat("web-", number)).ClusterIp(absl::StrCat("10.96.0.", number));
}
SliceBuilder Endpoints(int number, const std::string& address) {
  return SliceBuilder(absl::StrCat("web-", number)).Endpoint(address);
}
ServicePortName NameOfWeb(int number) {
  return {"default", absl::StrCat("web-", number), "http", 6};
}

TEST(ReconcilerTest, WritesNothingBeforeTheSourceHasSaidEverything) {
  ReconcilerWorld world;
  world.agent_->SetService(Web().Build());
  world.agent_->SetEndpointSlice(Endpoints(1, "10.1.0.1").Build());
  world.clock_.Advance(absl::Hours(1));
  world.agent_->Run();
  EXPECT_EQ(world.maps_.faults.rows, 0u);
  EXPECT_EQ(world.agent_->sync_state(), SyncState::kAwaiting);
  EXPECT_NE(world.agent_->applied_generation(), world.generation_);
  world.agent_->Synced();
  EXPECT_EQ(world.agent_->sync_state(), SyncState::kSyncing);
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(world.agent_->sync_state(), SyncState::kSynced);
  EXPECT_EQ(world.CheckExact(), "");
  EXPECT_EQ(world.agent_->services().size(), 1u);
  EXPECT_EQ(world.changes_seen_, 1);
}

TEST(ReconcilerTest, FirstChangeIsFollowedAtOnceAndABurstAsOne) {
  ReconcilerWorld world;
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  world.clock_.Advance(absl::Seconds(1));
  const std::uint64_t rounds = world.agent_->counters().rounds;
  world.agent_->SetService(Web().Build());
  EXPECT_EQ(*world.wake_, absl::ZeroDuration());
  ASSERT_TRUE(world.Step());
  for (int i = 1; i <= 20; ++i) {
    world.agent_->SetEndpointSlice(Endpoints(1, absl::StrCat("10.1.0.", i)).Build());
  }
  EXPECT_EQ(*world.wake_, ReconcilerOptions().min_interval);
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(world.agent_->counters().rounds, rounds + 2);
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, ChangeOfOneServiceWritesOnlyItsRows) {
  ReconcilerWorld world;
  for (int i = 1; i <= 50; ++i) {
    world.agent_->SetService(Web(i).Build());
    world.agent_->SetEndpointSlice(Endpoints(i, absl::StrCat("10.1.0.", i)).Build());
  }
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const std::uint64_t before = world.maps_.faults.rows;
  world.agent_->SetEndpointSlice(Endpoints(7, "10.1.0.7").Endpoint("10.1.1.7").Build());
  world.agent_->Run();
  ASSERT_TRUE(world.Settle());
  // The new backend and the frontend; slots are memory.
  EXPECT_EQ(world.maps_.faults.rows - before, 2u);
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, FailedWriteIsTriedAgainLaterAndLater) {
  ReconcilerWorld world;
  bool broken = true;
  world.maps_.faults.before_row = [&](const std::string&) {
    return broken ? absl::PermissionDeniedError("no CAP_BPF") : absl::OkStatus();
  };
  world.agent_->SetService(Web().Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Step());
  EXPECT_THAT(world.agent_->degraded(), ElementsAre(HasSubstr("no CAP_BPF")));
  EXPECT_EQ(world.agent_->sync_state(), SyncState::kSyncing);
  std::vector<absl::Duration> delays;
  for (int i = 0; i < 12; ++i) {
    delays.push_back(*world.wake_);
    ASSERT_TRUE(world.Step());
  }
  EXPECT_EQ(delays[0], absl::Milliseconds(100));
  EXPECT_EQ(delays[1], absl::Milliseconds(200));
  EXPECT_EQ(delays.back(), ReconcilerOptions().retry_max);
  // A change does not cut the wait short.
  world.agent_->SetService(Web(2).Build());
  EXPECT_EQ(*world.wake_, ReconcilerOptions().retry_max);
  broken = false;
  ASSERT_TRUE(world.Settle());
  EXPECT_THAT(world.agent_->degraded(), IsEmpty());
  EXPECT_EQ(world.CheckExact(), "");
  EXPECT_EQ(world.agent_->sync_state(), SyncState::kSynced);
}

TEST(ReconcilerTest, ServiceThatDoesNotFitIsNamedAndTheOthersAreServed) {
  MapLimits limits = SmallLimits();
  limits.backends = 1 + 10;  // id 0 is nobody's
  ReconcilerWorld world(limits);
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetEndpointSlice(Endpoints(1, "10.1.0.1").Build());
  world.agent_->SetService(Web(2).Build());
  SliceBuilder many("web-2");
  for (int i = 1; i <= 30; ++i) many.Endpoint(absl::StrCat("10.2.0.", i));
  world.agent_->SetEndpointSlice(many.Build());
  world.agent_->SetService(Web(3).Build());
  world.agent_->SetEndpointSlice(Endpoints(3, "10.1.0.3").Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Step());
  EXPECT_NE(world.agent_->ServiceId(NameOfWeb(1)), 0u);
  EXPECT_EQ(world.agent_->ServiceId(NameOfWeb(2)), 0u);
  EXPECT_NE(world.agent_->ServiceId(NameOfWeb(3)), 0u);
  EXPECT_THAT(world.agent_->degraded(),
              ElementsAre(HasSubstr("map sl_backends: 32 rows needed, the limit is 10 "
                                    "(raise --max-backends); 1 service port(s)")));
  EXPECT_FALSE(world.Settled());
  // It fits: no longer degraded.
  world.agent_->SetEndpointSlice(Endpoints(2, "10.2.0.1").Build());
  ASSERT_TRUE(world.Settle());
  EXPECT_THAT(world.agent_->degraded(), IsEmpty());
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, OldRowsStayWhenNewOnesDoNotFit) {
  MapLimits limits = SmallLimits();
  limits.backends = 1 + 4;
  ReconcilerWorld world(limits);
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetEndpointSlice(Endpoints(1, "10.1.0.1").Endpoint("10.1.0.2").Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const auto rows = world.maps_.services.rows();
  SliceBuilder many("web-1");
  for (int i = 1; i <= 5; ++i) many.Endpoint(absl::StrCat("10.1.0.", i));
  world.agent_->SetEndpointSlice(many.Build());
  ASSERT_TRUE(world.Step());
  EXPECT_EQ(world.maps_.services.rows(), rows);
  EXPECT_THAT(world.agent_->degraded(), SizeIs(1));
}

TEST(ReconcilerTest, RoomThatIsFreedIsUsedByThoseWhoWait) {
  MapLimits limits = SmallLimits();
  limits.service_ids = 1 + 1;
  ReconcilerWorld world(limits);
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetService(Web(2).Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Step());
  ASSERT_EQ(world.agent_->ServiceId(NameOfWeb(2)), 0u);
  world.agent_->DeleteService("default", "web-1");
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(world.agent_->ServiceId(NameOfWeb(2)), 1u);
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, AServiceWithoutRoomIsHandledAndNotApplied) {
  MapLimits limits = SmallLimits();
  limits.service_ids = 1 + 1;
  ReconcilerWorld world(limits);
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetService(Web(2).Build());
  world.generation_ = 5;
  EXPECT_NE(world.agent_->handled_generation(), 5u);
  world.agent_->Synced();
  ASSERT_TRUE(world.Step());
  EXPECT_EQ(world.agent_->handled_generation(), 5u);
  EXPECT_NE(world.agent_->applied_generation(), 5u);
  world.generation_ = 6;  // no object of it changed
  EXPECT_EQ(world.agent_->handled_generation(), 6u);
  world.agent_->SetEndpointSlice(Endpoints(1, "10.1.0.1").Build());
  EXPECT_EQ(world.agent_->handled_generation(), 5u);
  world.maps_.faults.before_row = [](const std::string&) { return absl::AbortedError("broken"); };
  ASSERT_TRUE(world.Step());
  EXPECT_EQ(world.agent_->handled_generation(), 5u);
}

TEST(ReconcilerTest, RowsThatOthersChangedAreFoundAndPutRight) {
  ReconcilerWorld world;
  for (int i = 1; i <= 3; ++i) {
    world.agent_->SetService(Web(i).Build());
    world.agent_->SetEndpointSlice(Endpoints(i, absl::StrCat("10.1.0.", i)).Build());
  }
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  world.maps_.services.rows().erase(world.maps_.services.rows().begin());
  world.maps_.backends.rows()[1].flags = abi::SL_BACKEND_PRESENT;
  ASSERT_NE(world.CheckExact(), "");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(world.Step());
  EXPECT_EQ(world.CheckExact(), "");
  EXPECT_EQ(world.agent_->counters().rows_drifted, 2u);
  const std::uint64_t confirmed = world.agent_->counters().confirmations;
  const int seen = world.changes_seen_;
  world.clock_.Advance(ReconcilerOptions().verify_interval);
  world.agent_->Run();
  EXPECT_EQ(world.agent_->counters().confirmations, confirmed + 1);
  EXPECT_EQ(world.changes_seen_, seen + 1);
}

TEST(ReconcilerTest, NothingIsConcludedFromMapsThatCannotBeRead) {
  ReconcilerWorld world;
  world.agent_->SetService(Web(1).Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const auto rows = world.maps_.services.rows();
  world.maps_.services.read_status = absl::UnavailableError("busy");
  world.Step();
  EXPECT_EQ(world.agent_->counters().verifications, 1u);
  EXPECT_EQ(world.maps_.services.rows(), rows);
  world.StartAgent();
  EXPECT_THAT(world.start_status_, StatusIs(absl::StatusCode::kUnavailable));
}

TEST(ReconcilerTest, RestartWritesNothingWhenNothingChanged) {
  ReconcilerWorld world;
  const auto say = [&] {
    for (int i = 1; i <= 5; ++i) {
      world.agent_->SetService(Web(i).Build());
      world.agent_->SetEndpointSlice(Endpoints(i, absl::StrCat("10.1.0.", i)).Build());
    }
    world.agent_->Synced();
  };
  say();
  ASSERT_TRUE(world.Settle());
  const std::uint64_t rows = world.maps_.faults.rows;
  const std::uint32_t id = world.agent_->ServiceId(NameOfWeb(4));
  world.StartAgent();
  say();
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(world.maps_.faults.rows, rows);
  EXPECT_EQ(world.agent_->ServiceId(NameOfWeb(4)), id);
  EXPECT_EQ(world.agent_->counters().rows_written, 0u);
}

// What a restart finds changed is planned in parts. An endpoint that one service has lost and one
// of a later part has got keeps its connections, and a frontend that changed hands is never
// missing.
TEST(ReconcilerTest, PartsOfARoundKeepTheConnectionsOfEndpointsThatChangeHands) {
  ReconcilerWorld world;
  const auto say = [&](const std::string& of_1, const std::string& of_2, bool old) {
    world.agent_->SetService(Web(1).Build());
    world.agent_->SetEndpointSlice(Endpoints(1, of_1).Build());
    world.agent_->SetService(Web(2).Build());
    world.agent_->SetEndpointSlice(Endpoints(2, of_2).Build());
    const std::string name = old ? "a-old" : "z-new";
    world.agent_->SetService(ServiceBuilder(name).ClusterIp("10.96.0.9").Build());
    world.agent_->SetEndpointSlice(SliceBuilder(name).Endpoint("10.1.0.9").Build());
    world.agent_->Synced();
    return world.Settle();
  };
  ASSERT_TRUE(say("10.1.0.1", "10.1.0.2", true));
  std::map<std::uint32_t, abi::addr> serving;
  for (const auto& [id, row] : world.maps_.backends.rows()) serving[id] = row.address;
  const std::size_t frontends = world.maps_.services.rows().size();
  ASSERT_THAT(serving, SizeIs(3));

  world.agent_.reset();
  world.options_.services_per_plan = 1;
  world.StartAgent();
  // 10.1.0.1 passes from web-1 to web-2, 10.1.0.2 leaves, 10.1.0.9 passes from a-old to z-new.
  const auto look = [&] {
    EXPECT_GE(world.maps_.services.rows().size(), frontends);
    for (const auto& [id, address] : serving) {
      if (address == IpAddress::Parse("10.1.0.2")->ToAbi()) continue;
      const abi::backend& row = world.maps_.backends.rows()[id];
      EXPECT_EQ(row.generation, 1u);
      EXPECT_NE(row.flags & abi::SL_BACKEND_PRESENT, 0);
    }
  };
  world.maps_.faults.after_row = look;
  ASSERT_TRUE(say("10.1.0.3", "10.1.0.1", false));
  world.maps_.faults.after_row = nullptr;
  EXPECT_EQ(world.CheckExact(), "");
  for (const auto& [id, row] : world.maps_.backends.rows()) {
    if (row.address != IpAddress::Parse("10.1.0.2")->ToAbi()) continue;
    EXPECT_EQ(row.flags, 0) << "nobody has it any more";
  }
}

TEST(ReconcilerTest, RestartForgetsAffinityOfServicesThatAreGone) {
  ReconcilerWorld world;
  world.agent_->SetService(Web(1).Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const std::uint32_t id = world.agent_->ServiceId(NameOfWeb(1));
  world.maps_.affinity.rows()[{id, 0, {}}] = {};
  world.maps_.affinity.rows()[{id + 1, 0, {}}] = {};
  world.StartAgent();
  ASSERT_THAT(world.start_status_, IsOk());
  EXPECT_THAT(world.maps_.affinity.rows(), SizeIs(1));
  EXPECT_TRUE(world.maps_.affinity.rows().contains({id, 0, {}}));
}

TEST(ReconcilerTest, ResetDeletesOnlyAtTheNextSyncWhatWasNotSaidAgain) {
  ReconcilerWorld world;
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetService(Web(2).Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  world.agent_->Reset();
  world.agent_->SetService(Web(2).Build());
  world.Step();
  EXPECT_NE(world.agent_->ServiceId(NameOfWeb(1)), 0u);
  world.agent_->Synced();
  world.clock_.Advance(absl::Seconds(1));
  world.agent_->Run();
  EXPECT_EQ(world.agent_->ServiceId(NameOfWeb(1)), 0u);
  EXPECT_NE(world.agent_->ServiceId(NameOfWeb(2)), 0u);
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, NodePortsFollowTheAddressesOfTheNode) {
  ReconcilerWorld world;
  world.agent_->SetService(Web(1).Type("NodePort").Port(80, "http", "TCP", 30080).Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const auto node_port_at = [&](const std::string& address) {
    return world.maps_.services.rows().contains(AddressKey(*IpAddress::Parse(address), 30080, 6));
  };
  EXPECT_TRUE(node_port_at("192.0.2.100"));
  EXPECT_FALSE(node_port_at("2001:db8::100")) << "the Service has no IPv6 ClusterIP";
  world.node_.node_port_addresses = {*IpAddress::Parse("192.0.2.101")};
  world.agent_->NodeChanged();
  ASSERT_TRUE(world.Settle());
  EXPECT_FALSE(node_port_at("192.0.2.100"));
  EXPECT_TRUE(node_port_at("192.0.2.101"));
  EXPECT_EQ(world.CheckExact(), "");
}

// An address of a load balancer that turns up on an interface is owned by services no longer, also
// where it is an external one too.
TEST(ReconcilerTest, AddressesOfMachinesAreNotOwned) {
  ReconcilerWorld world;
  world.agent_->SetService(Web(1)
                               .Type("LoadBalancer")
                               .Port(80, "http", "TCP")
                               .ExternalIp("203.0.113.7")
                               .Ingress("203.0.113.7")
                               .Build());
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const auto is_owned = [&] {
    return world.maps_.services.rows().contains(AddressKey(*IpAddress::Parse("203.0.113.7"), 0, 0));
  };
  EXPECT_TRUE(is_owned());
  world.node_.machine_addresses = {*IpAddress::Parse("203.0.113.7")};
  world.agent_->NodeChanged();
  ASSERT_TRUE(world.Settle());
  EXPECT_FALSE(is_owned());
  world.node_.machine_addresses.clear();
  world.agent_->NodeChanged();
  ASSERT_TRUE(world.Settle());
  EXPECT_TRUE(is_owned());
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, ZoneComesFromTheNodeAndItsChangeReachesEveryService) {
  ReconcilerWorld world;
  world.node_.zone.clear();
  world.agent_->SetService(Web(1).Build());
  world.agent_->SetEndpointSlice(SliceBuilder("web-1")
                                     .Endpoint("10.1.0.1")
                                     .Zone("zone-a")
                                     .Endpoint("10.1.0.2")
                                     .Zone("zone-b")
                                     .Build());
  model::Node node;
  node.mutable_metadata()->set_name("node-1");
  (*node.mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = "zone-b";
  world.agent_->SetNode(node);
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  const auto in_set = [&] {
    std::vector<std::string> addresses;
    for (const DesiredBackend& b : world.agent_->services().at(NameOfWeb(1)).backends) {
      if (b.in_cluster_set) addresses.push_back(b.address.address.ToString());
    }
    return addresses;
  };
  EXPECT_THAT(in_set(), ElementsAre("10.1.0.2"));
  (*node.mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = "zone-a";
  world.agent_->SetNode(node);
  ASSERT_TRUE(world.Settle());
  EXPECT_THAT(in_set(), ElementsAre("10.1.0.1"));
  EXPECT_EQ(world.CheckExact(), "");
}

TEST(ReconcilerTest, ProblemsOfTheSourceAreKeptUntilItClearsThem) {
  ReconcilerWorld world;
  world.agent_->ReportProblem("web.yaml", "Service default/web", "web.yaml:7: no such port");
  world.agent_->ReportProblem("api.yaml", "api.yaml", "cannot be read");
  EXPECT_THAT(world.agent_->problems(), SizeIs(2));
  world.agent_->ClearProblems("web.yaml");
  EXPECT_THAT(world.agent_->problems(),
              ElementsAre(ReportedProblem{"api.yaml", "api.yaml", "cannot be read"}));
}

TEST(ReconcilerTest, GenerationOfASourceThatSaidNothingNewCountsAsApplied) {
  ReconcilerWorld world;
  world.agent_->Synced();
  ASSERT_TRUE(world.Settle());
  world.generation_ = 9;  // a comment in a manifest
  EXPECT_EQ(world.agent_->applied_generation(), 9u);
  world.agent_->SetService(Web(1).Build());
  EXPECT_NE(world.agent_->applied_generation(), 9u);
  ASSERT_TRUE(world.Settle());
}

}  // namespace
}  // namespace sluice
