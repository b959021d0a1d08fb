// SPDX-License-Identifier: Apache-2.0
#include "control/source/service_defaults.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ServiceDefaultsConfig Config(const std::vector<std::string>& cidrs = {"10.96.0.0/16",
                                                                      "fd00:10:96::/112"}) {
  ServiceDefaultsConfig config;
  for (const std::string& cidr : cidrs) config.service_cidrs.push_back(*IpPrefix::Parse(cidr));
  return config;
}

ObjectName Named(const std::string& name) { return {"default", name}; }

model::Service Service(const std::string& name, const std::string& type = "",
                       const std::vector<int>& ports = {80}) {
  model::Service service;
  service.mutable_metadata()->set_name_space("default");
  service.mutable_metadata()->set_name(name);
  if (!type.empty()) service.mutable_spec()->set_type(type);
  for (const int number : ports) {
    model::ServicePort* port = service.mutable_spec()->add_ports();
    port->set_name(absl::StrCat("p", number));
    port->set_port(number);
  }
  return service;
}

// Sets all of `services` and gives them back completed, by name.
std::map<std::string, model::Service> Complete(ServiceDefaults& defaults,
                                               const std::vector<model::Service>& services) {
  for (const model::Service& service : services) defaults.Set(service);
  std::map<std::string, model::Service> completed;
  for (model::Service& service : defaults.Resolve().services) {
    const std::string name = service.metadata().name();
    completed[name] = std::move(service);
  }
  return completed;
}

model::Service CompleteOne(const model::Service& service, ServiceDefaultsConfig config = Config()) {
  ServiceDefaults defaults(std::move(config), {});
  return Complete(defaults, {service}).at(service.metadata().name());
}

TEST(ServiceDefaultsTest, FillsWhatKubernetesFills) {
  const model::Service plain = CompleteOne(Service("web"));
  EXPECT_EQ(plain.spec().type(), "ClusterIP");
  EXPECT_EQ(plain.spec().session_affinity(), "None");
  EXPECT_EQ(plain.spec().internal_traffic_policy(), "Cluster");
  EXPECT_FALSE(plain.spec().has_external_traffic_policy());
  EXPECT_EQ(plain.spec().ports(0).protocol(), "TCP");
  EXPECT_EQ(plain.spec().ports(0).target_port().int_val(), 80);
  EXPECT_EQ(plain.spec().ports(0).node_port(), 0);
  EXPECT_EQ(plain.spec().ip_family_policy(), "SingleStack");
  EXPECT_THAT(plain.spec().ip_families(), ElementsAre("IPv4"));
  EXPECT_EQ(plain.spec().cluster_ip(), plain.spec().cluster_ips(0));

  model::Service sticky = Service("sticky", "NodePort");
  sticky.mutable_spec()->set_session_affinity("ClientIP");
  sticky = CompleteOne(sticky);
  EXPECT_EQ(sticky.spec().session_affinity_config().client_ip().timeout_seconds(), 10800);
  EXPECT_EQ(sticky.spec().external_traffic_policy(), "Cluster");
}

TEST(ServiceDefaultsTest, LeavesWhatTheManifestSays) {
  model::Service service = Service("web", "NodePort");
  model::ServiceSpec& spec = *service.mutable_spec();
  spec.set_cluster_ip("192.0.2.10");
  spec.set_external_traffic_policy("Local");
  spec.set_internal_traffic_policy("Local");
  spec.mutable_ports(0)->set_protocol("UDP");
  spec.mutable_ports(0)->set_node_port(31000);
  spec.mutable_ports(0)->mutable_target_port()->set_str_val("http");
  spec.mutable_session_affinity_config()->mutable_client_ip()->set_timeout_seconds(5);
  spec.set_session_affinity("ClientIP");
  const model::Service completed = CompleteOne(service);
  EXPECT_EQ(completed.spec().cluster_ip(), "192.0.2.10");  // outside of the CIDR: still its own
  EXPECT_EQ(completed.spec().external_traffic_policy(), "Local");
  EXPECT_EQ(completed.spec().internal_traffic_policy(), "Local");
  EXPECT_EQ(completed.spec().ports(0).protocol(), "UDP");
  EXPECT_EQ(completed.spec().ports(0).node_port(), 31000);
  EXPECT_EQ(completed.spec().ports(0).target_port().str_val(), "http");
  EXPECT_FALSE(completed.spec().ports(0).target_port().has_int_val());
  EXPECT_EQ(completed.spec().session_affinity_config().client_ip().timeout_seconds(), 5);
}

