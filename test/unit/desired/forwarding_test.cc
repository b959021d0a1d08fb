// SPDX-License-Identifier: Apache-2.0
// Which Services have their packets passed on to other nodes, and what they have for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <vector>

#include "control/desired/build_desired_state.h"
#include "control/desired/desired_tracker.h"
#include "control/desired/node_table.h"
#include "test/support/service_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ServiceBuilder;
using testing::SliceBuilder;

constexpr char kAnnotation[] = "sluice.io/forwarding";

NodeConfig TestNode(Forwarding forwarding = Forwarding::kSnat) {
  NodeConfig node;
  node.node_name = "here";
  node.node_port_addresses = {*IpAddress::Parse("192.0.2.100")};
  node.forwarding = forwarding;
  return node;
}

ServiceBuilder Web() {
  ServiceBuilder service;
  service.ClusterIp("10.96.0.1").Type("LoadBalancer").ExternalIp("198.51.100.7");
  service.Ingress("203.0.113.80").Port(80, "http", "TCP", 30080).Port(53, "dns", "UDP", 30053);
  service.Port(90, "sctp", "SCTP", 30090);
  return service;
}

std::vector<std::string> Tunnelled(const DesiredService& port) {
  std::vector<std::string> texts;
  for (const Frontend& f : port.frontends) {
    if (f.kind != abi::SL_FRONTEND_TUNNELLED) continue;
    EXPECT_EQ(f.protocol, port.name.protocol | abi::SL_PROTOCOL_TUNNELLED);
    texts.push_back(absl::StrCat(f.address.ToString(), " ", f.port));
  }
  return texts;
}

// "TU": of the ports TCP, UDP and SCTP those that are passed on.
std::string PassedOn(const BuiltService& built) {
  std::string letters;
  for (const DesiredService& port : built.ports) {
    EXPECT_EQ(port.dsr, !Tunnelled(port).empty());
    if (port.dsr) letters += "TUS"[&port - built.ports.data()];
  }
  return letters;
}

TEST(ForwardingTest, TheAnnotationOutweighsTheFlag) {
  for (const auto& [flag, by_flag] :
       {std::pair(Forwarding::kSnat, ""), std::pair(Forwarding::kDsr, "TU"),
        std::pair(Forwarding::kHybrid, "T")}) {
    EXPECT_EQ(PassedOn(BuildService(Web().Build(), {}, TestNode(flag))), by_flag);
    for (const auto& [word, wanted] :
         {std::pair("snat", ""), std::pair("dsr", "TU"), std::pair("hybrid", "T")}) {
      const BuiltService built =
          BuildService(Web().Annotation(kAnnotation, word).Build(), {}, TestNode(flag));
      EXPECT_EQ(PassedOn(built), wanted) << word;
      EXPECT_THAT(built.problems, IsEmpty());
    }
  }
}

TEST(ForwardingTest, AnotherWordIsToldAndTheFlagHolds) {
  const BuiltService built =
      BuildService(Web().Annotation(kAnnotation, "direct").Build(), {}, TestNode(Forwarding::kDsr));
  EXPECT_EQ(PassedOn(built), "TU");
  ASSERT_EQ(built.problems.size(), 1u);
  EXPECT_THAT(built.problems[0].message,
              HasSubstr("sluice.io/forwarding: unknown value \"direct\", there are snat, dsr and "
                        "hybrid"));
}

TEST(ForwardingTest, WhatTheNetworkReachesIsThereForOtherNodesToo) {
  const BuiltService built = BuildService(Web().Build(), {}, TestNode(Forwarding::kDsr));
  EXPECT_THAT(Tunnelled(built.ports.at(0)),
              ElementsAre("192.0.2.100 30080", "198.51.100.7 80", "203.0.113.80 80"));
}

TEST(ForwardingTest, WithPolicyLocalNothingIsPassedOn) {
  ServiceBuilder service = Web();
  service.spec().set_external_traffic_policy("Local");
  const BuiltService built = BuildService(service.Build(), {}, TestNode(Forwarding::kDsr));
  for (const DesiredService& port : built.ports) EXPECT_THAT(Tunnelled(port), IsEmpty());
}

TEST(ForwardingTest, BackendsNameTheirNodeOnlyWhereItMatters) {
  ClusterState cluster("here");
  model::Node other;
  other.mutable_metadata()->set_name("other");
  model::NodeAddress& address = *other.mutable_status()->add_addresses();
  address.set_type("InternalIP");
  address.set_address("192.0.2.11");
  cluster.SetNode(other);
  NodeTable nodes;
  nodes.Update(cluster, {"kube-system", "sluice"});
  NodeConfig config = TestNode();
  config.nodes = &nodes;
  const model::EndpointSlice slice = SliceBuilder()
                                         .Endpoint("10.0.0.1", "here")
                                         .Endpoint("10.0.0.2")
                                         .Endpoint("10.0.0.3", "")
                                         .Build();
  const std::vector<const model::EndpointSlice*> slices = {&slice};
  for (const char* word : {"snat", "dsr"}) {
    const BuiltService built =
        BuildService(Web().Annotation(kAnnotation, word).Build(), slices, config);
    const auto& backends = built.ports.at(0).backends;
    ASSERT_EQ(backends.size(), 3u);
    EXPECT_EQ(backends[0].node, 0u);
    EXPECT_EQ(backends[1].node, built.ports[0].dsr ? nodes.IndexOf("other") : 0u);
    EXPECT_EQ(backends[2].node, 0u);
  }
}

TEST(ForwardingTest, AConflictIsToldOnce) {
  ClusterState cluster("here");
  for (const char* name : {"one", "two"}) {
    ServiceBuilder service(name);
    service.ClusterIp(name == std::string("one") ? "10.96.0.1" : "10.96.0.2");
    service.Created(name == std::string("one") ? 1 : 2).ExternalIp("198.51.100.7");
    cluster.SetService(service.Annotation(kAnnotation, "dsr").Build());
  }
  const DesiredState state = BuildDesiredState(cluster, TestNode());
  ASSERT_EQ(state.problems.size(), 1u);
  EXPECT_THAT(state.problems[0].message, HasSubstr("198.51.100.7:80/TCP"));
  const auto& loser = state.services.at({"default", "two", "http", IPPROTO_TCP});
  EXPECT_THAT(Tunnelled(loser), IsEmpty());
}

}  // namespace
}  // namespace sluice
