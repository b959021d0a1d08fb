// SPDX-License-Identifier: Apache-2.0
// What Services compete for, and what a change is said to concern.
#include "control/desired/desired_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/random_cluster.h"
#include "test/support/service_builder.h"
#include "test/support/state_sink.h"

namespace sluice {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ServiceBuilder;
using testing::SliceBuilder;

NodeConfig TestNode() {
  NodeConfig node;
  node.node_name = "node-1";
  node.zone = "zone-a";
  node.node_port_addresses = {*IpAddress::Parse("192.0.2.100"), *IpAddress::Parse("192.0.2.101")};
  return node;
}

ServicePortName NameOf(const std::string& service, const std::string& port = "http") {
  return {"default", service, port, 6};
}

class DesiredTrackerTest : public ::testing::Test {
 protected:
  // Returns what the tracker says has changed.
  std::set<ServicePortName> Set(const ServiceBuilder& service) {
    const model::Service object = service.Build();
    cluster_.SetService(object);
    return Update(object.metadata().name());
  }
  std::set<ServicePortName> Delete(const std::string& name) {
    cluster_.DeleteService({"default", name});
    return Update(name);
  }
  std::set<ServicePortName> Update(const std::string& name) {
    std::set<ServicePortName> changed;
    tracker_.Update({"default", name}, cluster_, changed);
    return changed;
  }
  std::size_t FrontendsOf(const std::string& name, abi::sl_frontend_kind kind) {
    const std::vector<Frontend>& all = tracker_.services().at(NameOf(name)).frontends;
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [&](const Frontend& f) { return f.kind == kind; }));
  }
  static ServiceBuilder NodePort(const std::string& name, int host, std::int64_t created) {
    return ServiceBuilder(name)
        .ClusterIp(absl::StrCat("10.96.0.", host))
        .Created(created)
        .Type("NodePort")
        .Port(80, "http", "TCP", 30080);
  }

  ClusterState cluster_{"node-1"};
  DesiredTracker tracker_{TestNode()};
};

TEST_F(DesiredTrackerTest, OlderServiceKeepsANodePortWhicheverComesFirst) {
  for (const bool older_first : {true, false}) {
    const ServiceBuilder older = NodePort("zebra", 1, 100);
    const ServiceBuilder younger = NodePort("ant", 2, 200);
    Set(older_first ? older : younger);
    Set(older_first ? younger : older);
    EXPECT_EQ(FrontendsOf("zebra", abi::SL_FRONTEND_NODE_PORT), 2u);
    EXPECT_EQ(FrontendsOf("ant", abi::SL_FRONTEND_NODE_PORT), 0u);
    EXPECT_EQ(FrontendsOf("ant", abi::SL_FRONTEND_CLUSTER_IP), 1u) << "the rest of it stands";
    const std::vector<Problem> conflicts = tracker_.Conflicts();
    ASSERT_EQ(conflicts.size(), 1u) << "one line, whatever the number of node addresses";
    EXPECT_EQ(conflicts[0].object, "Service default/ant");
    EXPECT_THAT(conflicts[0].message,
                AllOf(HasSubstr("node port 30080/TCP"), HasSubstr("Service default/zebra's"),
                      HasSubstr("is older")));
    Delete("ant");
    Delete("zebra");
  }
}

TEST_F(DesiredTrackerTest, LoserGetsItWhenTheWinnerGoes) {
  Set(NodePort("a", 1, 100));
  Set(NodePort("b", 2, 200));
  EXPECT_THAT(Delete("a"), ElementsAre(NameOf("a"), NameOf("b")));
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_NODE_PORT), 2u);
  EXPECT_THAT(tracker_.Conflicts(), IsEmpty());
}

TEST_F(DesiredTrackerTest, LoserGetsItWhenTheWinnerTakesAnother) {
  Set(NodePort("a", 1, 100));
  Set(NodePort("b", 2, 200));
  const auto changed = Set(ServiceBuilder("a")
                               .ClusterIp("10.96.0.1")
                               .Created(100)
                               .Type("NodePort")
                               .Port(80, "http", "TCP", 30081));
  EXPECT_THAT(changed, ElementsAre(NameOf("a"), NameOf("b")));
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_NODE_PORT), 2u);
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_NODE_PORT), 2u);
}

