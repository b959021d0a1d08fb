// SPDX-License-Identifier: Apache-2.0
// Which Services count, and which frontends they get.
#include "control/desired/build_desired_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "test/support/service_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing::ServiceBuilder;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kProxyName[] = "service.kubernetes.io/service-proxy-name";

NodeConfig TestNode() {
  NodeConfig node;
  node.node_name = "here";
  node.node_port_addresses = {*IpAddress::Parse("192.0.2.100"), *IpAddress::Parse("2001:db8::100")};
  return node;
}

BuiltService Build(const ServiceBuilder& service, const NodeConfig& node = TestNode()) {
  return BuildService(service.Build(), {}, node);
}

ServiceBuilder Web() { return ServiceBuilder().ClusterIp("10.96.0.1"); }
ServiceBuilder DualStackWeb() { return Web().ClusterIp("fd00:96::1"); }

// "ClusterIP 10.96.0.1 80 6", without the rows of addresses.
std::vector<std::string> Frontends(const BuiltService& built, std::size_t port = 0) {
  const char* kKinds[] = {"", "ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"};
  std::vector<std::string> texts;
  if (port >= built.ports.size()) return texts;
  for (const Frontend& f : built.ports[port].frontends) {
    if (abi::frontend_is_address(f.kind)) continue;
    texts.push_back(
        absl::StrCat(kKinds[f.kind], " ", f.address.ToString(), " ", f.port, " ", f.protocol));
  }
  return texts;
}

std::vector<std::string> AddressRows(const BuiltService& built) {
  std::vector<std::string> texts;
  for (const Frontend& f : built.ports.at(0).frontends) {
    if (abi::frontend_is_address(f.kind)) texts.push_back(f.address.ToString());
  }
  return texts;
}

std::vector<std::string> Messages(const BuiltService& built) {
  std::vector<std::string> messages;
  for (const Problem& problem : built.problems) {
    EXPECT_EQ(problem.object, "Service default/web");
    messages.push_back(problem.message);
  }
  return messages;
}

TEST(BuildServiceTest, ServesClusterIpsOfBothFamilies) {
  const BuiltService built = Build(DualStackWeb());
  EXPECT_THAT(Frontends(built),
              UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "ClusterIP fd00:96::1 80 6"));
  EXPECT_THAT(AddressRows(built), UnorderedElementsAre("10.96.0.1", "fd00:96::1"));
  EXPECT_EQ(built.ports[0].name, (ServicePortName{"default", "web", "http", 6}));
  EXPECT_THAT(built.problems, IsEmpty());
}

TEST(BuildServiceTest, ReadsClusterIpWhenThereAreNoClusterIps) {
  ServiceBuilder service;
  service.spec().set_cluster_ip("10.96.0.9");
  EXPECT_THAT(Frontends(Build(service)), ElementsAre("ClusterIP 10.96.0.9 80 6"));
}

TEST(BuildServiceTest, SkipsServicesThatAreNotItsOwn) {
  ServiceBuilder headless;
  headless.spec().set_cluster_ip("None");
  ServiceBuilder headless_list;
  headless_list.ClusterIp("None");
  const ServiceBuilder skipped[] = {headless,
                                    headless_list,
                                    ServiceBuilder(),
                                    Web().Type("ExternalName"),
                                    Web().Label(kProxyName, "another"),
                                    Web().Label("service.kubernetes.io/headless", "")};
  for (const ServiceBuilder& service : skipped) {
    const BuiltService built = Build(service);
    EXPECT_THAT(built.ports, IsEmpty()) << service.Build().ShortDebugString();
    EXPECT_THAT(built.problems, IsEmpty());
  }
  EXPECT_THAT(Build(Web().Label(kProxyName, "sluice")).ports, SizeIs(1)) << "the label names us";
}

TEST(BuildServiceTest, NodePortIsOnEveryNodeAddressOfTheServicesFamilies) {
  const auto node_port = [](ServiceBuilder service) {
    return Frontends(Build(service.Type("NodePort").Port(80, "http", "TCP", 30080)));
  };
  EXPECT_THAT(node_port(Web()),
              UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "NodePort 192.0.2.100 30080 6"));
  EXPECT_THAT(node_port(ServiceBuilder().ClusterIp("fd00:96::1")),
              UnorderedElementsAre("ClusterIP fd00:96::1 80 6", "NodePort 2001:db8::100 30080 6"));
  EXPECT_THAT(node_port(DualStackWeb()), SizeIs(4));
}