TEST(ServiceDefaultsTest, GivesNoAddressToHeadlessAndExternalName) {
  model::Service headless = Service("headless");
  headless.mutable_spec()->set_cluster_ip("None");
  headless = CompleteOne(headless);
  EXPECT_EQ(headless.spec().cluster_ip(), "None");
  EXPECT_THAT(headless.spec().cluster_ips(), IsEmpty());
  const model::Service external = CompleteOne(Service("ext", "ExternalName", {}));
  EXPECT_FALSE(external.spec().has_cluster_ip());
  EXPECT_FALSE(external.spec().has_internal_traffic_policy());
}

TEST(ServiceDefaultsTest, LeavesAnAddressThatDoesNotParseToItsReaders) {
  model::Service service = Service("web");
  service.mutable_spec()->set_cluster_ip("10.96.0.010");
  ServiceDefaults defaults(Config(), {});
  EXPECT_EQ(Complete(defaults, {service}).at("web").spec().cluster_ip(), "10.96.0.010");
  EXPECT_THAT(defaults.allocations(), IsEmpty());
}

struct FamilyCase {
  std::vector<std::string> cidrs;
  std::vector<std::string> families;
  std::string policy;
  std::vector<std::string> expected;
  std::string problem = "";
};

TEST(ServiceDefaultsTest, GivesTheFamiliesThatAreAskedFor) {
  const std::vector<std::string> both = {"10.96.0.0/16", "fd00:10:96::/112"};
  const std::vector<std::string> six_first = {"fd00:10:96::/112", "10.96.0.0/16"};
  const std::vector<std::string> four = {"10.96.0.0/16"};
  const std::vector<FamilyCase> cases = {
      {both, {}, "", {"IPv4"}},
      {six_first, {}, "", {"IPv6"}},
      {both, {}, "PreferDualStack", {"IPv4", "IPv6"}},
      {six_first, {}, "RequireDualStack", {"IPv6", "IPv4"}},
      {four, {}, "PreferDualStack", {"IPv4"}},
      {four, {}, "RequireDualStack", {"IPv4"}, "needs an IPv6 address"},
      {both, {"IPv6"}, "", {"IPv6"}},
      {both, {"IPv6"}, "PreferDualStack", {"IPv6", "IPv4"}},
      {both, {"IPv6", "IPv4"}, "", {"IPv6", "IPv4"}},
      {both, {"IPv6", "IPv4"}, "SingleStack", {"IPv6"}},
      {four, {"IPv6"}, "", {}, "needs an IPv6 address"},
      {{}, {}, "", {}, "needs an IPv4 address, and --service-cidr has none"},
  };
  for (const FamilyCase& each : cases) {
    model::Service service = Service("web");
    for (const std::string& family : each.families) {
      service.mutable_spec()->add_ip_families(family);
    }
    if (!each.policy.empty()) service.mutable_spec()->set_ip_family_policy(each.policy);
    ServiceDefaults defaults(Config(each.cidrs), {});
    const model::ServiceSpec spec = Complete(defaults, {service}).at("web").spec();
    SCOPED_TRACE(service.ShortDebugString());
    std::vector<std::string> families;
    for (const std::string& text : spec.cluster_ips()) {
      families.push_back(IpAddress::Parse(text)->is_v4() ? "IPv4" : "IPv6");
    }
    EXPECT_EQ(families, each.expected);
    if (each.problem.empty()) {
      EXPECT_THAT(defaults.problems(), IsEmpty());
    } else {
      ASSERT_THAT(defaults.problems(), SizeIs(1));
      EXPECT_THAT(defaults.problems().at(Named("web")), HasSubstr(each.problem));
    }
  }
}

TEST(ServiceDefaultsTest, AddsTheSecondFamilyToAnAddressOfTheFirst) {
  model::Service service = Service("web");
  service.mutable_spec()->set_cluster_ip("10.96.0.9");
  service.mutable_spec()->set_ip_family_policy("PreferDualStack");
  const model::ServiceSpec spec = CompleteOne(service).spec();
  ASSERT_EQ(spec.cluster_ips_size(), 2);
  EXPECT_EQ(spec.cluster_ips(0), "10.96.0.9");
  EXPECT_TRUE(
      IpPrefix::Parse("fd00:10:96::/112")->Contains(*IpAddress::Parse(spec.cluster_ips(1))));
}

