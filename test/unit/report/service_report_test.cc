// SPDX-License-Identifier: Apache-2.0
#include "control/report/service_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/report/backend_report.h"
#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

AgentSnapshot ExampleAgent() {
  AgentSnapshot agent;
  AgentService& web = agent.services.emplace_back();
  web.name_space = "default";
  web.name = "web";
  web.port_name = "http";
  web.protocol = "TCP";
  web.type = "LoadBalancer";
  web.id = 1;
  web.backends = {{Address("203.0.113.1"), 8080, "node-a", "ready"},
                  {Address("203.0.113.2"), 8080, "node-b", "ready"},
                  {Address("203.0.113.3"), 8080, "node-b", "terminating"}};
  return agent;
}

// The shape that issue 2 promises to scripts, to the letter; `failed` is a further field.
TEST(ServiceReportTest, JsonIsAsPromised) {
  const AgentSnapshot agent = ExampleAgent();
  const Json json = ServicesToJson(BuildServiceReports(ExampleState().state(), &agent));
  EXPECT_EQ(json.at(0), Json::parse(R"({
    "namespace": "default", "name": "web", "portName": "http", "protocol": "TCP",
    "type": "LoadBalancer",
    "frontends": [
      {"address": "198.51.100.1", "port": 80, "kind": "ClusterIP"},
      {"address": "2001:db8::a", "port": 80, "kind": "ClusterIP"},
      {"address": "192.0.2.10", "port": 30080, "kind": "NodePort"}],
    "backends": [
      {"address": "203.0.113.1", "port": 8080, "node": "node-a", "state": "ready",
       "connections": 2},
      {"address": "203.0.113.2", "port": 8080, "node": "node-b", "state": "ready",
       "connections": 0},
      {"address": "203.0.113.3", "port": 8080, "node": "node-b", "state": "terminating",
       "connections": 1}],
    "stats": {"packetsIn": 10, "bytesIn": 1000, "packetsOut": 9, "bytesOut": 90000, "opened": 4,
              "rejected": 3, "dropped": 2, "failed": 1}})"));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json.at(1), Json::parse(R"({
    "namespace": "kube-system", "name": "dns", "portName": "", "protocol": "UDP",
    "type": "ClusterIP",
    "frontends": [{"address": "198.51.100.2", "port": 53, "kind": "ClusterIP"}],
    "backends": [{"address": "203.0.113.1", "port": 5353, "node": "", "state": "ready",
                  "connections": 1}],
    "stats": {"packetsIn": 0, "bytesIn": 0, "packetsOut": 0, "bytesOut": 0, "opened": 0,
              "rejected": 0, "dropped": 0, "failed": 0}})"));
}

TEST(ServiceReportTest, WithoutAgentTypeAndStateComeFromTheMaps) {
  const auto services = BuildServiceReports(ExampleState().state(), nullptr);
  ASSERT_EQ(services.size(), 2u);
  EXPECT_EQ(services[0].type, "NodePort");
  ASSERT_EQ(services[0].backends.size(), 3u);
  EXPECT_EQ(services[0].backends[1].state, "ready");
  EXPECT_EQ(services[0].backends[2].state, "notReady");  // has a flow, is given no new ones
  EXPECT_EQ(services[0].backends[2].node, "");
  EXPECT_EQ(services[1].type, "ClusterIP");
}

TEST(ServiceReportTest, CountsOnlyOpenFlowsToLivingBackends) {
  PinnedStateBuilder builder = ExampleState();
  builder.Flow("203.0.113.52", 1, "198.51.100.1", 80, 1, 2, abi::SL_FLOW_RESET)
      .Flow("203.0.113.52", 2, "198.51.100.1", 80, 1, 2, abi::SL_FLOW_CLOSED)
      .Flow("203.0.113.52", 3, "198.51.100.1", 80, 1, 4)   // gone
      .Flow("203.0.113.52", 4, "198.51.100.1", 80, 1, 2);  // another endpoint by now:
  builder.state().backends[2].generation = 2;
  const auto services = BuildServiceReports(builder.state(), nullptr);
  ASSERT_EQ(services[0].backends.size(), 3u);
  EXPECT_EQ(services[0].backends[0].connections, 2u);
  EXPECT_EQ(services[0].backends[1].connections, 0u);
  EXPECT_EQ(services[0].backends[2].connections, 1u);
}

