// SPDX-License-Identifier: Apache-2.0
// Which nodes have an index, which, and who takes what is passed on.
#include "control/desired/node_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "control/model/ip_address.h"
#include "maps/row_compare.h"
#include "test/support/service_builder.h"

namespace sluice {
namespace {

const ObjectName kSluice = {"kube-system", "sluice"};

model::Node NodeAt(const std::string& name, const std::vector<std::string>& internal) {
  model::Node node;
  node.mutable_metadata()->set_name(name);
  for (const std::string& address : internal) {
    model::NodeAddress& entry = *node.mutable_status()->add_addresses();
    entry.set_type("InternalIP");
    entry.set_address(address);
  }
  model::NodeAddress& external = *node.mutable_status()->add_addresses();
  external.set_type("ExternalIP");
  external.set_address("203.0.113.9");
  return node;
}

model::EndpointSlice Sluice(const std::vector<std::string>& nodes) {
  testing::SliceBuilder slice("sluice");
  slice.slice().mutable_metadata()->set_name_space("kube-system");
  for (const std::string& node : nodes) slice.Endpoint("192.0.2.1", node).Ready(false);
  return slice.Build();
}

abi::addr Abi(const std::string& text) { return IpAddress::Parse(text)->ToAbi(); }

class NodeTableTest : public ::testing::Test {
 protected:
  NodeTableTest() : cluster_("own") {
    cluster_.SetNode(NodeAt("own", {"192.0.2.10"}));
    cluster_.SetNode(NodeAt("a", {"192.0.2.11", "192.0.2.99", "2001:db8::11"}));
    cluster_.SetNode(NodeAt("b", {"192.0.2.12"}));
    cluster_.Synced();
  }
  bool Update() { return table_.Update(cluster_, kSluice); }
  abi::node Row(const std::string& name) { return table_.rows().at(table_.IndexOf(name)); }

  ClusterState cluster_;
  NodeTable table_;
};

TEST_F(NodeTableTest, OtherNodesHaveTheFirstInternalAddressOfEachFamily) {
  EXPECT_TRUE(Update());
  EXPECT_EQ(table_.rows().size(), 2u);
  EXPECT_EQ(table_.IndexOf("own"), 0u);
  EXPECT_EQ(table_.IndexOf("nobody"), 0u);
  EXPECT_NE(table_.IndexOf("a"), 0u);
  EXPECT_NE(table_.IndexOf("a"), table_.IndexOf("b"));
  EXPECT_EQ(Row("a").address[abi::SL_FAMILY_V4], Abi("192.0.2.11"));
  EXPECT_EQ(Row("a").address[abi::SL_FAMILY_V6], Abi("2001:db8::11"));
  EXPECT_EQ(Row("b").address[abi::SL_FAMILY_V6], abi::addr{});
  EXPECT_FALSE(Update()) << "nothing has changed";
}

TEST_F(NodeTableTest, WhoHasAnEndpointOfSluiceTakesWhatIsPassedOn) {
  Update();
  EXPECT_EQ(Row("a").flags, 0u);
  cluster_.SetEndpointSlice(Sluice({"b", "gone"}));
  EXPECT_FALSE(Update()) << "no index has changed";
  EXPECT_EQ(Row("a").flags, 0u);
  EXPECT_EQ(Row("b").flags, abi::SL_NODE_TUNNEL);
}

TEST_F(NodeTableTest, AnIndexStaysWhileTheNodeDoesAndIsNotGivenAgainAtOnce) {
  Update();
  const auto a = table_.IndexOf("a"), b = table_.IndexOf("b");
  cluster_.SetNode(NodeAt("a", {"192.0.2.31"}));
  EXPECT_FALSE(Update());
  EXPECT_EQ(table_.IndexOf("a"), a);
  EXPECT_EQ(Row("a").address[abi::SL_FAMILY_V4], Abi("192.0.2.31"));
  cluster_.DeleteNode("a");
  EXPECT_TRUE(Update());
  EXPECT_EQ(table_.IndexOf("a"), 0u);
  EXPECT_EQ(table_.IndexOf("b"), b);
  cluster_.SetNode(NodeAt("c", {"192.0.2.13"}));
  EXPECT_TRUE(Update());
  EXPECT_NE(table_.IndexOf("c"), a);
}

TEST_F(NodeTableTest, ARestartFindsTheIndicesAgain) {
  Update();
  cluster_.DeleteNode("a");
  cluster_.SetNode(NodeAt("c", {"192.0.2.13"}));
  Update();
  NodeTable next;
  next.Adopt({table_.rows().begin(), table_.rows().end()});
  cluster_.SetNode(NodeAt("aa", {"192.0.2.14"}));  // comes first, and takes nobody's
  EXPECT_TRUE(next.Update(cluster_, kSluice));
  EXPECT_EQ(next.IndexOf("b"), table_.IndexOf("b"));
  EXPECT_EQ(next.IndexOf("c"), table_.IndexOf("c"));
  EXPECT_NE(next.IndexOf("aa"), table_.IndexOf("b"));
  EXPECT_NE(next.IndexOf("aa"), table_.IndexOf("c"));
}

TEST_F(NodeTableTest, ANodeWithoutAnInternalAddressHasNoRow) {
  cluster_.SetNode(NodeAt("d", {}));
  Update();
  EXPECT_EQ(table_.IndexOf("d"), 0u);
  EXPECT_EQ(table_.left_out(), 0u);
}

TEST_F(NodeTableTest, MoreNodesThanThereIsRoomForAreCounted) {
  ClusterState many("own");
  for (std::uint32_t i = 0; i < abi::SL_NODES + 2; ++i) {
    many.SetNode(NodeAt(absl::StrCat("node-", i),
                        {absl::StrCat("10.", i >> 16, ".", i >> 8 & 255, ".", i & 255)}));
  }
  many.Synced();
  EXPECT_TRUE(table_.Update(many, kSluice));
  EXPECT_EQ(table_.rows().size(), abi::SL_NODES - 1);
  EXPECT_EQ(table_.left_out(), 3u);
}

}  // namespace
}  // namespace sluice