TEST(ServiceDefaultsTest, GivesNodePortsOnlyWhereTheyBelong) {
  EXPECT_EQ(CompleteOne(Service("web", "ClusterIP")).spec().ports(0).node_port(), 0);
  EXPECT_NE(CompleteOne(Service("web", "NodePort")).spec().ports(0).node_port(), 0);
  EXPECT_NE(CompleteOne(Service("web", "LoadBalancer")).spec().ports(0).node_port(), 0);
  model::Service without = Service("web", "LoadBalancer");
  without.mutable_spec()->set_allocate_load_balancer_node_ports(false);
  EXPECT_EQ(CompleteOne(without).spec().ports(0).node_port(), 0);

  model::Service local = Service("web", "LoadBalancer");
  local.mutable_spec()->set_external_traffic_policy("Local");
  const model::ServiceSpec spec = CompleteOne(local).spec();
  EXPECT_GE(spec.health_check_node_port(), 30000);
  EXPECT_NE(spec.health_check_node_port(), spec.ports(0).node_port());
  EXPECT_EQ(CompleteOne(Service("web", "LoadBalancer")).spec().health_check_node_port(), 0);
}

// 1,500 Services, a third of each kind, in the order that `seed` shuffles them to.
std::vector<model::Service> ManyServices(unsigned seed) {
  std::vector<model::Service> services;
  for (int i = 0; i < 500; ++i) {
    services.push_back(Service(absl::StrCat("c", i)));
    services.push_back(Service(absl::StrCat("n", i), "NodePort", {80, 443}));
    services.push_back(Service(absl::StrCat("l", i), "LoadBalancer"));
    services.back().mutable_spec()->set_external_traffic_policy("Local");
    services.back().mutable_spec()->set_ip_family_policy("PreferDualStack");
  }
  std::shuffle(services.begin(), services.end(), std::mt19937(seed));
  return services;
}

std::string TextOf(const std::map<std::string, model::Service>& services) {
  std::string text;
  for (const auto& [name, service] : services) text += service.ShortDebugString() + "\n";
  return text;
}

TEST(ServiceDefaultsTest, GivesEachValueOnceAndWithinItsRange) {
  ServiceDefaults defaults(Config(), {});
  std::set<std::string> addresses;
  std::set<int> ports;
  std::size_t address_count = 0;
  std::size_t port_count = 0;
  for (const auto& [name, service] : Complete(defaults, ManyServices(1))) {
    for (const std::string& address : service.spec().cluster_ips()) {
      ++address_count;
      addresses.insert(address);
    }
    std::vector<int> given = {service.spec().health_check_node_port()};
    for (const auto& port : service.spec().ports()) given.push_back(port.node_port());
    for (const int port : given) {
      if (port == 0) continue;
      EXPECT_GE(port, 30000);
      EXPECT_LE(port, 32767);
      ++port_count;
      ports.insert(port);
    }
  }
  EXPECT_EQ(address_count, 2000u);
  EXPECT_EQ(addresses.size(), address_count);
  EXPECT_EQ(port_count, 2000u);
  EXPECT_EQ(ports.size(), port_count);
  EXPECT_THAT(defaults.problems(), IsEmpty());
}

TEST(ServiceDefaultsTest, TheOrderOfTheManifestsDoesNotMatter) {
  ServiceDefaults one(Config(), {});
  ServiceDefaults other(Config(), {});
  EXPECT_EQ(TextOf(Complete(one, ManyServices(1))), TextOf(Complete(other, ManyServices(2))));
  EXPECT_EQ(one.allocations(), other.allocations());
}

TEST(ServiceDefaultsTest, ARestartGivesTheSameWhateverCameOrWent) {
  ServiceDefaults before(Config(), {});
  std::vector<model::Service> services = ManyServices(1);
  const auto first = Complete(before, services);
  ServiceDefaults after(Config(), before.allocations());
  // Others that come before them by name and would take their places.
  for (int i = 0; i < 500; ++i) services.push_back(Service(absl::StrCat("a", i), "NodePort"));
  const auto second = Complete(after, services);
  after.ForgetAbsent();
  for (const auto& [name, service] : first) {
    EXPECT_EQ(second.at(name).ShortDebugString(), service.ShortDebugString());
  }
  EXPECT_EQ(second.size(), first.size() + 500);
}

