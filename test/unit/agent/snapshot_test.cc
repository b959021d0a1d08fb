// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "gmock/gmock.h"
#include <nlohmann/json.hpp>

#include "control/report/agent_snapshot.h"
#include "test/support/service_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using testing::SliceBuilder;
using Json = nlohmann::json;

Snapshot Healthy() {
  Snapshot snapshot;
  snapshot.node_name = "n1";
  snapshot.started_at = absl::FromUnixSeconds(1000);
  snapshot.taken_at = absl::FromUnixSeconds(2000);
  snapshot.last_applied = absl::FromUnixSeconds(1900);
  snapshot.synced = true;
  snapshot.source_generation = 5;
  snapshot.applied_generation = 5;
  return snapshot;
}

// What sluicectl reads is what was there.
TEST(SnapshotJsonTest, IsUnderstoodBySluicectl) {
  Snapshot snapshot = Healthy();
  snapshot.degraded = {"IPv4 forwarding is off"};
  snapshot.problems = {{"a.yaml", "Service default/x", "line 3: no"}};
  snapshot.conflicts = {{"Service default/b", "port 30080 belongs to default/a"}};
  snapshot.interfaces = {{"eth0", 2, Role::kUplink, {"from_net", "to_net"}, ""},
                         {"wg0", 3, Role::kUplink, {}, "not an Ethernet device"}};
  snapshot.attach = "tcx";
  snapshot.node_addresses = {IpAddress::Parse("192.0.2.1").value()};
  snapshot.features = {{"tcx", true}};
  snapshot.shadowed = {{30080, IPPROTO_TCP, "default/a", 7, "nginx (process 12)"}};
  ServiceSnapshot service;
  service.id = 9;
  service.service.name = {"default", "a", "http", IPPROTO_TCP};
  service.service.type = "NodePort";
  DesiredBackend backend;
  backend.address = {IpAddress::Parse("10.244.1.5").value(), 8080, IPPROTO_TCP};
  backend.state = BackendState::kTerminating;
  backend.local = true;
  backend.in_local_set = true;
  service.service.backends = {backend};
  service.service.external_local = true;
  service.slice_names = {"a-x"};
  service.refused = "sl_slots is full";
  service.no_load_balancer_address = "no address yet";
  service.slices = {
      SliceBuilder("a", "x").Endpoint("10.244.1.5", "n2").Build().SerializeAsString()};
  snapshot.services = {service};
  snapshot.unserved = {{"default", "db", "headless"}};

  const std::string text = SnapshotJson(snapshot, {{"sl_flows", 3, 100}});
  const auto read = report::ParseAgentSnapshot(text);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->node_name, "n1");
  EXPECT_EQ(read->started_at, "1970-01-01T00:16:40+00:00");
  EXPECT_TRUE(read->synced);
  EXPECT_EQ(read->source_generation, 5u);
  EXPECT_EQ(read->applied_generation, 5u);
  EXPECT_THAT(read->degraded, ElementsAre("IPv4 forwarding is off"));
  ASSERT_THAT(read->problems, SizeIs(1));
  EXPECT_EQ(read->problems[0].origin, "a.yaml");
  EXPECT_EQ(read->problems[0].message, "line 3: no");
  EXPECT_THAT(read->conflicts, ElementsAre("Service default/b: port 30080 belongs to default/a"));
  ASSERT_THAT(read->interfaces, SizeIs(2));
  EXPECT_EQ(read->interfaces[0].role, "uplink");
  EXPECT_THAT(read->interfaces[0].hooks, ElementsAre("from_net", "to_net"));
  EXPECT_EQ(read->interfaces[0].attach, "tcx");
  EXPECT_EQ(read->interfaces[1].attach, "");
  EXPECT_EQ(read->interfaces[1].error, "not an Ethernet device");
  EXPECT_THAT(read->node_addresses, ElementsAre("192.0.2.1"));
  EXPECT_EQ(read->features["tcx"], true);
  ASSERT_THAT(read->listeners_shadowed, SizeIs(1));
  EXPECT_EQ(read->listeners_shadowed[0].port, 30080);
  EXPECT_EQ(read->listeners_shadowed[0].service, "default/a");
  EXPECT_EQ(read->listeners_shadowed[0].process, "nginx (process 12)");
  ASSERT_THAT(read->services, SizeIs(1));
  EXPECT_EQ(read->services[0].id, 9u);
  EXPECT_EQ(read->services[0].protocol, "TCP");
  ASSERT_THAT(read->services[0].backends, SizeIs(1));
  EXPECT_EQ(read->services[0].backends[0].state, "terminating");
  EXPECT_EQ(read->services[0].backends[0].node, "n2");
  EXPECT_TRUE(read->services[0].backends[0].local);
  EXPECT_FALSE(read->services[0].backends[0].in_cluster_set);
  EXPECT_TRUE(read->services[0].backends[0].in_local_set);
  EXPECT_EQ(read->services[0].internal_policy, "Cluster");
  EXPECT_EQ(read->services[0].external_policy, "Local");
  EXPECT_EQ(read->services[0].refused, "sl_slots is full");
  EXPECT_EQ(read->services[0].no_load_balancer_address, "no address yet");
  EXPECT_THAT(read->services[0].slices, ElementsAre("a-x"));
  EXPECT_THAT(read->services[0].slice_ports, ElementsAre("http/TCP"));
  EXPECT_TRUE(read->services[0].slices_have_port);
  ASSERT_THAT(read->unserved, SizeIs(1));
  EXPECT_EQ(read->unserved[0].name, "db");
  EXPECT_EQ(read->unserved[0].why, "headless");
  EXPECT_EQ(Json::parse(text)["maps"]["sl_flows"]["size"], 100);
}

TEST(SnapshotJsonTest, TextThatIsNotUtf8DoesNotSpoilTheRest) {
  Snapshot snapshot = Healthy();
  snapshot.problems = {{"a.yaml", "Service \xff", "\xc3"}};
  EXPECT_TRUE(report::ParseAgentSnapshot(SnapshotJson(snapshot, {})).ok());
}

TEST(DropsJsonTest, IsUnderstoodBySluicectl) {
  Snapshot snapshot = Healthy();
  DropSample sample;
  sample.time = absl::FromUnixSeconds(1500);
  sample.service = "default/a:http";
  sample.interface = "eth0";
  sample.event.reason = abi::SL_REASON_NO_ROUTE;
  sample.event.hook = abi::SL_HOOK_FROM_NET;
  sample.event.length = 74;
  sample.event.flow.source = IpAddress::Parse("2001:db8::1").value().ToAbi();
  sample.event.flow.source_port = htons(4000);
  sample.event.flow.destination = IpAddress::Parse("192.0.2.1").value().ToAbi();
  sample.event.flow.destination_port = htons(30080);
  sample.event.flow.protocol = IPPROTO_UDP;
  snapshot.drops = {sample};
  const auto read = report::ParseAgentDrops(DropsJson(snapshot));
  ASSERT_TRUE(read.ok());
  ASSERT_THAT(*read, SizeIs(1));
  EXPECT_EQ(read->front().reason, "no_route");
  EXPECT_EQ(read->front().source, "[2001:db8::1]:4000");
  EXPECT_EQ(read->front().destination, "192.0.2.1:30080");
  EXPECT_EQ(read->front().protocol, "UDP");
  EXPECT_EQ(read->front().hook, "from_net");
  EXPECT_EQ(read->front().length, 74u);
}

}  // namespace
}  // namespace sluice