TEST(BuildServiceTest, NodePortIsNeverOnLoopback) {
  NodeConfig node = TestNode();
  node.node_port_addresses = {*IpAddress::Parse("127.0.0.1"), *IpAddress::Parse("::1")};
  EXPECT_THAT(
      Frontends(Build(DualStackWeb().Type("NodePort").Port(80, "http", "TCP", 30080), node)),
      UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "ClusterIP fd00:96::1 80 6"));
}

TEST(BuildServiceTest, NodePortOfClusterIpServiceIsNotServed) {
  EXPECT_THAT(Frontends(Build(Web().Port(80, "http", "TCP", 30080))),
              ElementsAre("ClusterIP 10.96.0.1 80 6"));
}

TEST(BuildServiceTest, NodePortThatWouldHideAListenerIsRefused) {
  NodeConfig node = TestNode();
  node.refused_node_ports = {{6, 22}};
  const BuiltService tcp = Build(Web().Type("NodePort").Port(80, "http", "TCP", 22), node);
  EXPECT_THAT(Frontends(tcp), ElementsAre("ClusterIP 10.96.0.1 80 6"));
  EXPECT_THAT(Messages(tcp), ElementsAre(HasSubstr("node port 22/TCP is refused")));
  const BuiltService udp = Build(Web().Type("NodePort").Port(80, "http", "UDP", 22), node);
  EXPECT_THAT(Frontends(udp), SizeIs(2));
}

TEST(BuildServiceTest, SameNumberMayServeTcpAndUdp) {
  const BuiltService built = Build(Web().Port(53, "dns", "UDP").Port(53, "dns-tcp", "TCP"));
  EXPECT_THAT(Frontends(built, 0), ElementsAre("ClusterIP 10.96.0.1 53 17"));
  EXPECT_THAT(Frontends(built, 1), ElementsAre("ClusterIP 10.96.0.1 53 6"));
}

TEST(BuildServiceTest, SctpIsATransportLikeTheOthers) {
  const BuiltService built = Build(Web().Port(80).Port(9, "sctp", "SCTP"));
  ASSERT_THAT(built.ports, SizeIs(2));
  EXPECT_THAT(Frontends(built, 1), ElementsAre("ClusterIP 10.96.0.1 9 132"));
  EXPECT_THAT(Messages(built), IsEmpty());
}

TEST(BuildServiceTest, ExternalIpsAreOfTheServicesFamiliesOnly) {
  const BuiltService built = Build(Web().ExternalIp("198.51.100.7").ExternalIp("2001:db8::7"));
  EXPECT_THAT(Frontends(built),
              UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "ExternalIP 198.51.100.7 80 6"));
  EXPECT_THAT(Messages(built), ElementsAre(HasSubstr("externalIPs: 2001:db8::7 is skipped")));
  EXPECT_THAT(Frontends(Build(ServiceBuilder().ClusterIp("fd00:96::1").ExternalIp("2001:db8::7"))),
              UnorderedElementsAre("ClusterIP fd00:96::1 80 6", "ExternalIP 2001:db8::7 80 6"));
}

// Another port of an external address, or of a machine that is its own balancer, is that machine's.
TEST(BuildServiceTest, AddressesThatOnlyServicesHaveGetAnAddressRow) {
  const ServiceBuilder service =
      Web().Type("LoadBalancer").ExternalIp("198.51.100.7").Ingress("203.0.113.7");
  EXPECT_THAT(AddressRows(Build(service)), UnorderedElementsAre("10.96.0.1", "203.0.113.7"));
  NodeConfig node;
  node.machine_addresses = {*IpAddress::Parse("203.0.113.7")};
  EXPECT_THAT(AddressRows(Build(service, node)), ElementsAre("10.96.0.1"));
}