TEST(ServiceDefaultsTest, WithoutMemoryMostValuesAreTheSameAgain) {
  ServiceDefaults before(Config(), {});
  Complete(before, ManyServices(1));
  std::vector<model::Service> fewer = ManyServices(1);
  fewer.resize(1000);
  ServiceDefaults after(Config(), {});
  Complete(after, fewer);
  int same = 0;
  for (const auto& [name, allocation] : after.allocations()) {
    same += before.allocations().at(name).v4 == allocation.v4 ? 1 : 0;
  }
  EXPECT_GT(same, 950);
}

TEST(ServiceDefaultsTest, AChangedServiceKeepsWhatItWasGiven) {
  ServiceDefaults defaults(Config(), {});
  const model::Service before =
      Complete(defaults, {Service("web", "NodePort", {80, 443})}).at("web");
  const model::Service after =
      Complete(defaults, {Service("web", "NodePort", {22, 80, 443, 8080})}).at("web");
  EXPECT_EQ(after.spec().cluster_ip(), before.spec().cluster_ip());
  EXPECT_EQ(after.spec().ports(1).node_port(), before.spec().ports(0).node_port());
  EXPECT_EQ(after.spec().ports(2).node_port(), before.spec().ports(1).node_port());
}

TEST(ServiceDefaultsTest, AManifestThatNamesAnAddressTakesItFromWhomItWasGivenTo) {
  ServiceDefaults defaults(Config(), {});
  const model::Service given = Complete(defaults, {Service("web")}).at("web");
  model::Service claimant = Service("other");
  claimant.mutable_spec()->set_cluster_ip(given.spec().cluster_ip());
  const auto after = Complete(defaults, {claimant});
  ASSERT_THAT(after, SizeIs(2));  // the one displaced is said again
  EXPECT_EQ(after.at("other").spec().cluster_ip(), given.spec().cluster_ip());
  EXPECT_NE(after.at("web").spec().cluster_ip(), given.spec().cluster_ip());
  EXPECT_THAT(defaults.problems(), IsEmpty());
}

TEST(ServiceDefaultsTest, AManifestThatNamesAPortTakesItFromWhomItWasGivenTo) {
  ServiceDefaults defaults(Config(), {});
  const model::Service given = Complete(defaults, {Service("web", "NodePort")}).at("web");
  model::Service claimant = Service("other", "NodePort");
  claimant.mutable_spec()->mutable_ports(0)->set_node_port(given.spec().ports(0).node_port());
  const auto after = Complete(defaults, {claimant});
  ASSERT_THAT(after, SizeIs(2));
  EXPECT_EQ(after.at("other").spec().ports(0).node_port(), given.spec().ports(0).node_port());
  EXPECT_NE(after.at("web").spec().ports(0).node_port(), given.spec().ports(0).node_port());
  EXPECT_NE(after.at("web").spec().ports(0).node_port(), 0);
  EXPECT_EQ(after.at("web").spec().cluster_ip(), given.spec().cluster_ip());
}

TEST(ServiceDefaultsTest, AServiceMayWriteDownWhatItWasGiven) {
  ServiceDefaults defaults(Config(), {});
  model::Service service = Complete(defaults, {Service("web", "NodePort", {80, 443})}).at("web");
  const int second = service.spec().ports(1).node_port();
  service.mutable_spec()->mutable_ports(1)->clear_node_port();
  const model::Service after = Complete(defaults, {service}).at("web");
  EXPECT_EQ(after.spec().cluster_ip(), service.spec().cluster_ip());
  EXPECT_EQ(after.spec().ports(0).node_port(), service.spec().ports(0).node_port());
  EXPECT_EQ(after.spec().ports(1).node_port(), second);
}

TEST(ServiceDefaultsTest, WhatIsNotNeededAnyMoreIsGivenBack) {
  ServiceDefaults defaults(Config(), {});
  Complete(defaults, {Service("web", "NodePort")});
  EXPECT_THAT(defaults.allocations().at(Named("web")).node_ports, SizeIs(1));
  Complete(defaults, {Service("web", "ClusterIP")});
  EXPECT_THAT(defaults.allocations().at(Named("web")).node_ports, IsEmpty());
  Complete(defaults, {Service("web", "ExternalName")});
  EXPECT_THAT(defaults.allocations(), IsEmpty());
  Complete(defaults, {Service("web")});
  defaults.Remove(Named("web"));
  EXPECT_THAT(defaults.allocations(), IsEmpty());
  EXPECT_TRUE(defaults.Resolve().allocations_changed);
  EXPECT_FALSE(defaults.Resolve().allocations_changed);
}

