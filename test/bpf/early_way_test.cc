// SPDX-License-Identifier: Apache-2.0
// sl_xdp: frames with VLAN tags, and those that leave by another device than they came in by.
#include <string>

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

TEST_P(EarlyPortTest, WhatIsOfNoUplinkOrForAnotherIsLeft) {
  Establish();
  SetWay(abi::SL_WAY_TAKES_FRAMES);
  Packet flooded = ForwardPacket();
  std::get<Ethernet>(flooded.front()).destination = "02:00:00:00:00:99";
  EXPECT_TRUE(Untouched(kXdp, flooded));
  EXPECT_TRUE(GoesThere());
  const abi::uplink_key key{.device = Ifindex("uplink"), .vlan = 0};
  ASSERT_THAT(runner().DeleteXdpRow(names::kUplinks, key), IsOk());
  EXPECT_TRUE(Untouched(kXdp, ForwardPacket()));
}

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

class EarlyVlanServiceTest : public ServiceTest {};
INSTANTIATE_TEST_SUITE_P(Flavors, EarlyVlanServiceTest, ::testing::ValuesIn(AllFlavors()),
                         FlavorCaseName);
INSTANTIATE_TEST_SUITE_P(Sctp, EarlyVlanServiceTest, ::testing::ValuesIn(SctpFlavors()),
                         FlavorCaseName);

TEST_P(EarlyVlanServiceTest, WhatComesByAVlanIsDroppedAsElsewhere) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}, kPlain | abi::SL_SERVICE_DENY_EXTERNAL));
  const Packet tagged = Tagged(Question(outside(), cluster_ip()), kVlan);
  EXPECT_TRUE(Untouched(kTrunk, tagged)) << "nobody's yet";
  SetVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
  ExpectDropped(kTrunk, tagged, abi::SL_REASON_EXTERNAL_DENIED, kService);
  RemoveVlanUplink(runner(), Ifindex("pod1"), Ifindex("uplink"));
}

}  // namespace
}  // namespace sluice::testing
