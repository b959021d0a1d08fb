// SPDX-License-Identifier: Apache-2.0
// Which endpoints a port has and which of them take new flows; each rule for both families.
#include "control/desired/endpoint_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/service_builder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::SliceBuilder;

class EndpointSetsTest : public ::testing::TestWithParam<bool> {
 protected:
  std::string Address(int host) const {
    return GetParam() ? absl::StrCat("10.1.0.", host) : absl::StrCat("fd00:1::", host);
  }
  SliceBuilder Slice(const std::string& suffix = "a") const {
    return SliceBuilder("web", suffix, GetParam() ? "IPv4" : "IPv6");
  }
  std::vector<DesiredBackend> Backends(const std::vector<SliceBuilder>& slices) const {
    std::vector<model::EndpointSlice> built;
    for (const SliceBuilder& slice : slices) built.push_back(slice.Build());
    std::vector<const model::EndpointSlice*> pointers;
    for (const model::EndpointSlice& slice : built) pointers.push_back(&slice);
    return BackendsOf(port_, pointers, node_, false);
  }
  std::vector<std::string> NodeNames(const std::vector<DesiredBackend>& backends,
                                     const SliceBuilder& slice) const {
    const model::EndpointSlice built = slice.Build();
    const std::vector<const model::EndpointSlice*> pointers = {&built};
    return NodeNamesOf(backends, port_, pointers, node_);
  }
  // Hosts in the set, as Address() numbers them.
  std::vector<std::string> ClusterSet(const std::vector<SliceBuilder>& slices) const {
    return Set(slices, &DesiredBackend::in_cluster_set);
  }
  std::vector<std::string> LocalSet(const std::vector<SliceBuilder>& slices) const {
    return Set(slices, &DesiredBackend::in_local_set);
  }

  PortSpec port_{"http", 6, 80, 0};
  NodeConfig node_ = [] {
    NodeConfig node;
    node.node_name = "here";
    node.zone = "zone-a";
    return node;
  }();

 private:
  std::vector<std::string> Set(const std::vector<SliceBuilder>& slices,
                               bool DesiredBackend::*member) const {
    std::vector<std::string> addresses;
    for (const DesiredBackend& backend : Backends(slices)) {
      if (backend.*member) addresses.push_back(backend.address.address.ToString());
    }
    return addresses;
  }
};

TEST_P(EndpointSetsTest, ReadyEndpointsTakeNewFlows) {
  const std::vector<SliceBuilder> slices = {
      Slice().Endpoint(Address(1)).Endpoint(Address(2), "here").Ready(true)};
  EXPECT_THAT(ClusterSet(slices), ElementsAre(Address(1), Address(2)));
  EXPECT_THAT(LocalSet(slices), ElementsAre(Address(2)));
  const std::vector<DesiredBackend> backends = Backends(slices);
  EXPECT_EQ(backends[0].address.port, 8080);
  EXPECT_FALSE(backends[0].local);
  EXPECT_TRUE(backends[1].local);
}

TEST_P(EndpointSetsTest, NamesTheNodesOfBackendsByPlace) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(2), "here").Endpoint(Address(1), "there").Endpoint(Address(3), "");
  const std::vector<DesiredBackend> backends = Backends({slice});
  EXPECT_THAT(NodeNames(backends, slice), ElementsAre("there", "here", ""));
  EXPECT_THAT(NodeNames(backends, Slice().Endpoint(Address(2), "moved")),
              ElementsAre("", "moved", ""))
      << "the slice has changed since";
}

TEST_P(EndpointSetsTest, NamesTheNodeOfTheAppearanceThatCounts) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(1), "leaving").Ready(false).Terminating(true);
  slice.Endpoint(Address(1), "here");
  EXPECT_THAT(NodeNames(Backends({slice}), slice), ElementsAre("here"));
}

TEST_P(EndpointSetsTest, MissingNodeNameMeansRemote) {
  node_.node_name = "";
  const std::vector<SliceBuilder> slices = {Slice().Endpoint(Address(1), "")};
  EXPECT_THAT(ClusterSet(slices), ElementsAre(Address(1)));
  EXPECT_THAT(LocalSet(slices), IsEmpty());
}

