// SPDX-License-Identifier: Apache-2.0
// sl_xdp: what leaves the node before the kernel makes an skb of it, what is dropped there, and
// that everything else is left as it came. Flows begin in TC and go on here, and the other way
// round.
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/names.h"
#include "maps/uplink.h"
#include "test/bpf/early_fixture.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// A flow from outside to a pod of another node, established.
class EarlyFlowTest : public FlowTest {
 protected:
  ::testing::AssertionResult Goes(const Shape& shape = {}) {
    return Becomes(kXdp, ForwardPacket(shape), kSent,
                   Sent("uplink", kNode2, MakePacket(flavor(), seen_client(), backend(), shape)));
  }
  ::testing::AssertionResult Returns(const Shape& shape = {}) {
    return Becomes(kXdp, ReplyPacket(shape), kSent,
                   Sent("uplink", kRouter, MakePacket(flavor(), service(), client(), shape)));
  }
};
INSTANTIATE_TEST_SUITE_P(Flows, EarlyFlowTest, ::testing::ValuesIn(CasesOf("OutsideToRemote")),
                         FlowCaseName);

TEST_P(EarlyFlowTest, AnEstablishedFlowGoesOnHereAndThere) {
  Establish();
  const abi::service_stats before = ServiceStats(kServiceId);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Goes());
    EXPECT_TRUE(Returns());
    EXPECT_TRUE(Forward());
    EXPECT_TRUE(Reply());
  }
  const abi::service_stats after = ServiceStats(kServiceId);
  EXPECT_EQ(after.packets_in - before.packets_in, 6u);
  EXPECT_EQ(after.packets_out - before.packets_out, 6u);
  EXPECT_EQ(after.bytes_in - before.bytes_in, 6 * Build(ForwardPacket()).size());
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(EarlyFlowTest, ChecksumsAreRightWhateverTheLength) {
  Establish();
  for (std::size_t size : {1, 2, 3, 7, 64, 255, 256, 1000, 1399, 1400}) {
    SCOPED_TRACE(size);
    EXPECT_TRUE(Goes({.payload = std::string(size, 'x')}));
    EXPECT_TRUE(Returns({.payload = std::string(size, 'y')}));
  }
}

// In three buffers: what a driver with jumbo frames hands over.
TEST_P(EarlyFlowTest, AJumboFrameGoesToo) {
  Establish();
  ASSERT_THAT(net().Ip({"link set uplink mtu 9000"}), IsOk());
  const absl::Cleanup narrow = [this] {
    EXPECT_THAT(net().Ip({"link set uplink mtu 1500"}), IsOk());
  };
  EXPECT_TRUE(Goes({.payload = std::string(8801, 'x')}));
  EXPECT_TRUE(Returns({.payload = std::string(8800, 'y')}));
}

// From its first packet on, in whichever of the two places each of them is dealt with.
TEST_P(EarlyFlowTest, AFlowIsOpenedHereAndThere) {
  const auto goes = [&](const Shape& shape, bool early) {
    return early ? Goes(shape) : Forward(shape);
  };
  const auto returns = [&](const Shape& shape, bool early) {
    return early ? Returns(shape) : Reply(shape);
  };
  for (unsigned where = 0; where < 16; ++where) {
    SCOPED_TRACE(where);
    SetUp();
    snat_port_ = 0;
    if ((where & 1) != 0) {
      const RunResult first = Run(kXdp, ForwardPacket(Syn()));
      ASSERT_EQ(first.verdict, kSent);
      const absl::StatusOr<Packet> parsed = Parse(first.frame);
      ASSERT_THAT(parsed, IsOk());
      snat_port_ = PortsOf(*parsed).source;
    } else {
      ASSERT_TRUE(Forward(Syn()));
    }
    EXPECT_TRUE(returns(SynAck(), (where & 2) != 0));
    EXPECT_EQ(FlowCount(), 0u);
    // Of SCTP the backend's word counts, which comes after the client's.
    const Shape echo{.chunk = flavor().sctp() ? std::optional<std::uint8_t>(kSctpCookieEcho)
                                              : std::nullopt};
    EXPECT_TRUE(goes(echo, (where & 4) != 0));
    EXPECT_EQ(FlowCount(), 2u);
    EXPECT_TRUE(goes({}, (where & 8) != 0));
    EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);
    EXPECT_EQ(ServiceStats(kServiceId).packets_in, 3u);
    EXPECT_EQ(ServiceStats(kServiceId).packets_out, 1u);
    EXPECT_EQ(ServiceStats(kServiceId).failed, 0u);
    EXPECT_EQ(AllDrops(), 0u);
  }
}