TEST(ServiceReportTest, TableHasOneLineAService) {
  EXPECT_EQ(ServicesToTable(BuildServiceReports(ExampleState().state(), nullptr)),
            "NAMESPACE    NAME  PORT  PROTOCOL  TYPE       FRONTENDS                             "
            "             READY  CONNECTIONS  OPENED     IN      OUT  REJECTED  DROPPED\n"
            "default      web   http  TCP       NodePort   "
            "198.51.100.1:80,[2001:db8::a]:80,192.0.2.10:30080    2/3            3       4  1000B"
            "  87.9KiB         3        2\n"
            "kube-system  dns   -     UDP       ClusterIP  198.51.100.2:53                       "
            "               1/1            1       0     0B       0B         0        0\n");
}

TEST(ServiceReportTest, TableShowsTheFirstFrontendsOfMany) {
  PinnedStateBuilder builder = ExampleState();
  builder.Frontend(1, "192.0.2.11", 30080, abi::SL_FRONTEND_NODE_PORT)
      .Frontend(1, "192.0.2.12", 30080, abi::SL_FRONTEND_NODE_PORT);
  EXPECT_THAT(ServicesToTable(BuildServiceReports(builder.state(), nullptr)),
              ::testing::HasSubstr(",192.0.2.10:30080,+2  "));
}

TEST(ServiceReportTest, DetailShowsEverything) {
  const auto services = BuildServiceReports(ExampleState().state(), nullptr);
  EXPECT_EQ(ServiceToDetail(services[0], {"note: of it"}),
            "Service default/web:http TCP, NodePort\n"
            "note: of it\n"
            "KIND       FRONTEND\n"
            "ClusterIP  198.51.100.1:80\n"
            "ClusterIP  [2001:db8::a]:80\n"
            "NodePort   192.0.2.10:30080\n"
            "BACKEND           NODE  STATE     CONNECTIONS  CONNECT P50 P90 P99\n"
            "203.0.113.1:8080  -     ready               2                    -\n"
            "203.0.113.2:8080  -     ready               0                    -\n"
            "203.0.113.3:8080  -     notReady            1                    -\n"
            "in: 10 packets, 1000B; out: 9 packets, 87.9KiB\n"
            "opened 4, rejected 3, dropped 2, failed 1\n");
}

// Three of web: one open and one reset, of backend 1, and one closed, of an endpoint that is gone.
PinnedStateBuilder WithSockets() {
  PinnedStateBuilder builder = ExampleState();
  abi::connection_stats& service = builder.state().connection_stats[{1, 0}];
  service.established = 3;
  service.failed = 4;
  service.closed = 1;
  service.reset = 1;
  service.bytes_in = 1024;
  service.bytes_out = 2048;
  service.retransmissions = 7;
  service.connect_us = 300;
  service.connect_times[6] = 2;  // 32 to 64 us
  service.connect_times[8] = 1;  // 128 to 256 us
  service.rtt_times[11] = 2;     // 1 to 2 ms
  abi::connection_stats& backend = builder.state().connection_stats[{0, 1}];
  backend.established = 2;
  backend.reset = 1;
  backend.connect_times[6] = 2;
  builder.state().connection_stats[{0, 4}].established = 1;
  return builder;
}

TEST(ServiceReportTest, SocketsAreReportedWhereThereWereAny) {
  const Json json = ServicesToJson(BuildServiceReports(WithSockets().state(), nullptr));
  EXPECT_EQ(json.at(0).at("sockets"), Json::parse(R"({
    "established": 3, "open": 1, "failed": 4, "closed": 1, "reset": 1, "bytesIn": 1024,
    "bytesOut": 2048, "retransmissions": 7,
    "connectMicroseconds": {"p50": 56.0, "p90": 218.0, "p99": 252.0, "mean": 100},
    "roundTripMicroseconds": {"p50": 1536.0, "p90": 1946.0, "p99": 2038.0}})"));
  EXPECT_EQ(json.at(0).at("backends").at(0).at("sockets").at("open"), 1);
  EXPECT_EQ(json.at(0).at("backends").at(0).at("connections"), 3) << "two flows and a socket";
  EXPECT_FALSE(json.at(0).at("backends").at(1).contains("sockets"));
  EXPECT_FALSE(json.at(1).contains("sockets"));
}