TEST(BuildServiceTest, TheAlgorithmIsAnAnnotations) {
  const auto algorithm = [](std::map<std::string, std::string> annotations) {
    ServiceBuilder service = Web();
    for (const auto& [key, value] : annotations) service.Annotation(key, value);
    const BuiltService built = Build(service);
    return std::pair(built.ports.at(0).algorithm, Messages(built));
  };
  constexpr char kAlgorithm[] = "sluice.io/algorithm", kHash[] = "sluice.io/hash";
  const auto is = [](abi::sl_algorithm expected) { return Pair(expected, IsEmpty()); };
  EXPECT_THAT(algorithm({}), is(abi::SL_ALGORITHM_RANDOM));
  EXPECT_THAT(algorithm({{"example.org/algorithm", "x"}}), is(abi::SL_ALGORITHM_RANDOM));
  EXPECT_THAT(algorithm({{kAlgorithm, "random"}}), is(abi::SL_ALGORITHM_RANDOM));
  EXPECT_THAT(algorithm({{kAlgorithm, "maglev"}}), is(abi::SL_ALGORITHM_MAGLEV));
  EXPECT_THAT(algorithm({{kAlgorithm, "maglev"}, {kHash, "5-tuple"}}),
              is(abi::SL_ALGORITHM_MAGLEV));
  EXPECT_THAT(algorithm({{kAlgorithm, "maglev"}, {kHash, "source"}}),
              is(abi::SL_ALGORITHM_MAGLEV_SOURCE));
  EXPECT_THAT(algorithm({{kAlgorithm, "least-connection"}}),
              is(abi::SL_ALGORITHM_LEAST_CONNECTION));
  const auto problem = [](abi::sl_algorithm expected, const std::string& text) {
    return Pair(expected, ElementsAre(HasSubstr(text)));
  };
  EXPECT_THAT(
      algorithm({{kAlgorithm, "fastest"}}),
      problem(abi::SL_ALGORITHM_RANDOM,
              "sluice.io/algorithm: unknown value \"fastest\", there are random, maglev and "
              "least-connection; taken as random"));
  EXPECT_THAT(algorithm({{kAlgorithm, "maglev"}, {kHash, "cookie"}}),
              problem(abi::SL_ALGORITHM_MAGLEV, "unknown value \"cookie\""));
  EXPECT_THAT(algorithm({{kHash, "source"}}),
              problem(abi::SL_ALGORITHM_RANDOM, "has no effect without"));
  EXPECT_THAT(algorithm({{"sluice.io/algoritm", "maglev"}}),
              problem(abi::SL_ALGORITHM_RANDOM, "sluice.io/algoritm: not known"));
}

TEST(BuildServiceTest, IngressAddressesAreServedUnlessTheBalancerProxies) {
  ServiceBuilder service = Web().Type("LoadBalancer");
  service.Ingress("203.0.113.1").Ingress("203.0.113.2", "VIP").Ingress("203.0.113.3", "Proxy");
  service.spec().set_load_balancer_ip("203.0.113.9");
  EXPECT_THAT(Frontends(Build(service)),
              UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "LoadBalancer 203.0.113.1 80 6",
                                   "LoadBalancer 203.0.113.2 80 6"));
  EXPECT_THAT(Frontends(Build(service.Type("NodePort"))), ElementsAre("ClusterIP 10.96.0.1 80 6"))
      << "no longer a balancer's";
}

TEST(BuildServiceTest, AddressThatIsExternalAndIngressIsOneFrontend) {
  const BuiltService built =
      Build(Web().Type("LoadBalancer").ExternalIp("203.0.113.1").Ingress("203.0.113.1"));
  EXPECT_THAT(Frontends(built),
              UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "ExternalIP 203.0.113.1 80 6"));
}

TEST(BuildServiceTest, BadAddressesAreReportedAndTheRestStands) {
  for (const char* bad : {"010.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "127.0.0.1", "::1",
                          "example.org", "1.2.3", "::ffff:1.2.3.4"}) {
    const BuiltService built = Build(DualStackWeb().ExternalIp(bad).ExternalIp("198.51.100.7"));
    EXPECT_THAT(Frontends(built),
                UnorderedElementsAre("ClusterIP 10.96.0.1 80 6", "ClusterIP fd00:96::1 80 6",
                                     "ExternalIP 198.51.100.7 80 6"))
        << bad;
    EXPECT_THAT(Messages(built), ElementsAre(HasSubstr(absl::StrCat("\"", bad, "\"")))) << bad;
  }
  const BuiltService built = Build(ServiceBuilder().ClusterIp("010.96.0.1").ClusterIp("fd00::1"));
  EXPECT_THAT(Frontends(built), ElementsAre("ClusterIP fd00::1 80 6"));
}

