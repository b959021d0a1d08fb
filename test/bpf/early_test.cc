// SPDX-License-Identifier: Apache-2.0
// sl_xdp: what leaves the node before the kernel makes an skb of it, what is dropped there, and
// that everything else is left as it came. Flows begin in TC and go on here, and the other way
// round.
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/names.h"
#include "maps/uplink.h"
#include "test/bpf/flow_case.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// As datapath_fixture.cc has the neighbours.
constexpr char kRouter[] = "02:00:00:00:01:01";
constexpr char kNode2[] = "02:00:00:00:01:20";
constexpr char kPod2[] = "02:00:00:00:02:02";

// `packet` as a frame from a device of the node to a neighbour, one hop on.
Packet Sent(const std::string& device, const std::string& neighbour, const Packet& packet) {
  Packet sent = Hop(packet);
  sent.front() = Ethernet{.source = MacOf(device), .destination = neighbour};
  return sent;
}

Packet Tagged(Packet packet, std::uint16_t id) {
  packet.insert(packet.begin() + 1, Vlan{.id = id});
  return packet;
}

std::vector<FlowCase> CasesOf(const std::string& kind) {
  std::vector<Flavor> flavors = AllFlavors();
  for (const Flavor& flavor : SctpFlavors()) flavors.push_back(flavor);
  std::vector<FlowCase> cases;
  for (const FlowKind& candidate : FlowKinds()) {
    if (candidate.name != kind) continue;
    for (const Flavor& flavor : flavors) cases.push_back({candidate, flavor});
  }
  return cases;
}

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

// Nor does one that is in the middle of a flow leave; and what no uplink's row is of is nobody's.
TEST_P(EarlyFlowTest, AFrameForAnotherIsNotTakenForAFlowsHereOrThere) {
  Establish();
  Packet flooded = ForwardPacket();
  std::get<Ethernet>(flooded.front()).destination = "02:00:00:00:00:99";
  EXPECT_TRUE(Untouched(kXdp, flooded));
  EXPECT_TRUE(Untouched(kFromNet, flooded));
  const abi::uplink_key key{.device = Ifindex("uplink"), .vlan = 0};
  ASSERT_THAT(runner().DeleteXdpRow(names::kUplinks, key), IsOk());
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
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

// The backend is behind another device, which takes frames from here only if it says so.
class EarlyPortTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    pod2_ = Ifindex("pod2");
  }
  void TearDown() override {
    EXPECT_THAT(runner().DeleteXdpRow(names::kXdpWays, pod2_), IsOk());
    EXPECT_THAT(runner().DeleteXdpRow(names::kXdpPorts, pod2_), IsOk());
    FlowTest::TearDown();
  }
  void SetWay(std::uint16_t flags) {
    ASSERT_THAT(runner().SetXdpRow(names::kXdpPorts, pod2_, pod2_), IsOk());
    ASSERT_THAT(runner().SetXdpRow(names::kXdpWays, pod2_, abi::uplink_way{pod2_, 0, flags}),
                IsOk());
  }
  ::testing::AssertionResult GoesThere(const Shape& shape = {}) {
    return Becomes(kXdp, ForwardPacket(shape), kRedirect,
                   Sent("pod2", kPod2, MakePacket(flavor(), seen_client(), backend(), shape)));
  }

  std::uint32_t pod2_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Flows, EarlyPortTest, ::testing::ValuesIn(CasesOf("Masquerade")),
                         FlowCaseName);

TEST_P(EarlyPortTest, AnotherDeviceIsUsedIfItTakesFrames) {
  Establish();
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
  SetWay(0);
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
  SetWay(abi::SL_WAY_TAKES_FRAMES);
  EXPECT_TRUE(GoesThere());
}

TEST_P(EarlyPortTest, FramesInBuffersGoWhereTheyAreTaken) {
  Establish();
  const Shape large{.payload = std::string(8801, 'x')};
  ASSERT_THAT(net().Ip({"link set pod2 mtu 9000"}), IsOk());
  const absl::Cleanup narrow = [this] {
    EXPECT_THAT(net().Ip({"link set pod2 mtu 1500"}), IsOk());
  };
  SetWay(abi::SL_WAY_TAKES_FRAMES);
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket(large)));
  SetWay(abi::SL_WAY_TAKES_FRAMES | abi::SL_WAY_TAKES_BUFFERS);
  EXPECT_TRUE(GoesThere(large));
}

TEST_P(EarlyPortTest, WhatLeavesByAVlanGetsItsTag) {
  Establish();
  const abi::uplink_way way{.device = Ifindex("uplink"), .vlan = 9, .flags = 0};
  ASSERT_THAT(runner().SetXdpRow(names::kXdpWays, pod2_, way), IsOk());
  EXPECT_TRUE(
      Becomes(kXdp, ForwardPacket(), kSent,
              Tagged(Sent("pod2", kPod2, MakePacket(flavor(), seen_client(), backend())), 9)));
}

// The uplink is a VLAN (7) of another device, whose driver hands the frames over.
constexpr Hook kTrunk{Program::kXdp, "pod1"};
constexpr std::uint16_t kVlan = 7;

void SetVlanUplink(ProgRunner& runner, std::uint32_t trunk, std::uint32_t uplink) {
  SetUplink(runner, {.device = trunk, .vlan = kVlan}, uplink, MacOf("uplink"));
  ASSERT_THAT(runner.SetXdpRow(names::kXdpWays, uplink, abi::uplink_way{trunk, kVlan, /*flags=*/0}),
              IsOk());
}

