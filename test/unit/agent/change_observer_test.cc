// SPDX-License-Identifier: Apache-2.0
#include "control/agent/change_observer.h"

#include "gmock/gmock.h"

#include "test/support/fake_clock.h"
#include "test/support/fake_cluster_sink.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t kV4 = 0, kV6 = 1;

model::Service LoadBalancer(const std::string& name, int health_port) {
  model::Service service;
  service.mutable_metadata()->set_name_space("default");
  service.mutable_metadata()->set_name(name);
  service.mutable_spec()->set_type("LoadBalancer");
  service.mutable_spec()->set_external_traffic_policy("Local");
  service.mutable_spec()->set_health_check_node_port(health_port);
  service.mutable_spec()->add_cluster_ips("10.96.0.1");
  return service;
}

class ChangeObserverTest : public ::testing::Test {
 protected:
  model::EndpointSlice Slice(const std::string& name, const std::string& family,
                             absl::Time changed) {
    model::EndpointSlice slice;
    slice.mutable_metadata()->set_name_space("default");
    slice.mutable_metadata()->set_name(name);
    slice.set_address_type(family);
    (*slice.mutable_metadata()
          ->mutable_annotations())["endpoints.kubernetes.io/last-change-trigger-time"] =
        absl::FormatTime(absl::RFC3339_full, changed, absl::UTCTimeZone());
    return slice;
  }
  std::vector<ObjectName> Checked() {
    std::vector<ObjectName> names;
    for (const auto& [name, service] : observer_.health_checked()) names.push_back(name);
    return names;
  }

  FakeClock clock_;
  FakeClusterSink sink_;
  ChangeObserver observer_{sink_, clock_};
};

TEST_F(ChangeObserverTest, PassesOnAndCountsWhatWaits) {
  observer_.SetService(LoadBalancer("a", 0));
  observer_.DeleteService("default", "a");
  clock_.Advance(absl::Seconds(1));
  observer_.SetEndpointSlice({});
  EXPECT_EQ(observer_.services().pending, 2u);
  EXPECT_EQ(observer_.endpoints().pending, 1u);
  EXPECT_EQ(observer_.last_queued(), clock_.Now() - absl::Seconds(1));
  observer_.TakeApplied();
  EXPECT_EQ(observer_.services().pending, 0u);
  EXPECT_EQ(observer_.services().total, 2u);
  EXPECT_EQ(observer_.endpoints().total, 1u);
  EXPECT_EQ(sink_.log.size(), 3u);
  observer_.DeleteEndpointSlice("default", "x");
  EXPECT_EQ(observer_.last_queued(), clock_.Now());
}

TEST_F(ChangeObserverTest, LatencyIsFromTheTriggerTimeToTheMaps) {
  clock_.Advance(absl::Seconds(10));
  observer_.SetEndpointSlice(Slice("a", "IPv4", clock_.Now()));
  clock_.Advance(absl::Milliseconds(200));
  observer_.SetEndpointSlice(Slice("b", "IPv6", clock_.Now()));
  clock_.Advance(absl::Milliseconds(300));
  const auto latencies = observer_.TakeApplied();
  EXPECT_THAT(latencies[kV4], ElementsAre(absl::Milliseconds(500)));
  EXPECT_THAT(latencies[kV6], ElementsAre(absl::Milliseconds(300)));
  EXPECT_THAT(observer_.TakeApplied()[kV4], IsEmpty());
}

TEST_F(ChangeObserverTest, TheSameChangeAndWhatWasBeforeTheStartAreNotCounted) {
  observer_.SetEndpointSlice(Slice("old", "IPv4", clock_.Now() - absl::Seconds(1)));
  clock_.Advance(absl::Seconds(10));
  const absl::Time changed = clock_.Now();
  observer_.SetEndpointSlice(Slice("a", "IPv4", changed));
  EXPECT_THAT(observer_.TakeApplied()[kV4], ElementsAre(absl::ZeroDuration()));
  observer_.SetEndpointSlice(Slice("a", "IPv4", changed));  // labels only
  EXPECT_THAT(observer_.TakeApplied()[kV4], IsEmpty());
  observer_.SetEndpointSlice(Slice("a", "IPv4", changed + absl::Seconds(1)));
  EXPECT_THAT(observer_.TakeApplied()[kV4], ElementsAre(-absl::Seconds(1)));
}

TEST_F(ChangeObserverTest, KnowsWhoAsksForAHealthCheckPort) {
  observer_.SetService(LoadBalancer("a", 30100));
  observer_.SetService(LoadBalancer("none", 0));
  model::Service cluster = LoadBalancer("cluster", 30101);
  cluster.mutable_spec()->set_external_traffic_policy("Cluster");
  observer_.SetService(cluster);
  EXPECT_THAT(Checked(), ElementsAre(ObjectName{"default", "a"}));
  EXPECT_TRUE(observer_.health_checked().begin()->second.has_v4);
  EXPECT_FALSE(observer_.health_checked().begin()->second.has_v6);
  observer_.SetService(LoadBalancer("a", 0));
  EXPECT_THAT(Checked(), IsEmpty());
}

TEST_F(ChangeObserverTest, WhatASourceDoesNotSayAgainIsForgotten) {
  observer_.SetService(LoadBalancer("a", 30100));
  observer_.SetService(LoadBalancer("b", 30101));
  observer_.Reset();
  observer_.SetService(LoadBalancer("b", 30101));
  EXPECT_EQ(Checked().size(), 2u);
  observer_.Synced();
  EXPECT_THAT(Checked(), ElementsAre(ObjectName{"default", "b"}));
}

}  // namespace
}  // namespace sluice::testing