TEST(BuildServiceTest, BadPortsAreReportedAndTheRestStands) {
  const BuiltService built = Build(Web()
                                       .Type("NodePort")
                                       .Port(0, "zero")
                                       .Port(65536, "big")
                                       .Port(80, "web", "TCP", 70000)
                                       .Port(81, "odd", "ICMP")
                                       .Port(82, "web"));
  ASSERT_THAT(built.ports, SizeIs(1));
  EXPECT_EQ(built.ports[0].name.port_name, "web");
  EXPECT_THAT(Frontends(built), ElementsAre("ClusterIP 10.96.0.1 80 6"));
  EXPECT_THAT(Messages(built), ElementsAre(HasSubstr("\"zero\" (0): not within 1-65535"),
                                           HasSubstr("\"big\" (65536): not within 1-65535"),
                                           HasSubstr("nodePort 70000 is not within 1-65535"),
                                           HasSubstr("unknown protocol \"ICMP\""),
                                           HasSubstr("a second port of that name and protocol")));
}

// Each is one line with the default in force, and the rest of the object stands.
TEST(BuildServiceTest, UnknownWordsAreReportedWithTheirDefaults) {
  ServiceBuilder service = Web();
  service.Type("Mesh").spec().set_external_traffic_policy("Topology");
  service.spec().set_internal_traffic_policy("Zone");
  service.spec().set_session_affinity("Cookie");
  service.spec().set_traffic_distribution("PreferMoon");
  const BuiltService built = Build(service.Port(80).Port(443, "quick", "QUIC"));
  ASSERT_THAT(built.ports, SizeIs(1));
  EXPECT_EQ(built.ports[0].type, "ClusterIP");
  EXPECT_FALSE(built.ports[0].external_local);
  EXPECT_FALSE(built.ports[0].internal_local);
  EXPECT_EQ(built.ports[0].affinity_s, 0u);
  EXPECT_THAT(Frontends(built), ElementsAre("ClusterIP 10.96.0.1 80 6"));
  EXPECT_THAT(
      Messages(built),
      ElementsAre("type: unknown value \"Mesh\"; taken as ClusterIP",
                  "port \"quick\" (443): unknown protocol \"QUIC\"; the port is not served",
                  "sessionAffinity: unknown value \"Cookie\"; taken as None",
                  "internalTrafficPolicy: unknown value \"Zone\"; taken as Cluster",
                  "externalTrafficPolicy: unknown value \"Topology\"; taken as Cluster",
                  "trafficDistribution: unknown value \"PreferMoon\"; only the hints of the "
                  "endpoints count"));
}

TEST(BuildServiceTest, WhatIsNotServedSaysWhy) {
  const auto why = [](const ServiceBuilder& service) {
    const BuiltService built = Build(service);
    EXPECT_THAT(built.ports, SizeIs(0));
    EXPECT_THAT(Messages(built), ElementsAre());
    return built.not_served;
  };
  EXPECT_EQ(Build(Web()).not_served, "");
  EXPECT_THAT(why(ServiceBuilder().ClusterIp("None")), HasSubstr("headless (clusterIP: None)"));
  EXPECT_THAT(why(ServiceBuilder()), HasSubstr("no ClusterIP yet"));
  EXPECT_THAT(why(ServiceBuilder().Type("ExternalName")), HasSubstr("ExternalName"));
  EXPECT_THAT(why(Web().Label(kProxyNameLabel, "other")), HasSubstr("another proxy, \"other\""));
  EXPECT_THAT(why(Web().Label(kHeadlessLabel, "")), HasSubstr(kHeadlessLabel));
}

TEST(BuildServiceTest, ALoadBalancerWithoutAddressSaysWhy) {
  const auto why = [](const ServiceBuilder& service) {
    return WhyNoLoadBalancerAddress(service.Build());
  };
  EXPECT_EQ(why(Web()), "");
  EXPECT_THAT(why(Web().Type("LoadBalancer")), HasSubstr("no address yet"));
  EXPECT_THAT(why(Web().Type("LoadBalancer").Ingress("203.0.113.1", "Proxy")),
              HasSubstr("left to the balancer"));
  EXPECT_THAT(why(Web().Type("LoadBalancer").Ingress("")), HasSubstr("names only"));
  EXPECT_EQ(why(Web().Type("LoadBalancer").Ingress("2001:db8::1")), "");
}

TEST(BuildServiceTest, AnUnknownIpModeIsNotCaptured) {
  const BuiltService built = Build(Web()
                                       .Type("LoadBalancer")
                                       .Ingress("203.0.113.1", "Tomorrow")
                                       .Ingress("203.0.113.2", "Proxy")
                                       .Ingress("203.0.113.3", "VIP"));
  EXPECT_THAT(Frontends(built),
              ElementsAre("ClusterIP 10.96.0.1 80 6", "LoadBalancer 203.0.113.3 80 6"));
  EXPECT_THAT(Messages(built), ElementsAre("status.loadBalancer.ingress: ipMode of 203.0.113.1: "
                                           "unknown value \"Tomorrow\"; taken as Proxy, the "
                                           "address is left to the balancer"));
}