// Nor does one that is in the middle of a flow leave.
TEST_P(EarlyFlowTest, AFrameForAnotherIsNotTakenForAFlowsHereOrThere) {
  Establish();
  Packet flooded = ForwardPacket();
  std::get<Ethernet>(flooded.front()).destination = "02:00:00:00:00:99";
  EXPECT_TRUE(Untouched(kXdp, flooded));
  EXPECT_TRUE(Untouched(kFromNet, flooded));
}

// A frame that the network has flooded may be somebody's behind a bridge: it leaves no trace.
TEST_P(EarlyFlowTest, AFrameForAnotherOpensNothing) {
  Packet flooded = ForwardPacket(Syn());
  std::get<Ethernet>(flooded.front()).destination = "02:00:00:00:00:99";
  EXPECT_TRUE(Untouched(kXdp, flooded));
  EXPECT_EQ(OpeningCount(), 0u);
}

TEST_P(EarlyFlowTest, AFlowIsClosedHereAsThere) {
  if (flavor().protocol == 17) return;
  Establish();
  EXPECT_TRUE(Goes({.flags = "FA", .payload = ""}));
  EXPECT_EQ(FlowRow(ForwardKey())->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_FIN_CLIENT);
  EXPECT_TRUE(Returns({.flags = "FA", .payload = ""}));
  EXPECT_EQ(FlowRow(ForwardKey())->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_CLOSED);
  EXPECT_EQ(FlowRow(ReplyKey())->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_CLOSED);
}

TEST_P(EarlyFlowTest, APacketNotesWhenItCame) {
  Establish();
  ChangeFlows([](const abi::flow&, abi::flow_entry& entry) { entry.last_seen = entry.beat = 0; });
  EXPECT_TRUE(Goes());
  EXPECT_NE(FlowRow(ForwardKey())->last_seen, 0u);
  EXPECT_EQ(FlowRow(ReplyKey())->last_seen, 0u);
}

// TC renews the flow, or refuses the packet and says so to its sender.
TEST_P(EarlyFlowTest, AFlowWhoseBackendIsGoneIsLeft) {
  Establish();
  ReplaceBackend();
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
  EXPECT_EQ(FlowCount(), 2u);
}

// TC says so to the sender.
TEST_P(EarlyFlowTest, WhatHasNoHopLeftIsLeft) {
  Establish();
  Packet packet = ForwardPacket();
  if (flavor().v6) {
    std::get<Ipv6>(packet[1]).hop_limit = 1;
  } else {
    std::get<Ipv4>(packet[1]).ttl = 1;
  }
  EXPECT_TRUE(Untouched(kXdp, packet));
}

TEST_P(EarlyFlowTest, OptionsAndExtensionHeadersAreSteppedOver) {
  Establish();
  const auto with = [&](Packet packet) {
    if (flavor().v6) {
      packet.insert(packet.begin() + 2, DestinationOptions());
      packet.insert(packet.begin() + 2, HopByHop());
    } else {
      std::get<Ipv4>(packet[1]).options = {7, 7, 4, 0, 0, 0, 0, 0};  // record route, and padding
    }
    return packet;
  };
  EXPECT_TRUE(
      Becomes(kXdp, with(ForwardPacket()), kSent,
              with(Sent("uplink", kNode2, MakePacket(flavor(), seen_client(), backend())))));
  EXPECT_TRUE(Becomes(kXdp, with(ReplyPacket()), kSent,
                      with(Sent("uplink", kRouter, MakePacket(flavor(), service(), client())))));
}