TEST_P(EndpointSetsTest, MissingConditionsMeanReadyAndServingAsReady) {
  const std::vector<DesiredBackend> backends = Backends({Slice()
                                                             .Endpoint(Address(1))
                                                             .Endpoint(Address(2))
                                                             .Terminating(true)
                                                             .Endpoint(Address(3))
                                                             .Ready(false)
                                                             .Terminating(true)
                                                             .Endpoint(Address(4))
                                                             .Ready(false)
                                                             .Serving(true)
                                                             .Endpoint(Address(5))
                                                             .Ready(false)
                                                             .Serving(true)
                                                             .Terminating(true)});
  ASSERT_EQ(backends.size(), 5u);
  EXPECT_EQ(backends[0].state, BackendState::kReady);
  EXPECT_EQ(backends[1].state, BackendState::kReady) << "publishNotReadyAddresses";
  EXPECT_EQ(backends[2].state, BackendState::kNotReady) << "serving is as ready: false";
  EXPECT_EQ(backends[3].state, BackendState::kNotReady) << "serving, but not terminating";
  EXPECT_EQ(backends[4].state, BackendState::kTerminating);
}

TEST_P(EndpointSetsTest, TerminatingEndpointsServeOnlyWhenNoneIsReady) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(1)).Ready(false).Serving(true).Terminating(true);
  slice.Endpoint(Address(2)).Ready(false);
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1)));
  slice.Endpoint(Address(3));
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(3)));
}

TEST_P(EndpointSetsTest, LocalSetFallsBackByItself) {
  const std::vector<SliceBuilder> slices = {Slice()
                                                .Endpoint(Address(1), "here")
                                                .Ready(false)
                                                .Serving(true)
                                                .Terminating(true)
                                                .Endpoint(Address(2), "other")};
  EXPECT_THAT(ClusterSet(slices), ElementsAre(Address(2)));
  EXPECT_THAT(LocalSet(slices), ElementsAre(Address(1)));
}

TEST_P(EndpointSetsTest, SlicesJoinByPortNameAndMayDifferInNumber) {
  const std::vector<DesiredBackend> backends =
      Backends({Slice("a").Port(8080).Port(9090, "metrics").Endpoint(Address(1)),
                Slice("b").Port(8081).Endpoint(Address(2)),
                Slice("c").Port(8082, "http", "UDP").Endpoint(Address(3)),
                Slice("d").Port(8083, "other").Endpoint(Address(4))});
  ASSERT_EQ(backends.size(), 2u);
  EXPECT_EQ(backends[0].address.port, 8080);
  EXPECT_EQ(backends[1].address.port, 8081);
}

TEST_P(EndpointSetsTest, UnnamedPortJoinsUnnamedPort) {
  port_.name = "";
  EXPECT_THAT(ClusterSet({Slice("a").Port(8080, "").Endpoint(Address(1)),
                          Slice("b").Port(8080, "http").Endpoint(Address(2))}),
              ElementsAre(Address(1)));
}

TEST_P(EndpointSetsTest, OnlyTheFirstAddressCounts) {
  SliceBuilder slice = Slice().Endpoint(Address(1));
  slice.slice().mutable_endpoints(0)->add_addresses(Address(2));
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1)));
}

TEST_P(EndpointSetsTest, OfTheSameAddressTwiceTheOneNotTerminatingWins) {
  SliceBuilder going = Slice("a");
  going.Endpoint(Address(1), "here").Ready(false).Serving(true).Terminating(true);
  SliceBuilder starting = Slice("b");
  starting.Endpoint(Address(1), "here").Ready(false).Serving(false);
  for (const auto& slices : {std::vector{going, starting}, std::vector{starting, going}}) {
    const std::vector<DesiredBackend> backends = Backends(slices);
    ASSERT_EQ(backends.size(), 1u);
    EXPECT_EQ(backends[0].state, BackendState::kNotReady);
    EXPECT_FALSE(backends[0].in_cluster_set);
  }
}

TEST_P(EndpointSetsTest, ZoneHintsNarrowTheClusterSetOnly) {
  const std::vector<SliceBuilder> slices = {Slice()
                                                .Endpoint(Address(1), "here")
                                                .Zone("zone-b")
                                                .Endpoint(Address(2))
                                                .Zone("zone-a")
                                                .Zone("zone-b")};
  EXPECT_THAT(ClusterSet(slices), ElementsAre(Address(2)));
  EXPECT_THAT(LocalSet(slices), ElementsAre(Address(1)));
}

TEST_P(EndpointSetsTest, HintsAreIgnoredUnlessAllReadyEndpointsHaveOne) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(1)).Zone("zone-a").Endpoint(Address(2)).Zone("zone-b");
  // Those that are not ready do not count.
  slice.Endpoint(Address(3)).Ready(false);
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1)));
  slice.Endpoint(Address(4));
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1), Address(2), Address(4)));
}

TEST_P(EndpointSetsTest, HintsAreIgnoredWhenNoneFitsThisNode) {
  const std::vector<SliceBuilder> slices = {
      Slice().Endpoint(Address(1)).Zone("zone-b").Endpoint(Address(2)).Zone("zone-c")};
  EXPECT_THAT(ClusterSet(slices), ElementsAre(Address(1), Address(2)));
  node_.zone = "";
  EXPECT_THAT(ClusterSet({Slice().Endpoint(Address(1)).Zone("").Endpoint(Address(2)).Zone("b")}),
              ElementsAre(Address(1), Address(2)));
}