TEST(BuildServiceTest, KnownTrafficDistributionsSayNothing) {
  for (const char* known : {"PreferSameZone", "PreferClose", "PreferSameNode"}) {
    ServiceBuilder service = Web();
    service.spec().set_traffic_distribution(known);
    EXPECT_THAT(Messages(Build(service)), ElementsAre()) << known;
  }
}

TEST(BuildServiceTest, SourceRangesAreTrimmedAndBadOnesSkipped) {
  const BuiltService built = Build(Web()
                                       .Type("LoadBalancer")
                                       .Ingress("203.0.113.1")
                                       .SourceRange(" 198.51.100.0/24 ")
                                       .SourceRange("nonsense"));
  ASSERT_THAT(built.ports, SizeIs(1));
  EXPECT_THAT(built.ports[0].source_ranges, ElementsAre(*IpPrefix::Parse("198.51.100.0/24")));
  EXPECT_THAT(Frontends(built), SizeIs(2));
  EXPECT_THAT(Messages(built), ElementsAre(HasSubstr("\"nonsense\"")));
}

TEST(BuildServiceTest, UnreadableSourceRangesCloseTheAddressRatherThanOpenIt) {
  const BuiltService built =
      Build(Web().Type("LoadBalancer").Ingress("203.0.113.1").SourceRange("10.0.0.0/99"));
  EXPECT_THAT(Frontends(built), ElementsAre("ClusterIP 10.96.0.1 80 6"));
  EXPECT_THAT(Messages(built),
              ElementsAre(HasSubstr("10.0.0.0/99"), HasSubstr("none can be read")));
}

TEST(BuildServiceTest, AffinityHasADefaultAndBounds) {
  const auto affinity = [](const std::string& kind, std::optional<int> seconds) {
    ServiceBuilder service = Web();
    service.spec().set_session_affinity(kind);
    if (seconds) {
      service.spec().mutable_session_affinity_config()->mutable_client_ip()->set_timeout_seconds(
          *seconds);
    }
    const BuiltService built = Build(service);
    return std::pair(built.ports.at(0).affinity_s, built.problems.size());
  };
  EXPECT_EQ(affinity("ClientIP", std::nullopt), std::pair(10800u, std::size_t{0}));
  EXPECT_EQ(affinity("ClientIP", 60), std::pair(60u, std::size_t{0}));
  EXPECT_EQ(affinity("ClientIP", 86400), std::pair(86400u, std::size_t{0}));
  EXPECT_EQ(affinity("ClientIP", 86401), std::pair(86400u, std::size_t{1}));
  EXPECT_EQ(affinity("ClientIP", 0), std::pair(10800u, std::size_t{1}));
  EXPECT_EQ(affinity("None", 60), std::pair(0u, std::size_t{0}));
  EXPECT_EQ(affinity("Cookie", 60), std::pair(0u, std::size_t{1}));
}

TEST(BuildServiceTest, PoliciesAreReadAndUnknownOnesReported) {
  ServiceBuilder service = Web();
  service.spec().set_internal_traffic_policy("Local");
  service.spec().set_external_traffic_policy("Nearby");
  const BuiltService built = Build(service);
  EXPECT_TRUE(built.ports.at(0).internal_local);
  EXPECT_FALSE(built.ports.at(0).external_local);
  EXPECT_THAT(Messages(built), ElementsAre(HasSubstr("externalTrafficPolicy")));
  service.spec().set_external_traffic_policy("Local");
  EXPECT_TRUE(Build(service).ports.at(0).external_local);
}

TEST(BuildServiceTest, NamesThatTheMapsCannotHoldAreReported) {
  const BuiltService built = BuildService(
      ServiceBuilder(std::string(64, 'x')).ClusterIp("10.96.0.1").Build(), {}, TestNode());
  EXPECT_THAT(built.ports, IsEmpty());
  EXPECT_THAT(built.problems, SizeIs(1));
  EXPECT_THAT(BuildService(ServiceBuilder(std::string(63, 'x')).ClusterIp("10.96.0.1").Build(), {},
                           TestNode())
                  .ports,
              SizeIs(1));
}

}  // namespace
}  // namespace sluice
