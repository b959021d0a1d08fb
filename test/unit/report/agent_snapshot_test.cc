// SPDX-License-Identifier: Apache-2.0
#include "control/report/agent_snapshot.h"

#include <netinet/in.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/status_matchers.h"

namespace sluice::report {
namespace {

using ::sluice::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(AgentSnapshotTest, ReadsEveryField) {
  const auto snapshot = ParseAgentSnapshot(R"({
    "nodeName": "node-a", "startedAt": "2026-11-23T06:00:00Z", "synced": true,
    "sourceGeneration": 7, "appliedGeneration": 6,
    "degraded": ["map sl_flows is full"],
    "problems": [{"origin": "a.yaml", "object": "Service default/web", "message": "a.yaml:3: bad"}],
    "conflicts": ["default/a and default/b claim NodePort 30080"],
    "interfaces": [{"name": "veth1", "ifindex": 5, "role": "pod", "hooks": ["from_pod", "to_pod"],
                    "attach": "tcx", "error": ""}],
    "nodeAddresses": ["192.0.2.1"], "features": {"tcx": true},
    "services": [{"namespace": "default", "name": "web", "portName": "http", "protocol": "TCP",
                  "type": "NodePort", "id": 3, "backends": [
                    {"address": "2001:db8::1", "port": 80, "node": "node-b", "state": "ready"}]}],
    "listenersShadowed": [{"port": 30080, "protocol": "TCP", "service": "default/web:http",
                           "process": "nginx"}],
    "timeouts": {"udp": 60}, "maps": {"sl_flows": {"used": 1, "size": 2}}, "unknown": []})");
  ASSERT_THAT(snapshot, testing::IsOk());
  EXPECT_EQ(snapshot->node_name, "node-a");
  EXPECT_EQ(snapshot->started_at, "2026-11-23T06:00:00Z");
  EXPECT_TRUE(snapshot->synced);
  EXPECT_EQ(snapshot->source_generation, 7u);
  EXPECT_EQ(snapshot->applied_generation, 6u);
  EXPECT_THAT(snapshot->degraded, ElementsAre("map sl_flows is full"));
  ASSERT_EQ(snapshot->problems.size(), 1u);
  EXPECT_EQ(snapshot->problems[0].message, "a.yaml:3: bad");
  EXPECT_THAT(snapshot->conflicts, ElementsAre("default/a and default/b claim NodePort 30080"));
  ASSERT_EQ(snapshot->interfaces.size(), 1u);
  EXPECT_EQ(snapshot->interfaces[0].ifindex, 5u);
  EXPECT_THAT(snapshot->interfaces[0].hooks, ElementsAre("from_pod", "to_pod"));
  ASSERT_EQ(snapshot->services.size(), 1u);
  ASSERT_EQ(snapshot->services[0].backends.size(), 1u);
  EXPECT_EQ(snapshot->services[0].backends[0].address.ToString(), "2001:db8::1");
  EXPECT_EQ(snapshot->services[0].backends[0].node, "node-b");
  ASSERT_EQ(snapshot->listeners_shadowed.size(), 1u);
  EXPECT_EQ(snapshot->listeners_shadowed[0].process, "nginx");
  EXPECT_EQ(snapshot->features, Json({{"tcx", true}}));
  EXPECT_EQ(snapshot->timeouts, Json({{"udp", 60}}));
}

TEST(AgentSnapshotTest, MissingFieldsKeepTheirDefaults) {
  const auto snapshot = ParseAgentSnapshot(R"({"nodeName": null})");
  ASSERT_THAT(snapshot, testing::IsOk());
  EXPECT_EQ(snapshot->node_name, "");
  EXPECT_FALSE(snapshot->synced);
  EXPECT_TRUE(snapshot->services.empty());
}

TEST(AgentSnapshotTest, ObjectsAmongSentencesAreShownBySubjectAndMessage) {
  const auto snapshot = ParseAgentSnapshot(
      R"({"conflicts": [{"object": "Service default/b", "message": "port is taken"}]})");
  ASSERT_THAT(snapshot, testing::IsOk());
  EXPECT_THAT(snapshot->conflicts, ElementsAre("Service default/b: port is taken"));
}

TEST(AgentSnapshotTest, OtherTypesAndOtherTextAreErrors) {
  for (const char* body : {"", "hello", "{", R"({"synced": "yes"})", R"({"problems": 3})",
                           R"({"services": [{"backends": [7]}]})", R"({"degraded": "x"})"}) {
    EXPECT_THAT(ParseAgentSnapshot(body), StatusIs(absl::StatusCode::kInvalidArgument)) << body;
  }
}

TEST(AgentSnapshotTest, ServicesAreFoundByName) {
  AgentSnapshot snapshot;
  AgentService& dns = snapshot.services.emplace_back();
  dns.name_space = "default";
  dns.name = "dns";
  dns.protocol = "UDP";
  dns.id = 4;
  const auto services = ServicesByName(&snapshot);
  ASSERT_EQ(services.count({"default", "dns", "", IPPROTO_UDP}), 1u);
  EXPECT_EQ(services.at({"default", "dns", "", IPPROTO_UDP})->id, 4u);
  EXPECT_TRUE(ServicesByName(nullptr).empty());
}

TEST(AgentDropsTest, ReadsAnArrayOrAnObject) {
  const std::string sample =
      R"([{"time": "2026-11-23T06:00:00Z", "reason": "no_backend", "service": "default/web",
           "source": "192.0.2.1:4000", "destination": "198.51.100.1:80", "protocol": "TCP",
           "interface": "eth0", "hook": "from_net", "length": 74}])";
  for (const std::string& body : {sample, "{\"samples\": " + sample + "}"}) {
    const auto drops = ParseAgentDrops(body);
    ASSERT_THAT(drops, testing::IsOk());
    ASSERT_EQ(drops->size(), 1u);
    EXPECT_EQ((*drops)[0].reason, "no_backend");
    EXPECT_EQ((*drops)[0].length, 74u);
  }
  EXPECT_THAT(ParseAgentDrops("[3]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not as expected")));
}

}  // namespace
}  // namespace sluice::report