TEST_F(DesiredTrackerTest, OlderServiceThatComesLaterTakesItAway) {
  Set(NodePort("b", 2, 200));
  EXPECT_THAT(Set(NodePort("a", 1, 100)), ElementsAre(NameOf("a"), NameOf("b")));
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_NODE_PORT), 0u);
}

TEST_F(DesiredTrackerTest, OfTheSameAgeTheFirstByNameWins) {
  Set(NodePort("b", 2, 100));
  Set(NodePort("a", 1, 100));
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_NODE_PORT), 2u);
  EXPECT_THAT(tracker_.Conflicts().at(0).message, HasSubstr("comes first by name"));
}

TEST_F(DesiredTrackerTest, ServiceWithoutAnAgeIsYoungerThanOneWith) {
  ServiceBuilder ageless = ServiceBuilder("a").ClusterIp("10.96.0.1");
  Set(ageless.Type("NodePort").Port(80, "http", "TCP", 30080));
  Set(NodePort("b", 2, 100));
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_NODE_PORT), 2u);
}

TEST_F(DesiredTrackerTest, SameClusterIpIsFoughtForByPort) {
  Set(ServiceBuilder("a").ClusterIp("fd00:96::1").Created(1).Port(80));
  Set(ServiceBuilder("b").ClusterIp("fd00:96::1").Created(2).Port(80).Port(81, "other"));
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_CLUSTER_IP), 0u);
  EXPECT_EQ(tracker_.services().at(NameOf("b", "other")).frontends.size(), 1u);
  EXPECT_THAT(tracker_.Conflicts().at(0).message, HasSubstr("[fd00:96::1]:80/TCP"));
}

TEST_F(DesiredTrackerTest, PortsOfOneServiceThatClaimTheSameAreReportedToo) {
  Set(ServiceBuilder("a").ClusterIp("10.96.0.1").Port(80, "x").Port(80, "y"));
  EXPECT_THAT(tracker_.Conflicts().at(0).message,
              HasSubstr("10.96.0.1:80/TCP of port \"y\" is port \"x\"'s of the same Service"));
}

// As load balancers let Services share an address: MetalLB's allow-shared-ip.
TEST_F(DesiredTrackerTest, SharedAddressIsFirstTheOneThatAnswers) {
  const auto owner = [&] {
    for (const auto& [name, service] : tracker_.services()) {
      for (const Frontend& f : service.frontends) {
        if (f.kind == abi::SL_FRONTEND_EXTERNAL_ADDRESS) return name.name;
      }
    }
    return std::string();
  };
  const auto shared = [](const std::string& name, std::int64_t age, int port) {
    return ServiceBuilder(name)
        .ClusterIp(absl::StrCat("10.96.0.", age))
        .Created(age)
        .Type("LoadBalancer")
        .Ingress("203.0.113.7")
        .Port(port);
  };
  Set(shared("old", 1, 80));
  Set(shared("young", 2, 81));
  EXPECT_EQ(owner(), "old");
  cluster_.SetEndpointSlice(SliceBuilder("young").Endpoint("10.1.0.1").Build());
  Update("young");
  EXPECT_EQ(owner(), "young");
  cluster_.SetEndpointSlice(SliceBuilder("old").Endpoint("10.1.0.2").Build());
  Update("old");
  EXPECT_EQ(owner(), "old");
  EXPECT_THAT(tracker_.Conflicts(), IsEmpty());
}

TEST_F(DesiredTrackerTest, AnAddressThatBecomesAMachinesConcernsItsServicesAlone) {
  Set(ServiceBuilder("a").ClusterIp("10.96.0.1").Type("LoadBalancer").Ingress("203.0.113.7"));
  Set(ServiceBuilder("b").ClusterIp("10.96.0.2").Type("LoadBalancer").Ingress("203.0.113.8"));
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_EXTERNAL_ADDRESS), 1u);
  std::set<ServicePortName> changed;
  tracker_.SetMachineAddresses({*IpAddress::Parse("203.0.113.7")}, cluster_, changed);
  EXPECT_THAT(changed, ElementsAre(NameOf("a")));
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_EXTERNAL_ADDRESS), 0u);
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_LOAD_BALANCER), 1u);
  EXPECT_EQ(FrontendsOf("b", abi::SL_FRONTEND_EXTERNAL_ADDRESS), 1u);
  tracker_.SetMachineAddresses({}, cluster_, changed);
  EXPECT_EQ(FrontendsOf("a", abi::SL_FRONTEND_EXTERNAL_ADDRESS), 1u);
}

