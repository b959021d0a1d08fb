// SPDX-License-Identifier: Apache-2.0
// Why a service gets no traffic, each reason by itself; of a service in both families and in one.
#include "control/report/service_notes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const ServicePortName kWeb{"default", "web", "http", IPPROTO_TCP};

// Service 1, default/web:http, with a ClusterIP and a node port of the families asked for, as maps
// and agent have it when all is well: one endpoint here and one elsewhere.
class ServiceNotesTest : public ::testing::Test {
 protected:
  ServiceNotesTest() {
    agent_.synced = true;
    service_.name_space = "default";
    service_.name = "web";
    service_.port_name = "http";
    service_.protocol = "TCP";
    service_.type = "NodePort";
    service_.id = 1;
    service_.internal_policy = "Cluster";
    service_.external_policy = "Cluster";
    service_.slices = {"web-a"};
    service_.slice_ports = {"http/TCP"};
    service_.slices_have_port = true;
    builder_.Service(1, "default", "web", "http");
  }

  void Serve(const std::string& cluster_ip, const std::string& node) {
    builder_.Frontend(1, cluster_ip, 80, abi::SL_FRONTEND_CLUSTER_IP);
    builder_.Frontend(1, node, 30080, abi::SL_FRONTEND_NODE_PORT);
    for (auto& [key, row] : builder_.state().frontends) {
      row.flags |= abi::SL_SERVICE_HAS_ENDPOINTS;
      row.slots[abi::SL_SCOPE_INTERNAL].count = 2;
      row.slots[abi::SL_SCOPE_EXTERNAL].count = 2;
    }
  }
  void ServeV4() { Serve("198.51.100.1", "192.0.2.10"); }
  void ServeV6() { Serve("2001:db8::a", "2001:db8:1::10"); }

  AgentBackend& Endpoint(const std::string& address, const std::string& state = "ready",
                         bool local = false) {
    constexpr int kUsable = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE;
    const bool ready = state == "ready";
    builder_.Backend(next_id_++, 1, address, 8080, ready ? kUsable : abi::SL_BACKEND_PRESENT);
    service_.backends.push_back({Address(address), 8080, "", state, local, ready, ready && local});
    return service_.backends.back();
  }
  abi::service& Row(std::size_t at) { return builder_.state().frontends[at].second; }

  std::vector<std::string> Notes() {
    return ServiceNotes(builder_.state(), service_.id, kWeb, &service_, &agent_, samples_);
  }
  std::vector<std::string> NotesWithoutAgent() {
    return ServiceNotes(builder_.state(), 1, kWeb, nullptr, nullptr, {});
  }

  PinnedStateBuilder builder_;
  AgentSnapshot agent_;
  AgentService service_;
  std::vector<AgentDrop> samples_;
  std::uint32_t next_id_ = 1;
};

TEST_F(ServiceNotesTest, AServiceThatIsFineSaysNothing) {
  ServeV4();
  ServeV6();
  Endpoint("203.0.113.1");
  Endpoint("2001:db8:2::1", "ready", true);
  Endpoint("203.0.113.2", "notReady");
  EXPECT_THAT(Notes(), IsEmpty());
}

TEST_F(ServiceNotesTest, NoSliceAtAll) {
  ServeV4();
  service_.slices.clear();
  EXPECT_THAT(Notes(), ElementsAre(HasSubstr("no EndpointSlice names it")));
}

TEST_F(ServiceNotesTest, SlicesWithoutThePort) {
  ServeV4();
  service_.slices_have_port = false;
  service_.slice_ports = {"metrics/TCP", "web/TCP"};
  EXPECT_THAT(Notes(), ElementsAre("its EndpointSlices have no port \"http\" of TCP, they have "
                                   "\"metrics/TCP\", \"web/TCP\": traffic is rejected"));
}

TEST_F(ServiceNotesTest, SlicesWithoutEndpoints) {
  ServeV6();
  EXPECT_THAT(Notes(), ElementsAre("it has no endpoints: traffic is rejected"));
}