TEST(ServiceReportTest, DetailTellsOfSockets) {
  const auto services = BuildServiceReports(WithSockets().state(), nullptr);
  const std::string detail = ServiceToDetail(services[0], {});
  EXPECT_THAT(detail, ::testing::HasSubstr("ready               3       48us 61us 64us\n"));
  EXPECT_THAT(detail, ::testing::EndsWith(
                          "at connect(): established 3 (1 open, 1 ended by a reset), failed 4; in "
                          "1.00KiB, out 2.00KiB, retransmissions 7\n"
                          "connect time p50 56us, p90 218us, p99 252us; round trip p50 1.5ms, p90 "
                          "1.9ms, p99 2.0ms\n"));
}

TEST(BackendReportTest, ListsEndpointsThatExistWithTheirServices) {
  const AgentSnapshot agent = ExampleAgent();
  const Json json = BackendsToJson(BuildBackendReports(ExampleState().state(), &agent));
  EXPECT_EQ(json, Json::parse(R"([
    {"address": "203.0.113.1", "port": 5353, "protocol": "UDP", "node": "", "local": true,
     "state": "ready", "services": ["kube-system/dns"], "connections": 1, "opened": 0,
     "failed": 0},
    {"address": "203.0.113.1", "port": 8080, "protocol": "TCP", "node": "node-a", "local": true,
     "state": "ready", "services": ["default/web:http"], "connections": 2, "opened": 7,
     "failed": 1},
    {"address": "203.0.113.2", "port": 8080, "protocol": "TCP", "node": "node-b", "local": false,
     "state": "ready", "services": ["default/web:http"], "connections": 0, "opened": 0,
     "failed": 0},
    {"address": "203.0.113.3", "port": 8080, "protocol": "TCP", "node": "node-b", "local": false,
     "state": "terminating", "services": ["default/web:http"], "connections": 1, "opened": 0,
     "failed": 0}])"));
}

TEST(BackendReportTest, RowsOfOneEndpointMakeOneReport) {
  PinnedStateBuilder builder = ExampleState();
  builder.Service(3, "default", "web2", "http")
      .Backend(6, 3, "203.0.113.3", 8080, abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE)
      .Flow("203.0.113.53", 1, "198.51.100.1", 80, 3, 6);
  builder.state().backend_stats[3] = {2, 1};
  builder.state().backend_stats[6] = {40, 30};
  const auto backends = BuildBackendReports(builder.state(), nullptr);
  ASSERT_EQ(backends.size(), 4u);
  EXPECT_EQ(backends[3].state, "ready") << "for web2, though not for web";
  EXPECT_EQ(backends[3].connections, 2u);
  EXPECT_EQ(backends[3].opened, 42u);
  EXPECT_EQ(backends[3].failed, 31u);
  EXPECT_THAT(backends[3].services,
              ::testing::ElementsAre("default/web2:http", "default/web:http"));
}

TEST(BackendReportTest, TheBestStateOfSeveralServicesWins) {
  AgentSnapshot agent = ExampleAgent();
  agent.services.push_back(agent.services[0]);
  agent.services[1].name = "web2";
  agent.services[1].backends = {{Address("203.0.113.3"), 8080, "", "ready"}};
  agent.services.push_back(agent.services[0]);
  agent.services[2].name = "web3";
  agent.services[2].backends = {{Address("203.0.113.3"), 8080, "", "notReady"}};
  const auto backends = BuildBackendReports(ExampleState().state(), &agent);
  ASSERT_EQ(backends.size(), 4u);
  EXPECT_EQ(backends[3].state, "ready");
  EXPECT_EQ(backends[3].node, "node-b");
  EXPECT_THAT(backends[3].services,
              ::testing::ElementsAre("default/web2:http", "default/web3:http", "default/web:http"));
}

TEST(BackendReportTest, Table) {
  auto backends = BuildBackendReports(ExampleState().state(), nullptr);
  backends.resize(2);
  EXPECT_EQ(
      BackendsToTable(backends),
      "BACKEND           PROTOCOL  NODE  LOCAL  STATE  CONNECTIONS  OPENED  FAILED  SERVICES\n"
      "203.0.113.1:5353  UDP       -     yes    ready            1       0       0  "
      "kube-system/dns\n"
      "203.0.113.1:8080  TCP       -     yes    ready            2       7       1  "
      "default/web:http\n");
}

}  // namespace
}  // namespace sluice::report
