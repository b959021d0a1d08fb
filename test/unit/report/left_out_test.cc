// SPDX-License-Identifier: Apache-2.0
// Every reason for which the rules of control/desired leave an endpoint out is told from what they
// leave behind: the slices go through them, both families.
#include "control/report/left_out.h"

#include "gtest/gtest.h"

#include "control/desired/endpoint_sets.h"
#include "test/support/service_builder.h"

namespace sluice::report {
namespace {

using ::sluice::testing::SliceBuilder;

class LeftOutTest : public ::testing::TestWithParam<bool> {
 protected:
  SliceBuilder Slice() const { return SliceBuilder("web", "a", GetParam() ? "IPv4" : "IPv6"); }
  std::string Address(int host) const {
    return absl::StrCat(GetParam() ? "203.0.113." : "2001:db8::", host);
  }
  // What is said of the endpoint with that address.
  std::string_view Why(const SliceBuilder& slice, int host, bool local_set) const {
    const model::EndpointSlice built = slice.Build();
    const model::EndpointSlice* pointer = &built;
    NodeConfig node;
    node.node_name = "here";
    node.zone = "z1";
    const PortSpec port{"http", 6, 80, 0};
    for (const DesiredBackend& backend : BackendsOf(port, {&pointer, 1}, node, false)) {
      if (backend.address.address.ToString() != Address(host)) continue;
      const char* states[] = {"ready", "terminating", "notReady"};
      return WhyLeftOut({backend.address.address, backend.address.port, "",
                         states[static_cast<int>(backend.state)], backend.local,
                         backend.in_cluster_set, backend.in_local_set},
                        local_set);
    }
    return "is not there";
  }
};

TEST_P(LeftOutTest, NobodyIsLeftOutWithoutReason) {
  const SliceBuilder slice = Slice().Endpoint(Address(1), "here").Endpoint(Address(2));
  EXPECT_EQ(Why(slice, 1, false), "");
  EXPECT_EQ(Why(slice, 2, false), "");
  EXPECT_EQ(Why(slice, 1, true), "");
}

TEST_P(LeftOutTest, ReadinessComesFirst) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(1), "here").Ready(false).Serving(true).Terminating(true);
  slice.Endpoint(Address(2), "here").Ready(false);
  EXPECT_EQ(Why(slice, 1, false), "") << "nobody else is there";
  EXPECT_EQ(Why(slice, 2, false), "not ready");
  slice.Endpoint(Address(3), "here");
  EXPECT_EQ(Why(slice, 1, false), "terminating, while others are ready");
  EXPECT_EQ(Why(slice, 1, true), "terminating, while others are ready");
  EXPECT_EQ(Why(slice, 2, true), "not ready");
}

TEST_P(LeftOutTest, OfTheLocalSetOtherNodesAre) {
  const SliceBuilder slice = Slice().Endpoint(Address(1), "here").Endpoint(Address(2));
  EXPECT_EQ(Why(slice, 2, true), "on another node, and the policy is Local");
}

TEST_P(LeftOutTest, HintsForOthers) {
  const SliceBuilder zones =
      Slice().Endpoint(Address(1)).Zone("z1").Endpoint(Address(2), "here").Zone("z2");
  EXPECT_EQ(Why(zones, 1, false), "");
  EXPECT_EQ(Why(zones, 2, false), "the hints are for other zones or nodes");
  EXPECT_EQ(Why(zones, 2, true), "") << "the local set ignores hints";
  const SliceBuilder nodes =
      Slice().Endpoint(Address(1)).Node("here").Endpoint(Address(2)).Node("there");
  EXPECT_EQ(Why(nodes, 2, false), "the hints are for other zones or nodes");
}

INSTANTIATE_TEST_SUITE_P(Families, LeftOutTest, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace sluice::report