TEST_F(DesiredTrackerTest, SharedAddressHasOneAddressRowAndNoConflict) {
  const auto rows = [&] {
    std::size_t count = 0;
    for (const auto& [name, service] : tracker_.services()) {
      for (const Frontend& f : service.frontends) count += f.kind == abi::SL_FRONTEND_ADDRESS;
    }
    return count;
  };
  Set(ServiceBuilder("a").ClusterIp("10.96.0.1").Port(80).Port(81, "other"));
  Set(ServiceBuilder("b").ClusterIp("10.96.0.1").Port(82));
  EXPECT_EQ(rows(), 1u);
  EXPECT_THAT(tracker_.Conflicts(), IsEmpty());
  Delete("a");
  EXPECT_EQ(rows(), 1u) << "it passes on";
  Delete("b");
  EXPECT_EQ(rows(), 0u);
}

TEST_F(DesiredTrackerTest, RemembersWhyAServiceIsNotServed) {
  Set(ServiceBuilder("web").ClusterIp("None"));
  ASSERT_EQ(tracker_.not_served().count({"default", "web"}), 1u);
  EXPECT_THAT(tracker_.not_served().at({"default", "web"}), HasSubstr("headless"));
  Set(ServiceBuilder("web").ClusterIp("10.96.0.1"));
  EXPECT_THAT(tracker_.not_served(), IsEmpty());
  Set(ServiceBuilder("web").ClusterIp("None"));
  Delete("web");
  EXPECT_THAT(tracker_.not_served(), IsEmpty());
}

TEST_F(DesiredTrackerTest, NothingIsChangedByTheSameAgain) {
  Set(NodePort("a", 1, 100));
  Set(NodePort("b", 2, 200));
  EXPECT_THAT(Update("a"), IsEmpty());
  EXPECT_THAT(Update("b"), IsEmpty());
}

TEST_F(DesiredTrackerTest, SlicesWithoutServiceAreKeptAndReported) {
  cluster_.SetEndpointSlice(SliceBuilder("late").Endpoint("10.1.0.1").Build());
  EXPECT_THAT(Update("late"), IsEmpty());
  EXPECT_EQ(tracker_.slices_without_service(), 1u);
  EXPECT_THAT(tracker_.Problems().at(0).message, HasSubstr("Service default/late is not there"));
  Set(ServiceBuilder("late").ClusterIp("10.96.0.1"));
  EXPECT_EQ(tracker_.slices_without_service(), 0u);
  EXPECT_THAT(tracker_.Problems(), IsEmpty());
  EXPECT_EQ(tracker_.services().at(NameOf("late")).backends.size(), 1u);
  Delete("late");
  EXPECT_EQ(tracker_.slices_without_service(), 1u);
}

TEST_F(DesiredTrackerTest, StepByStepEqualsAllAtOnce) {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    testing::RandomCluster random(seed);
    testing::StateSink sink;
    DesiredTracker stepwise(TestNode());
    std::map<ServicePortName, DesiredService> known;
    for (int i = 0; i < 300; ++i) {
      random.Change(sink);
      std::set<ServicePortName> changed;
      for (const ObjectName& name : sink.state().TakeChanges().services) {
        stepwise.Update(name, sink.state(), changed);
      }
      // Who follows only what is said to have changed knows all.
      for (const ServicePortName& name : changed) {
        const auto it = stepwise.services().find(name);
        if (it == stepwise.services().end()) {
          known.erase(name);
        } else {
          known[name] = it->second;
        }
      }
      ASSERT_EQ(known, stepwise.services()) << "seed " << seed << " change " << i;
      const DesiredState at_once = BuildDesiredState(sink.state(), TestNode());
      ASSERT_EQ(stepwise.services(), at_once.services) << "seed " << seed << " change " << i;
      ASSERT_EQ(stepwise.Problems(), at_once.problems) << "seed " << seed << " change " << i;
    }
  }
}

}  // namespace
}  // namespace sluice