TEST_P(EarlyFlowTest, FragmentsAreLeft) {
  Establish();
  for (const Bytes& piece : Fragments(ForwardPacket({.payload = std::string(200, 'f')}), 64, 77)) {
    EXPECT_TRUE(Becomes(kXdp, piece, kNext, piece));
  }
}

TEST_P(EarlyFlowTest, ADatagramWithoutAChecksumGetsNone) {
  if (flavor().protocol != 17 || flavor().v6) return;
  Establish();
  Packet in = ForwardPacket();
  Packet out = Sent("uplink", kNode2, MakePacket(flavor(), seen_client(), backend()));
  for (Packet* packet : {&in, &out}) {
    for (Layer& layer : *packet) {
      if (auto* udp = std::get_if<Udp>(&layer)) udp->no_checksum = true;
    }
  }
  EXPECT_TRUE(Becomes(kXdp, in, kSent, out));
}

// A route that is narrower than the packet: TC says so to the sender.
class EarlyNarrowTest : public EarlyFlowTest {};
INSTANTIATE_TEST_SUITE_P(Flows, EarlyNarrowTest, ::testing::ValuesIn(CasesOf("OutsideToRemote")),
                         FlowCaseName);

TEST_P(EarlyNarrowTest, WhatDoesNotFitIsLeft) {
  MoveServiceTo(addresses().narrow, kBackendPort);
  const RunResult first = Run(kFromNet, ForwardPacket(Syn()));
  ASSERT_EQ(first.verdict, kRedirect);
  const absl::StatusOr<Packet> parsed = Parse(first.frame);
  ASSERT_THAT(parsed, IsOk());
  const End seen{addresses().node, PortsOf(*parsed).source};
  const End narrow{addresses().narrow, kBackendPort};
  Run(kFromNet, MakePacket(flavor(), narrow, seen, SynAck()));
  Run(kFromNet, ForwardPacket());
  ASSERT_EQ(FlowCount(), 2u);
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket({.payload = std::string(kNarrowMtu, 'n')})));
  EXPECT_TRUE(Becomes(kXdp, ForwardPacket(), kSent,
                      Sent("uplink", kNode2, MakePacket(flavor(), seen, narrow))));
}

// Flows that the stack routes are rewritten by TC alone.
class EarlyRoutedTest : public FlowTest {};
INSTANTIATE_TEST_SUITE_P(Flows, EarlyRoutedTest, ::testing::ValuesIn(CasesOf("OutsideToLocal")),
                         FlowCaseName);

TEST_P(EarlyRoutedTest, IsLeft) {
  Establish();
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
  EXPECT_EQ(ServiceStats(kServiceId).packets_in, 2u);
}

class EarlyRefuseTest : public ServiceTest {
 protected:
  void ExpectDroppedEarly(const Packet& packet, std::uint32_t reason, std::uint32_t service_id) {
    Packet flooded = packet;
    std::get<Ethernet>(flooded.front()).destination = "02:00:00:00:00:99";
    EXPECT_TRUE(Untouched(kXdp, flooded)) << "for another, whose frames the network floods";
    EXPECT_EQ(AllDrops(), 0u);
    ExpectDropped(kXdp, packet, reason, service_id);
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, EarlyRefuseTest, ::testing::ValuesIn(AllFlavors()),
                         FlavorCaseName);
INSTANTIATE_TEST_SUITE_P(Sctp, EarlyRefuseTest, ::testing::ValuesIn(SctpFlavors()), FlavorCaseName);

TEST_P(EarlyRefuseTest, AClusterIpFromOutsideIsDropped) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}, kPlain | abi::SL_SERVICE_DENY_EXTERNAL));
  ExpectDroppedEarly(Question(outside(), cluster_ip()), abi::SL_REASON_EXTERNAL_DENIED, kService);
}

TEST_P(EarlyRefuseTest, AnAddressThatNoServiceHasIsDropped) {
  ExpectDroppedEarly(Question(outside(), {addresses().unallocated, 80}),
                     abi::SL_REASON_NO_SUCH_SERVICE, 0);
}