TEST(ServiceDefaultsTest, WhatIsRememberedStaysReservedUntilItIsForgotten) {
  Allocations remembered;
  remembered[Named("gone")].v4 = *IpAddress::Parse("10.0.0.1");
  const ServiceDefaultsConfig config = Config({"10.0.0.0/30"});  // .1 and .2
  ServiceDefaults defaults(config, remembered);
  EXPECT_EQ(Complete(defaults, {Service("a")}).at("a").spec().cluster_ip(), "10.0.0.2");
  EXPECT_THAT(Complete(defaults, {Service("b")}).at("b").spec().cluster_ips(), IsEmpty());
  EXPECT_THAT(defaults.problems(), SizeIs(1));
  defaults.ForgetAbsent();
  EXPECT_EQ(Complete(defaults, {}).at("b").spec().cluster_ip(), "10.0.0.1");
  EXPECT_THAT(defaults.problems(), IsEmpty());
}

TEST(ServiceDefaultsTest, AValueRememberedTwiceStaysWithTheFirst) {
  Allocations remembered;
  remembered[Named("a")].v4 = *IpAddress::Parse("10.96.9.9");
  remembered[Named("b")].v4 = *IpAddress::Parse("10.96.9.9");
  remembered[Named("a")].node_ports["80/TCP"] = 31234;
  remembered[Named("b")].node_ports["80/TCP"] = 31234;
  ServiceDefaults defaults(Config(), remembered);
  const auto services = Complete(defaults, {Service("a", "NodePort"), Service("b", "NodePort")});
  EXPECT_EQ(services.at("a").spec().cluster_ip(), "10.96.9.9");
  EXPECT_NE(services.at("b").spec().cluster_ip(), "10.96.9.9");
  EXPECT_EQ(services.at("a").spec().ports(0).node_port(), 31234);
  EXPECT_NE(services.at("b").spec().ports(0).node_port(), 31234);
}

TEST(ServiceDefaultsTest, AValueOutsideOfTheRangesIsGivenAnew) {
  Allocations remembered;
  remembered[Named("web")].v4 = *IpAddress::Parse("10.200.0.1");
  remembered[Named("web")].node_ports["80/TCP"] = 20000;
  ServiceDefaults defaults(Config(), remembered);
  const model::ServiceSpec spec = Complete(defaults, {Service("web", "NodePort")}).at("web").spec();
  EXPECT_THAT(spec.cluster_ip(), ::testing::StartsWith("10.96."));
  EXPECT_GE(spec.ports(0).node_port(), 30000);
}

TEST(ServiceDefaultsTest, AnEmptyPoolIsAProblemOfThatServiceAlone) {
  ServiceDefaultsConfig config = Config({"10.0.0.0/29"});  // six addresses
  config.min_node_port = 30000;
  config.max_node_port = 30001;
  ServiceDefaults defaults(config, {});
  std::vector<model::Service> services;
  for (int i = 0; i < 8; ++i) services.push_back(Service(absl::StrCat("s", i), "NodePort"));
  const auto completed = Complete(defaults, services);
  ASSERT_THAT(completed, SizeIs(8));
  EXPECT_EQ(completed.at("s5").spec().cluster_ips_size(), 1);
  EXPECT_EQ(completed.at("s6").spec().cluster_ips_size(), 0);
  EXPECT_EQ(completed.at("s2").spec().ports(0).node_port(), 0);
  ASSERT_THAT(defaults.problems(), SizeIs(6));
  EXPECT_EQ(defaults.problems().at(Named("s2")),
            "got no node port for 80/TCP: all of 30000-30001 are taken");
  EXPECT_EQ(defaults.problems().at(Named("s7")),
            "got no cluster address: all of --service-cidr 10.0.0.0/29 are taken: give it a larger "
            "one; got no node port for 80/TCP: all of 30000-30001 are taken");
  // What is given back goes to one that went without.
  defaults.Remove(Named("s0"));
  EXPECT_EQ(Complete(defaults, {}).at("s6").spec().cluster_ips_size(), 1);
  EXPECT_THAT(defaults.problems().at(Named("s6")), Not(HasSubstr("cluster address")));
}

TEST(ServiceDefaultsTest, FillsTheProtocolOfSlices) {
  model::EndpointSlice slice;
  slice.add_ports()->set_port(80);
  slice.add_ports()->set_protocol("UDP");
  FillEndpointSlice(slice);
  EXPECT_EQ(slice.ports(0).protocol(), "TCP");
  EXPECT_EQ(slice.ports(1).protocol(), "UDP");
}

}  // namespace
}  // namespace sluice