void RemoveVlanUplink(ProgRunner& runner, std::uint32_t trunk, std::uint32_t uplink) {
  EXPECT_THAT(runner.DeleteXdpRow(names::kUplinks, abi::uplink_key{.device = trunk, .vlan = kVlan}),
              IsOk());
  EXPECT_THAT(runner.DeleteXdpRow(names::kXdpWays, uplink), IsOk());
}

class EarlyVlanTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    SetVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
  }
  void TearDown() override {
    RemoveVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
    FlowTest::TearDown();
  }
  // The tag that frames leave with.
  void SetVlanOut(std::uint16_t vlan) {
    ASSERT_THAT(runner().SetXdpRow(names::kXdpWays, Ifindex("uplink"),
                                   abi::uplink_way{Ifindex("pod1"), vlan, /*flags=*/0}),
                IsOk());
  }
  Packet Out(const Shape& shape = {}) {
    return Sent("uplink", kNode2, MakePacket(flavor(), seen_client(), backend(), shape));
  }
  Packet Back(const Shape& shape = {}) {
    return Sent("uplink", kRouter, MakePacket(flavor(), service(), client(), shape));
  }
};
INSTANTIATE_TEST_SUITE_P(Flows, EarlyVlanTest, ::testing::ValuesIn(CasesOf("OutsideToRemote")),
                         FlowCaseName);

TEST_P(EarlyVlanTest, AFlowIsOpenedAndGoesOnWithItsTag) {
  const RunResult first = Run(kTrunk, Tagged(ForwardPacket(Syn()), kVlan));
  ASSERT_EQ(first.verdict, kSent);
  const absl::StatusOr<Packet> parsed = Parse(first.frame);
  ASSERT_THAT(parsed, IsOk());
  snat_port_ = PortsOf(*parsed).source;
  EXPECT_EQ(Difference(Build(Tagged(Out(Syn()), kVlan)), first.frame), "");
  const Shape echo{.chunk = flavor().sctp() ? std::optional<std::uint8_t>(kSctpCookieEcho)
                                            : std::nullopt};
  EXPECT_TRUE(
      Becomes(kTrunk, Tagged(ReplyPacket(SynAck()), kVlan), kSent, Tagged(Back(SynAck()), kVlan)));
  EXPECT_TRUE(Becomes(kTrunk, Tagged(ForwardPacket(echo), kVlan), kSent, Tagged(Out(echo), kVlan)));
  EXPECT_EQ(FlowCount(), 2u);
  const std::uint64_t before = ServiceStats(kServiceId).bytes_in;
  EXPECT_TRUE(Becomes(kTrunk, Tagged(ForwardPacket(), kVlan), kSent, Tagged(Out(), kVlan)));
  EXPECT_EQ(ServiceStats(kServiceId).bytes_in - before, Build(ForwardPacket()).size())
      << "as the VLAN's interface counts them";
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(EarlyVlanTest, ATagIsChangedOrTakenOffAsTheWayOutWantsIt) {
  Establish();
  SetVlanOut(9);
  EXPECT_TRUE(Becomes(kTrunk, Tagged(ForwardPacket(), kVlan), kSent, Tagged(Out(), 9)));
  SetVlanOut(0);
  EXPECT_TRUE(Becomes(kTrunk, Tagged(ForwardPacket(), kVlan), kSent, Out()));
}

TEST_P(EarlyVlanTest, AJumboFrameGoesToo) {
  Establish();
  ASSERT_THAT(net().Ip({"link set uplink mtu 9000"}), IsOk());
  const absl::Cleanup narrow = [this] {
    EXPECT_THAT(net().Ip({"link set uplink mtu 1500"}), IsOk());
  };
  const Shape large{.payload = std::string(8801, 'x')};
  EXPECT_TRUE(
      Becomes(kTrunk, Tagged(ForwardPacket(large), kVlan), kSent, Tagged(Out(large), kVlan)));
}

// Of VLANs that are no uplink's, and of tags in tags or of another kind, the stack knows.
TEST_P(EarlyVlanTest, OtherTagsAreLeft) {
  Establish();
  Packet other = ForwardPacket();
  other.insert(other.begin() + 1, Vlan{.id = kVlan, .tag_ethertype = 0x88a8});
  for (const Packet& packet : {ForwardPacket(), Tagged(ForwardPacket(), 8),
                               Tagged(Tagged(ForwardPacket(), kVlan), kVlan), other}) {
    EXPECT_TRUE(Untouched(kTrunk, packet));
  }
}

// A tag that says a priority only.
TEST_P(EarlyVlanTest, ATagWithoutAnIdIsNone) {
  Establish();
  EXPECT_TRUE(Becomes(kXdp, Tagged(ForwardPacket(), 0), kSent, Out()));
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

TEST_P(EarlyRefuseTest, WhatComesByAVlanIsDroppedAsElsewhere) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}, kPlain | abi::SL_SERVICE_DENY_EXTERNAL));
  const Packet tagged = Tagged(Question(outside(), cluster_ip()), kVlan);
  EXPECT_TRUE(Untouched(kTrunk, tagged)) << "nobody's yet";
  SetVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
  ExpectDropped(kTrunk, tagged, abi::SL_REASON_EXTERNAL_DENIED, kService);
  RemoveVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
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
