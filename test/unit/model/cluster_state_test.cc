// SPDX-License-Identifier: Apache-2.0
#include "control/model/cluster_state.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/model/stable_bytes.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;

constexpr char kOwnNode[] = "node-a";

model::Service Service(const std::string& name, const std::string& cluster_ip = "192.0.2.1") {
  model::Service service;
  service.mutable_metadata()->set_name_space("default");
  service.mutable_metadata()->set_name(name);
  service.mutable_spec()->set_cluster_ip(cluster_ip);
  return service;
}

model::EndpointSlice Slice(const std::string& name, const std::string& service,
                           const std::string& address = "198.51.100.1") {
  model::EndpointSlice slice;
  slice.mutable_metadata()->set_name_space("default");
  slice.mutable_metadata()->set_name(name);
  if (!service.empty()) (*slice.mutable_metadata()->mutable_labels())[kServiceNameLabel] = service;
  slice.add_endpoints()->add_addresses(address);
  return slice;
}

model::Node Node(const std::string& name, const std::string& address) {
  model::Node node;
  node.mutable_metadata()->set_name(name);
  node.mutable_status()->add_addresses()->set_address(address);
  return node;
}

ObjectName Named(const std::string& name) { return {"default", name}; }

std::vector<std::string> SliceNames(const ClusterState& state, const std::string& service) {
  std::vector<std::string> names;
  for (const model::EndpointSlice* slice : state.SlicesOf(Named(service))) {
    names.push_back(slice->metadata().name());
  }
  return names;
}

TEST(ClusterStateTest, FindsWhatWasSetAndNotWhatWasDeleted) {
  ClusterState state(kOwnNode);
  state.SetService(Service("web"));
  ASSERT_NE(state.FindService(Named("web")), nullptr);
  EXPECT_EQ(state.FindService(Named("web"))->spec().cluster_ip(), "192.0.2.1");
  EXPECT_EQ(state.FindService({"other", "web"}), nullptr);
  state.DeleteService(Named("web"));
  EXPECT_EQ(state.FindService(Named("web")), nullptr);
  state.DeleteService(Named("web"));  // nothing happens
}

TEST(ClusterStateTest, GivesTheSlicesOfAServiceByLabelAndNamespace) {
  ClusterState state(kOwnNode);
  state.SetEndpointSlice(Slice("web-2", "web"));
  state.SetEndpointSlice(Slice("web-1", "web"));
  state.SetEndpointSlice(Slice("dns-1", "dns"));
  state.SetEndpointSlice(Slice("stray", ""));
  model::EndpointSlice elsewhere = Slice("web-1", "web");
  elsewhere.mutable_metadata()->set_name_space("other");
  state.SetEndpointSlice(elsewhere);
  EXPECT_THAT(SliceNames(state, "web"), ElementsAre("web-1", "web-2"));
  state.DeleteEndpointSlice(Named("web-1"));
  EXPECT_THAT(SliceNames(state, "web"), ElementsAre("web-2"));
  EXPECT_EQ(state.SlicesOf({"other", "web"}).size(), 1u);
  EXPECT_EQ(state.slice_count(), 4u);
}

TEST(ClusterStateTest, TouchesOnlyTheServicesThatAChangeNames) {
  ClusterState state(kOwnNode);
  state.SetService(Service("web"));
  state.SetService(Service("dns"));
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("dns"), Named("web")));
  EXPECT_TRUE(state.TakeChanges().empty());
  state.SetEndpointSlice(Slice("web-1", "web"));
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("web")));
  state.DeleteEndpointSlice(Named("web-1"));
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("web")));
  state.DeleteService(Named("dns"));
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("dns")));
}

TEST(ClusterStateTest, TouchesNothingWhenNothingOfUseChanged) {
  ClusterState state(kOwnNode);
  state.SetService(Service("web"));
  state.SetEndpointSlice(Slice("web-1", "web"));
  state.SetNode(Node(kOwnNode, "203.0.113.1"));
  state.TakeChanges();
  model::Service service = Service("web");
  service.mutable_metadata()->set_resource_version("17");
  (*service.mutable_metadata()
        ->mutable_annotations())["kubectl.kubernetes.io/last-applied-configuration"] = "{}";
  state.SetService(service);
  state.SetEndpointSlice(Slice("web-1", "web"));
  model::Node heartbeat = Node(kOwnNode, "203.0.113.1");
  heartbeat.mutable_metadata()->set_resource_version("18");
  state.SetNode(heartbeat);
  EXPECT_TRUE(state.TakeChanges().empty());
  EXPECT_FALSE(state.FindService(Named("web"))->metadata().has_resource_version());
}

