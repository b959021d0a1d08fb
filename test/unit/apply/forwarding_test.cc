// SPDX-License-Identifier: Apache-2.0
// Rows of services whose packets are passed on, and of the nodes that they are passed on to.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "test/support/service_builder.h"
#include "test/unit/apply/reconciler_world.h"

namespace sluice::testing {
namespace {

using ::testing::IsEmpty;

model::Node NodeAt(const std::string& name, const std::string& internal) {
  model::Node node;
  node.mutable_metadata()->set_name(name);
  model::NodeAddress& entry = *node.mutable_status()->add_addresses();
  entry.set_type("InternalIP");
  entry.set_address(internal);
  return node;
}

class ForwardingTest : public ::testing::Test {
 protected:
  void Say(const std::string& forwarding) {
    ServiceBuilder service;
    service.ClusterIp("10.96.0.1").ExternalIp("198.51.100.7");
    service.Annotation("sluice.io/forwarding", forwarding);
    agent().SetService(service.Build());
    agent().SetEndpointSlice(
        SliceBuilder().Endpoint("10.0.0.1", "node-1").Endpoint("10.0.0.2", "node-2").Build());
    agent().SetNode(NodeAt("node-2", "192.0.2.12"));
    SliceBuilder sluice("sluice");
    sluice.slice().mutable_metadata()->set_name_space("kube-system");
    agent().SetEndpointSlice(sluice.Endpoint("192.0.2.12", "node-2").Build());
    agent().Synced();
  }
  Reconciler& agent() { return *world_.agent_; }
  std::optional<abi::service> Row(std::uint32_t protocol) {
    const auto it = world_.maps_.services.rows().find(
        AddressKey(*IpAddress::Parse("198.51.100.7"), 80, protocol));
    if (it == world_.maps_.services.rows().end()) return std::nullopt;
    return it->second;
  }
  // The address of the node that the remote backend names.
  std::string NodeOfBackend() {
    for (const auto& [id, row] : world_.maps_.backends.rows()) {
      if ((row.flags & abi::SL_BACKEND_LOCAL) != 0 || row.flags == 0) continue;
      const auto node = world_.maps_.nodes.rows().find(row.node);
      if (row.node == 0 || node == world_.maps_.nodes.rows().end()) return "";
      return IpAddress::FromAbi(node->second.address[abi::SL_FAMILY_V4]).ToString();
    }
    return "no backend";
  }
  static constexpr std::uint32_t kTcp = 6, kTunnelled = 6 | abi::SL_PROTOCOL_TUNNELLED;

  ReconcilerWorld world_;
};

TEST_F(ForwardingTest, AServiceWithDsrHasARowForWhatOtherNodesPassOn) {
  Say("dsr");
  ASSERT_TRUE(world_.Settle());
  EXPECT_EQ(world_.CheckExact(), "");
  ASSERT_TRUE(Row(kTcp).has_value() && Row(kTunnelled).has_value());
  EXPECT_NE(Row(kTcp)->flags & abi::SL_SERVICE_DSR, 0);
  EXPECT_EQ(Row(kTcp)->slots[abi::SL_SCOPE_EXTERNAL].count, 2u);
  EXPECT_EQ(Row(kTunnelled)->flags & abi::SL_SERVICE_DSR, 0);
  EXPECT_NE(Row(kTunnelled)->flags & abi::SL_SERVICE_LOCAL_EXTERNAL, 0);
  EXPECT_EQ(Row(kTunnelled)->id, Row(kTcp)->id);
  EXPECT_EQ(Row(kTunnelled)->slots[abi::SL_SCOPE_EXTERNAL].count, 1u);
  EXPECT_EQ(NodeOfBackend(), "192.0.2.12");
  ASSERT_EQ(world_.maps_.node_ids.rows().size(), 1u);
  EXPECT_EQ(agent().nodes().rows().begin()->second.flags, abi::SL_NODE_TUNNEL);
}

TEST_F(ForwardingTest, ItChangesWithTheAnnotation) {
  Say("snat");
  ASSERT_TRUE(world_.Settle());
  EXPECT_FALSE(Row(kTunnelled).has_value());
  EXPECT_EQ(Row(kTcp)->flags & abi::SL_SERVICE_DSR, 0);
  EXPECT_EQ(NodeOfBackend(), "");
  Say("hybrid");
  ASSERT_TRUE(world_.Settle());
  EXPECT_TRUE(Row(kTunnelled).has_value());
  EXPECT_NE(Row(kTcp)->flags & abi::SL_SERVICE_DSR, 0);
  Say("snat");
  ASSERT_TRUE(world_.Settle());
  EXPECT_FALSE(Row(kTunnelled).has_value());
  EXPECT_EQ(world_.CheckExact(), "");
}

TEST_F(ForwardingTest, ANodeThatGoesTakesItsRowsAlong) {
  Say("dsr");
  ASSERT_TRUE(world_.Settle());
  agent().DeleteNode("node-2");
  ASSERT_TRUE(world_.Settle());
  EXPECT_EQ(NodeOfBackend(), "");
  EXPECT_THAT(world_.maps_.node_ids.rows(), IsEmpty());
  EXPECT_TRUE(world_.maps_.nodes.Dump()->empty());
  agent().SetNode(NodeAt("node-2", "192.0.2.32"));
  ASSERT_TRUE(world_.Settle());
  EXPECT_EQ(NodeOfBackend(), "192.0.2.32");
}

TEST_F(ForwardingTest, ARestartWritesNothing) {
  Say("dsr");
  ASSERT_TRUE(world_.Settle());
  const std::uint64_t rows = world_.maps_.faults.rows;
  world_.StartAgent();
  Say("dsr");
  ASSERT_TRUE(world_.Settle());
  EXPECT_EQ(world_.maps_.faults.rows, rows);
}

TEST_F(ForwardingTest, AFailedWriteIsTriedAgainAndLosesNothing) {
  world_.maps_.faults.before_row = [](const std::string& map) {
    return map == "sl_node_ids" ? absl::UnavailableError("later") : absl::OkStatus();
  };
  Say("dsr");
  EXPECT_FALSE(world_.Settle(5));
  EXPECT_FALSE(agent().degraded().empty());
  EXPECT_FALSE(Row(kTcp).has_value()) << "before the nodes that it leads to";
  world_.maps_.faults.before_row = nullptr;
  ASSERT_TRUE(world_.Settle());
  EXPECT_EQ(NodeOfBackend(), "192.0.2.12");
  EXPECT_THAT(agent().degraded(), IsEmpty());
}

}  // namespace
}  // namespace sluice::testing