TEST_F(ServiceNotesTest, NoneReadyIsSaidOnceForBothFamilies) {
  ServeV4();
  ServeV6();
  Endpoint("203.0.113.1", "notReady");
  Endpoint("2001:db8:2::1", "notReady");
  EXPECT_THAT(Notes(),
              ElementsAre("none of its 1 endpoints is ready (1 not ready): traffic is rejected"));
}

TEST_F(ServiceNotesTest, OneFamilyWithoutEndpoints) {
  ServeV4();
  ServeV6();
  Endpoint("203.0.113.1");
  EXPECT_THAT(Notes(), ElementsAre("IPv6: it has no endpoints: traffic is rejected"));
}

TEST_F(ServiceNotesTest, OnlyTerminatingOnesInUse) {
  ServeV6();
  Endpoint("2001:db8:2::1", "terminating").in_cluster_set = true;
  builder_.state().backends[1].flags |= abi::SL_BACKEND_USABLE;
  EXPECT_THAT(Notes(),
              ElementsAre("no endpoint is ready; 1 that are terminating and still serve are used"));
}

TEST_F(ServiceNotesTest, PoliciesLocalWithNoneHere) {
  ServeV4();
  ServeV6();
  Endpoint("203.0.113.1");
  Endpoint("2001:db8:2::1", "ready", true);
  service_.external_policy = "Local";
  EXPECT_THAT(Notes(), ElementsAre(StartsWith("IPv4: externalTrafficPolicy is Local and no usable "
                                              "endpoint is on this node: traffic from outside")));
  service_.external_policy = "Cluster";
  service_.internal_policy = "Local";
  EXPECT_THAT(Notes(), ElementsAre(StartsWith("IPv4: internalTrafficPolicy is Local")));
}

TEST_F(ServiceNotesTest, PolicyLocalWithOnlyTerminatingOnesHere) {
  ServeV6();
  Endpoint("2001:db8:2::1");
  Endpoint("2001:db8:2::2", "terminating", true).in_local_set = true;
  builder_.state().backends[2].flags |= abi::SL_BACKEND_USABLE;
  EXPECT_THAT(Notes(), IsEmpty());
  service_.external_policy = "Local";
  EXPECT_THAT(Notes(), ElementsAre(HasSubstr("no endpoint of this node is ready; 1 terminating")));
}

TEST_F(ServiceNotesTest, APolicyWithoutAnythingThatItGovernsIsNothingToTell) {
  builder_.Frontend(1, "198.51.100.1", 80, abi::SL_FRONTEND_CLUSTER_IP);
  Endpoint("203.0.113.1");
  service_.external_policy = "Local";
  EXPECT_THAT(Notes(), IsEmpty());
}

TEST_F(ServiceNotesTest, EndpointsThatAreNotInTheMapsYet) {
  ServeV6();
  Endpoint("2001:db8:2::1");
  Endpoint("2001:db8:2::2");
  builder_.state().backends.erase(2);
  EXPECT_THAT(Notes(),
              ElementsAre("1 endpoint(s) that should take connections are not in the maps yet, the "
                          "first is [2001:db8:2::2]:8080"));
}

TEST_F(ServiceNotesTest, WhatNoPolicyAsksForNeedNotBeInTheMaps) {
  ServeV4();
  Endpoint("203.0.113.1");
  AgentBackend& hinted_away = Endpoint("203.0.113.2", "ready", true);
  hinted_away.in_cluster_set = false;
  builder_.state().backends[2].flags = abi::SL_BACKEND_PRESENT;
  EXPECT_THAT(Notes(), IsEmpty());
  service_.external_policy = "Local";
  EXPECT_THAT(Notes(), ElementsAre(HasSubstr("the first is 203.0.113.2:8080")));
}

TEST_F(ServiceNotesTest, RefusedForWantOfRoom) {
  service_.id = 0;
  service_.refused = "sl_services is full";
  Endpoint("203.0.113.1");
  EXPECT_THAT(Notes(), ElementsAre("not in the maps: sl_services is full"));
}