TEST(ClusterStateTest, KeepsNothingThatSaysNothingAboutTraffic) {
  ClusterState state(kOwnNode);
  state.SetService(Service("web"));
  state.SetEndpointSlice(Slice("web-1", "web"));
  state.TakeChanges();
  model::Service service = Service("web");
  service.mutable_metadata()->set_uid("5d6f7a9c");
  (*service.mutable_metadata()->mutable_labels())["app"] = "web";
  (*service.mutable_metadata()->mutable_annotations())["note"] = "x";
  (*service.mutable_spec()->mutable_selector())["app"] = "web";
  service.mutable_spec()->add_ip_families("IPv4");
  service.mutable_spec()->set_ip_family_policy("SingleStack");
  state.SetService(service);
  model::EndpointSlice slice = Slice("web-1", "web");
  (*slice.mutable_metadata()
        ->mutable_annotations())["endpoints.kubernetes.io/last-change-trigger-time"] = "x";
  (*slice.mutable_metadata()->mutable_labels())["endpointslice.kubernetes.io/managed-by"] = "x";
  slice.mutable_metadata()->mutable_creation_timestamp()->set_seconds(1);
  slice.mutable_endpoints(0)->set_zone("zone-a");
  slice.mutable_endpoints(0)->mutable_conditions()->set_ready(true);
  state.SetEndpointSlice(slice);
  EXPECT_TRUE(state.TakeChanges().empty());
}

TEST(ClusterStateTest, KeepsWhatBearsOnTraffic) {
  ClusterState state(kOwnNode);
  model::Service service = Service("web");
  (*service.mutable_metadata()->mutable_labels())[kProxyNameLabel] = "other";
  service.mutable_metadata()->mutable_creation_timestamp()->set_seconds(7);
  state.SetService(service);
  model::EndpointSlice slice = Slice("web-1", "web");
  (*slice.mutable_metadata()->mutable_labels())[kHeadlessLabel] = "";
  slice.mutable_endpoints(0)->set_node_name("node-b");
  slice.mutable_endpoints(0)->mutable_hints()->add_for_zones()->set_name("zone-a");
  state.SetEndpointSlice(slice);
  EXPECT_EQ(state.FindService(Named("web"))->SerializeAsString(), service.SerializeAsString());
  const std::vector<const model::EndpointSlice*> slices = state.SlicesOf(Named("web"));
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_EQ(SerializeStable(*slices[0]), SerializeStable(slice)) << slices[0]->DebugString();
}

TEST(ClusterStateTest, HandsOutPackedSlicesOfTheServiceAlone) {
  ClusterState state(kOwnNode);
  state.SetEndpointSlice(Slice("web-1", "web", "198.51.100.1"));
  state.SetEndpointSlice(Slice("web-2", "web", "198.51.100.2"));
  state.SetEndpointSlice(Slice("web-x-1", "web-x", "198.51.100.3"));
  std::vector<std::string> addresses;
  for (const std::string& bytes : state.PackedSlicesOf(Named("web"))) {
    model::EndpointSlice slice;
    ASSERT_TRUE(slice.ParseFromString(bytes));
    addresses.push_back(slice.endpoints(0).addresses(0));
  }
  EXPECT_THAT(addresses, ElementsAre("198.51.100.1", "198.51.100.2"));
  EXPECT_THAT(state.SliceNamesOf(Named("web")), ElementsAre("web-1", "web-2"));
}

// ready, serving, terminating, as those read them who know what a missing one means.
std::vector<bool> Read(const model::EndpointConditions& conditions) {
  const bool ready = !conditions.has_ready() || conditions.ready();
  return {ready, conditions.has_serving() ? conditions.serving() : ready, conditions.terminating()};
}