TEST_P(EndpointSetsTest, NodeHintsComeBeforeZoneHints) {
  SliceBuilder slice = Slice();
  slice.Endpoint(Address(1)).Zone("zone-a").Node("here");
  slice.Endpoint(Address(2)).Zone("zone-a").Node("other");
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1)));
  node_.node_name = "third";
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(1), Address(2)));
}

TEST_P(EndpointSetsTest, HintsDoNotNarrowTheFallback) {
  EXPECT_THAT(ClusterSet({Slice()
                              .Endpoint(Address(1))
                              .Zone("zone-b")
                              .Ready(false)
                              .Serving(true)
                              .Terminating(true)}),
              ElementsAre(Address(1)));
}

TEST_P(EndpointSetsTest, FamiliesHaveSetsOfTheirOwn) {
  // Of the other family: ready, and hinted to another zone.
  SliceBuilder other("web", "z", GetParam() ? "IPv6" : "IPv4");
  other.Endpoint(GetParam() ? "fd00:1::9" : "10.1.0.9").Zone("zone-b");
  const std::vector<SliceBuilder> slices = {
      Slice().Endpoint(Address(1)).Ready(false).Serving(true).Terminating(true), other};
  for (const DesiredBackend& backend : Backends(slices)) EXPECT_TRUE(backend.in_cluster_set);
}

TEST_P(EndpointSetsTest, HeadlessSlicesDoNotCount) {
  SliceBuilder slice = Slice().Endpoint(Address(1));
  (*slice.slice().mutable_metadata()->mutable_labels())["service.kubernetes.io/headless"] = "";
  EXPECT_THAT(Backends({slice}), IsEmpty());
}

TEST_P(EndpointSetsTest, BadEndpointsAreReportedAndTheOthersStand) {
  SliceBuilder slice = Slice();
  const std::vector<std::string> bad = {
      GetParam() ? "010.1.0.1" : "fd00::zz", GetParam() ? "fd00:1::1" : "10.1.0.1",
      GetParam() ? "127.0.0.1" : "::1",
      GetParam() ? "0.0.0.0" : "::", GetParam() ? "239.0.0.1" : "ff02::1"};
  for (const std::string& address : bad) slice.Endpoint(address);
  slice.Endpoint(Address(7));
  EXPECT_THAT(ClusterSet({slice}), ElementsAre(Address(7)));
  const model::EndpointSlice built = slice.Build();
  const std::vector<const model::EndpointSlice*> pointers = {&built};
  std::vector<Problem> problems;
  CheckSlices(pointers, problems);
  ASSERT_EQ(problems.size(), bad.size());
  for (std::size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(problems[i].object, "EndpointSlice default/web-a");
    EXPECT_THAT(problems[i].message, HasSubstr(absl::StrCat("\"", bad[i], "\"")));
  }
}

TEST_P(EndpointSetsTest, BadTargetPortsAreReportedAndSkipped) {
  const model::EndpointSlice slice =
      Slice().Port(0).Port(70000, "big").Endpoint(Address(1)).Build();
  const std::vector<const model::EndpointSlice*> pointers = {&slice};
  EXPECT_THAT(BackendsOf(port_, pointers, node_, false), IsEmpty());
  std::vector<Problem> problems;
  CheckSlices(pointers, problems);
  EXPECT_EQ(problems.size(), 2u);
}

TEST_P(EndpointSetsTest, UnknownWordsOfASliceAreOneLineEach) {
  const std::pair<const char*, const char*> types[] = {
      {"MAC", "addressType: unknown value \"MAC\"; its 2 endpoint(s) are skipped"},
      {"FQDN", "addressType: FQDN: names are not looked up; its 2 endpoint(s) are skipped"}};
  for (const auto& [type, message] : types) {
    SliceBuilder slice("web", "a", type);
    slice.Port(80).Port(443, "quick", "QUIC").Endpoint(Address(1)).Endpoint(Address(2));
    const model::EndpointSlice built = slice.Build();
    const model::EndpointSlice* pointer = &built;
    std::vector<Problem> problems;
    CheckSlices({&pointer, 1}, problems);
    EXPECT_THAT(
        problems,
        ElementsAre(
            Problem{"EndpointSlice default/web-a", message},
            Problem{"EndpointSlice default/web-a",
                    "port \"quick\": protocol: unknown value \"QUIC\"; the port is skipped"}));
    EXPECT_THAT(Backends({slice}), IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EndpointSetsTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace sluice