TEST_F(ServiceNotesTest, ConflictsOfThisPortAlone) {
  ServeV4();
  Endpoint("203.0.113.1");
  agent_.conflicts = {
      "Service default/web: node port 30080/TCP of port \"http\" is Service default/old's, which "
      "is "
      "older",
      "Service default/web: node port 30081/TCP of port \"other\" is Service default/old's",
      "Service default/web2: node port 30080/TCP of port \"http\" is Service default/old's"};
  EXPECT_THAT(Notes(), ElementsAre("not served: node port 30080/TCP of port \"http\" is Service "
                                   "default/old's, which is older"));
}

TEST_F(ServiceNotesTest, LoadBalancerWithoutAddress) {
  ServeV4();
  Endpoint("203.0.113.1");
  service_.no_load_balancer_address = "status.loadBalancer has no address yet";
  EXPECT_THAT(Notes(), ElementsAre("status.loadBalancer has no address yet"));
}

TEST_F(ServiceNotesTest, DropsOfTheServiceTheMostFirst) {
  ServeV4();
  Endpoint("203.0.113.1");
  builder_.state().drops = {{{abi::SL_REASON_NO_BACKEND, 1}, {3}},
                            {{abi::SL_REASON_SOURCE_DENIED, 1}, {412}},
                            {{abi::SL_REASON_FLOWS_FULL, 1}, {9}},
                            {{abi::SL_REASON_SOURCE_DENIED, 2}, {999}}};
  samples_.resize(2);
  samples_[0].time = "2026-11-23T10:00:00+00:00";
  samples_[0].reason = "source_denied";
  samples_[0].service = "default/web:http";
  samples_[1] = samples_[0];
  samples_[1].service = "default/other:http";
  samples_[1].time = "2026-11-23T11:00:00+00:00";
  EXPECT_THAT(
      Notes(),
      ElementsAre("412 packets dropped: source_denied (the client is in none of the "
                  "loadBalancerSourceRanges), the last sampled at 2026-11-23T10:00:00+00:00",
                  "3 packets rejected: no_backend (no endpoint is usable, here or elsewhere)"));
}

TEST_F(ServiceNotesTest, AnAgentThatIsNotInSyncOrNotThere) {
  ServeV4();
  Endpoint("203.0.113.1");
  agent_.synced = false;
  EXPECT_THAT(Notes(), ElementsAre(StartsWith("the agent has not put in the maps")));
  EXPECT_THAT(NotesWithoutAgent(), ElementsAre(StartsWith("no agent runs")));
}

TEST_F(ServiceNotesTest, WithoutAgentTheRowsTell) {
  ServeV4();
  Row(1).slots[abi::SL_SCOPE_EXTERNAL].count = 0;
  EXPECT_THAT(NotesWithoutAgent(), ElementsAre(StartsWith("no agent runs"),
                                               StartsWith("externalTrafficPolicy is Local")));
  Row(0).slots[abi::SL_SCOPE_INTERNAL].count = 0;
  Row(1).slots[abi::SL_SCOPE_EXTERNAL].count = 2;
  EXPECT_THAT(NotesWithoutAgent(), ElementsAre(StartsWith("no agent runs"),
                                               StartsWith("internalTrafficPolicy is Local")));
  ServeV6();
  for (std::size_t at : {2, 3}) {
    Row(at).flags = 0;
    Row(at).slots[abi::SL_SCOPE_INTERNAL].count = Row(at).slots[abi::SL_SCOPE_EXTERNAL].count = 0;
  }
  EXPECT_THAT(NotesWithoutAgent(), testing::Contains("IPv6: no endpoint takes new connections: "
                                                     "traffic is rejected"));
}

TEST(ServiceProblemsTest, TakesThoseOfTheServiceAndItsSlices) {
  AgentSnapshot agent;
  agent.problems = {{"web.yaml", "Service default/web", "a"},
                    {"", "EndpointSlice default/web-a", "b"},
                    {"", "EndpointSlice default/web-b", "c"},
                    {"", "EndpointSlice shop/web-a", "d"},
                    {"", "Service default/web2", "e"}};
  const auto problems = ServiceProblems(agent, "default", "web", {"web-a"});
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].message, "a");
  EXPECT_EQ(problems[1].message, "b");
}

}  // namespace
}  // namespace sluice::report