TEST_P(EarlyRefuseTest, WhoMayNotComeInIsDroppedWithItsFirstPacket) {
  const std::uint16_t ranges = flavor().v6 ? abi::SL_SERVICE_RANGES_V6 : abi::SL_SERVICE_RANGES_V4;
  SetService(
      NodePort({Backend(addresses().remote, false)}, static_cast<std::uint16_t>(kPlain | ranges)));
  ExpectDroppedEarly(Question(outside(), node_port()), abi::SL_REASON_SOURCE_DENIED, kService);
  // What is in the middle of a flow that nobody knows is answered, by TC.
  if (tcp()) {
    EXPECT_TRUE(Untouched(kXdp, Question(outside(), node_port(), {})));
  }
}

// Decided once: TC does what was decided here, and does not take the packet for one sent again.
TEST_P(EarlyRefuseTest, WhatALocalBackendGetsIsLeftWithTheDecision) {
  SetService(NodePort({Backend(addresses().pod2, true), Backend(addresses().remote, false)}));
  int local = 0;
  for (std::uint16_t port = 1000; port < 1200; ++port) {
    const Packet question = Question({addresses().outside, port}, node_port());
    if (Run(kXdp, question).verdict == kSent) continue;
    ++local;
    EXPECT_TRUE(Becomes(kFromNet, question, kNext,
                        Question({addresses().outside, port}, {addresses().pod2, kBackendPort})));
  }
  EXPECT_GT(local, 60);
  EXPECT_LT(local, 140);
  EXPECT_EQ(ServiceStats(kService).opened, 200u);
  EXPECT_EQ(ServiceStats(kService).failed, 0u);
  EXPECT_EQ(ServiceStats(kService).packets_in, 200u);
}

TEST_P(EarlyRefuseTest, APacketSentAgainIsSoForBothTogether) {
  if (flavor().protocol == 17) return;
  SetService(NodePort({Backend(addresses().pod2, true), Backend(addresses().pod1, true)}));
  const Packet question = Question(outside(), node_port());
  std::vector<std::string> chosen;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Untouched(kXdp, question));
    const RunResult result = Run(kFromNet, question);
    EXPECT_EQ(result.verdict, kNext);
    const absl::StatusOr<Packet> sent = Parse(result.frame);
    ASSERT_THAT(sent, IsOk());
    chosen.push_back(DestinationOf(*sent));
    EXPECT_EQ(ServiceStats(kService).failed, static_cast<unsigned>(i));
  }
  EXPECT_NE(chosen[0], chosen[1]);
  EXPECT_NE(chosen[1], chosen[2]);
  // And by TC alone.
  EXPECT_EQ(Run(kFromNet, question).verdict, kNext);
  EXPECT_EQ(ServiceStats(kService).failed, 3u);
}

// Whoever asks for a port that an address does not have is answered, by TC.
TEST_P(EarlyRefuseTest, WhatIsAnsweredIsLeft) {
  ServiceSpec address = ClusterIp({});
  address.port = 0;
  address.protocol = 0;
  address.kind = abi::SL_FRONTEND_EXTERNAL_ADDRESS;
  address.flags = kPlain;
  address.id = 0;
  SetService(address);
  EXPECT_TRUE(Untouched(kXdp, Question(outside(), cluster_ip())));
  SetService(NodePort({}, 0));
  EXPECT_TRUE(Untouched(kXdp, Question(outside(), node_port())));
}

TEST_P(EarlyRefuseTest, WhatIsNoServicesIsLeft) {
  SetService(NodePort({Backend(addresses().remote, false)}));
  EXPECT_TRUE(Untouched(kXdp, Question(outside(), {addresses().node, 22})));
  EXPECT_TRUE(Untouched(kXdp, Question(outside(), {addresses().pod1, kNodePort})));
  EXPECT_EQ(OpeningCount(), 0u);
}

}  // namespace
}  // namespace sluice::testing