TEST(ClusterStateTest, ReadsTheSameFromConditionsWithoutDefaults) {
  using Setter = void (model::EndpointConditions::*)(bool);
  constexpr Setter kSetters[] = {&model::EndpointConditions::set_ready,
                                 &model::EndpointConditions::set_serving,
                                 &model::EndpointConditions::set_terminating};
  for (int combination = 0; combination < 27; ++combination) {  // each missing, false or true
    model::EndpointSlice slice = Slice("web-1", "web");
    model::EndpointConditions& conditions = *slice.mutable_endpoints(0)->mutable_conditions();
    int rest = combination;
    for (const Setter set : kSetters) {
      if (rest % 3 != 0) (conditions.*set)(rest % 3 == 2);
      rest /= 3;
    }
    ClusterState state(kOwnNode);
    state.SetEndpointSlice(slice);
    const model::Endpoint& kept = state.SlicesOf(Named("web")).at(0)->endpoints(0);
    EXPECT_EQ(Read(kept.conditions()), Read(conditions)) << conditions.ShortDebugString();
  }
}

TEST(ClusterStateTest, TouchesBothServicesWhenASliceMovesBetweenThem) {
  ClusterState state(kOwnNode);
  state.SetEndpointSlice(Slice("s", "web"));
  state.TakeChanges();
  state.SetEndpointSlice(Slice("s", "dns"));
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("dns"), Named("web")));
  EXPECT_THAT(SliceNames(state, "web"), ElementsAre());
  EXPECT_THAT(SliceNames(state, "dns"), ElementsAre("s"));
}

TEST(ClusterStateTest, OnlyTheOwnNodeTouchesEverything) {
  ClusterState state(kOwnNode);
  state.SetNode(Node("node-b", "203.0.113.2"));
  const Changes others = state.TakeChanges();
  EXPECT_FALSE(others.all);
  EXPECT_TRUE(others.machines) << "a load balancer's address may be that Node's";
  model::Node labelled = Node("node-b", "203.0.113.2");
  (*labelled.mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = "zone-b";
  labelled.mutable_spec()->add_pod_cidrs("10.244.2.0/24");
  state.SetNode(labelled);
  EXPECT_TRUE(state.TakeChanges().empty()) << "of others only the addresses count";
  EXPECT_EQ(state.own_node(), nullptr);
  state.SetNode(Node(kOwnNode, "203.0.113.1"));
  EXPECT_TRUE(state.TakeChanges().all);
  ASSERT_NE(state.own_node(), nullptr);
  EXPECT_EQ(state.own_node()->status().addresses(0).address(), "203.0.113.1");
  state.DeleteNode(kOwnNode);
  EXPECT_TRUE(state.TakeChanges().all);
}

TEST(ClusterStateTest, ResetDeletesAtSyncedWhatWasNotSaidAgainAndNothingBefore) {
  ClusterState state(kOwnNode);
  EXPECT_FALSE(state.ever_synced());
  state.SetService(Service("stays"));
  state.SetService(Service("goes"));
  state.SetEndpointSlice(Slice("stays-1", "stays"));
  state.SetEndpointSlice(Slice("goes-1", "goes"));
  state.SetNode(Node("node-b", "203.0.113.2"));
  state.Synced();
  EXPECT_TRUE(state.synced());
  state.TakeChanges();

  state.Reset();
  EXPECT_FALSE(state.synced());
  EXPECT_TRUE(state.ever_synced());
  state.SetService(Service("stays"));
  state.SetEndpointSlice(Slice("stays-1", "stays"));
  EXPECT_EQ(state.service_count(), 2u);
  state.Synced();
  EXPECT_EQ(state.service_count(), 1u);
  EXPECT_EQ(state.slice_count(), 1u);
  EXPECT_EQ(state.node_count(), 0u);
  EXPECT_THAT(state.TakeChanges().services, ElementsAre(Named("goes")));
  state.Synced();  // without a Reset: nothing to sweep
  EXPECT_EQ(state.service_count(), 1u);
}

TEST(ClusterStateTest, VisitsInTheOrderOfTheNames) {
  ClusterState state(kOwnNode);
  for (const char* name : {"c", "a", "b"}) {
    state.SetService(Service(name));
    state.SetEndpointSlice(Slice(name, "web"));
    state.SetNode(Node(name, "203.0.113.2"));
  }
  std::string order;
  state.ForEachService([&](const model::Service& service) { order += service.metadata().name(); });
  state.ForEachEndpointSlice([&](const auto& slice) { order += slice.metadata().name(); });
  state.ForEachNode([&](const model::Node& node) { order += node.metadata().name(); });
  EXPECT_EQ(order, "abcabcabc");
}

}  // namespace
}  // namespace sluice
