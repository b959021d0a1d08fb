// SPDX-License-Identifier: Apache-2.0
// Frames that are not just Ethernet, IP and transport, for every kind of flow: tags, options,
// extension headers, fragments; and those that a redirect cannot send on.
#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/flow_case.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class FrameTest : public FlowTest {
 protected:
  // Runs both directions of the established flow with `change` made to every packet, before and
  // after; `after` then changes what is expected once more.
  template <typename Change, typename After>
  void BothWays(Change change, After after) {
    Establish();
    for (const bool forward : {true, false}) {
      SCOPED_TRACE(forward ? "forward" : "reply");
      Packet in = forward ? ForwardPacket() : ReplyPacket();
      Packet out = forward ? MakePacket(flavor(), seen_client(), backend())
                           : MakePacket(flavor(), service(), client());
      change(in);
      change(out);
      if (kind().snat) out = Hop(std::move(out));
      after(out);
      EXPECT_TRUE(Becomes(forward ? kind().translates : kind().reply_translates, in,
                          forward ? kind().verdict : kind().reply_verdict, out));
    }
  }
  template <typename Change>
  void BothWays(Change change) {
    BothWays(change, [](Packet&) {});
  }
  static void Insert(Packet& packet, std::size_t at, Layer layer) {
    packet.insert(packet.begin() + static_cast<std::ptrdiff_t>(at), std::move(layer));
  }
};

std::vector<FlowCase> CasesOf(std::vector<Flavor> flavors) {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : flavors) cases.push_back({kind, flavor});
  }
  return cases;
}
std::vector<FlowCase> SnatCases() {
  std::vector<FlowCase> cases = CasesOf(AllFlavors());
  std::erase_if(cases, [](const FlowCase& one) { return !one.kind.snat; });
  return cases;
}
std::vector<FlowCase> OutsideSnatCases() {
  std::vector<FlowCase> cases = SnatCases();
  std::erase_if(
      cases, [](const FlowCase& one) { return one.kind.translates.program != Program::kFromNet; });
  return cases;
}

class V4FrameTest : public FrameTest {};
class V6FrameTest : public FrameTest {};
class RedirectTest : public FrameTest {};
// What a pod sends to a remote backend is routed by the stack, which knows these things itself.
class OutsideRedirectTest : public FrameTest {};
INSTANTIATE_TEST_SUITE_P(Flows, FrameTest, ::testing::ValuesIn(CasesOf(AllFlavors())),
                         FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, V4FrameTest,
                         ::testing::ValuesIn(CasesOf({{false, 6}, {false, 17}})), FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, V6FrameTest, ::testing::ValuesIn(CasesOf({{true, 6}, {true, 17}})),
                         FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, RedirectTest, ::testing::ValuesIn(SnatCases()), FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, OutsideRedirectTest, ::testing::ValuesIn(OutsideSnatCases()),
                         FlowCaseName);

TEST_P(FrameTest, TagsAreKeptUnlessThePacketLeavesByAnotherLink) {
  for (const int tags : {1, 2}) {
    SCOPED_TRACE(tags);
    SetUp();
    snat_port_ = 0;
    BothWays(
        [&](Packet& packet) {
          Insert(packet, 1, Vlan(100));
          if (tags == 2) Insert(packet, 1, Vlan(200, 0x88a8));
        },
        [&](Packet& packet) {
          if (kind().snat) packet.erase(packet.begin() + 1, packet.begin() + 1 + tags);
        });
  }
}

TEST_P(FrameTest, OpensAFlowInATaggedFrame) {
  Packet in = ForwardPacket(Syn());
  Insert(in, 1, Vlan(5));
  const RunResult result = Run(kind().translates, in);
  EXPECT_EQ(result.verdict, kind().verdict);
  EXPECT_EQ(OpeningCount(), kind().snat ? 2u : 1u);
  EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
}

TEST_P(FrameTest, PaddingOfShortFramesStays) {
  BothWays([](Packet& packet) {
    if (std::holds_alternative<Payload>(packet.back())) packet.pop_back();
    packet.push_back(Trailer{std::string("\0\0\0\0\0\0", 6)});
  });
}

TEST_P(V4FrameTest, OptionsAreStepedOver) {
  BothWays([](Packet& packet) {
    std::get<Ipv4>(packet[1]).options = {7, 7, 4, 0, 0, 0, 0, 0};  // record route, and padding
  });
}

TEST_P(V4FrameTest, AllOptionsThatFitAreStepedOver) {
  BothWays([](Packet& packet) { std::get<Ipv4>(packet[1]).options = Bytes(40, 1); });
}

TEST_P(V6FrameTest, ExtensionHeadersAreSteppedOver) {
  BothWays([](Packet& packet) {
    Insert(packet, 2, RoutingDone());
    Insert(packet, 2, DestinationOptions());
    Insert(packet, 2, HopByHop());
  });
}

TEST_P(V6FrameTest, AFragmentHeaderOfAWholePacketIsSteppedOver) {
  BothWays([](Packet& packet) { Insert(packet, 2, Ipv6Fragment{.id = 77}); });  // RFC 6946
}

// The first fragment tells the ports; the others are translated by what it told. Put together
// again the datagram is right.
TEST_P(FrameTest, FragmentsFollowTheirFirst) {
  Establish();
  for (const bool forward : {true, false}) {
    SCOPED_TRACE(forward ? "forward" : "reply");
    const Shape large{.payload = std::string(3000, 'f')};
    const Hook& hook = forward ? kind().translates : kind().reply_translates;
    std::vector<Bytes> out;
    for (const Bytes& fragment :
         Fragments(forward ? ForwardPacket(large) : ReplyPacket(large), 1200, 4711)) {
      const RunResult result = Run(hook, fragment);
      EXPECT_EQ(result.verdict, forward ? kind().verdict : kind().reply_verdict);
      out.push_back(result.frame);
    }
    ASSERT_EQ(out.size(), 3u);
    const absl::StatusOr<Bytes> whole = Reassemble(out);
    ASSERT_THAT(whole, IsOk());
    EXPECT_THAT(VerifyChecksums(*whole), IsOk());
    Packet expected = forward ? MakePacket(flavor(), seen_client(), backend(), large)
                              : MakePacket(flavor(), service(), client(), large);
    if (kind().snat) expected = Hop(std::move(expected));
    if (!flavor().v6) std::get<Ipv4>(expected[1]).id = 4711;
    EXPECT_EQ(Difference(Build(expected), *whole), "");
  }
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(FrameTest, AFragmentedFirstPacketOpensAFlow) {
  if (tcp()) snat_port_ = 0;  // a SYN in fragments is odd, and legal
  Shape large = Syn();
  large.payload = std::string(2000, 'q');
  std::vector<Bytes> out;
  for (const Bytes& fragment : Fragments(ForwardPacket(large), 1200, 5)) {
    const RunResult result = Run(kind().translates, fragment);
    EXPECT_EQ(result.verdict, kind().verdict);
    out.push_back(result.frame);
  }
  const absl::StatusOr<Bytes> whole = Reassemble(out);
  ASSERT_THAT(whole, IsOk());
  EXPECT_THAT(VerifyChecksums(*whole), IsOk());
  EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);
}

TEST_P(FrameTest, AFragmentWhoseFirstWasNotSeenIsDroppedOnlyIfAServiceHasItsAddress) {
  ServiceSpec address = Service();
  address.port = 0;
  address.protocol = 0;
  address.kind = abi::SL_FRONTEND_ADDRESS;
  address.id = 0;
  SetService(address);
  const Shape large{.payload = std::string(3000, 'f')};
  const std::vector<Bytes> service_bound = Fragments(ForwardPacket(large), 1200, 6);
  EXPECT_TRUE(Becomes(kind().translates, service_bound[1], kDrop, {}));
  EXPECT_EQ(Drops(abi::SL_REASON_FRAGMENT_UNKNOWN, 0), 1u);
  const std::vector<Bytes> other =
      Fragments(MakePacket(flavor(), client(), {addresses().nowhere, 80}, large), 1200, 6);
  for (const Bytes& fragment : other) {
    EXPECT_TRUE(Becomes(kind().translates, fragment, kNext, fragment));
  }
}

TEST_P(RedirectTest, TheLastHopIsToldThatTimeIsExceeded) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "first packet");
    SetUp();
    snat_port_ = 0;
    if (established) Establish();
    const std::uint64_t before = Drops(abi::SL_REASON_TTL_EXCEEDED, kServiceId);
    Packet packet = ForwardPacket(established ? Shape() : Syn());
    if (flavor().v6) {
      std::get<Ipv6>(packet[1]).hop_limit = 1;
    } else {
      std::get<Ipv4>(packet[1]).ttl = 1;
    }
    const RunResult result = Run(kind().translates, packet);
    EXPECT_EQ(result.verdict, kRedirect) << "the error goes back";
    ExpectError(packet, result.frame, flavor().v6 ? 3 : 11, 0, 0);
    EXPECT_EQ(Drops(abi::SL_REASON_TTL_EXCEEDED, kServiceId), before + 1);
  }
}

TEST_P(OutsideRedirectTest, TheSenderIsToldTheMtuOfTheWay) {
  // Towards the narrow backend the way takes kNarrowMtu.
  ASSERT_THAT(writer().SetBackend(backend_id_, {.address = addresses().narrow,
                                                .port = kBackendPort,
                                                .protocol = flavor().protocol}),
              IsOk());
  Packet packet = ForwardPacket({.flags = "S", .payload = std::string(kNarrowMtu, 'x')});
  if (!flavor().v6) std::get<Ipv4>(packet[1]).dont_fragment = true;
  const RunResult result = Run(kind().translates, packet);
  EXPECT_EQ(result.verdict, kRedirect);
  ExpectError(packet, result.frame, flavor().v6 ? 2 : 3, flavor().v6 ? 0 : 4, kNarrowMtu);
  EXPECT_EQ(Drops(abi::SL_REASON_TOO_BIG, kServiceId), 1u);
  const std::size_t headers = (flavor().v6 ? 40u : 20u) + (tcp() ? 20u : 8u);
  packet = ForwardPacket({.flags = "S", .payload = std::string(kNarrowMtu - headers, 'x')});
  const RunResult fits = Run(kind().translates, packet);
  EXPECT_EQ(Drops(abi::SL_REASON_TOO_BIG, kServiceId), 1u) << "just fits";
  EXPECT_EQ(fits.frame.size(), Build(packet).size());
}

TEST_P(OutsideRedirectTest, WithoutARouteThereIsADropWithItsReason) {
  ASSERT_THAT(writer().SetBackend(backend_id_, {.address = addresses().nowhere,
                                                .port = kBackendPort,
                                                .protocol = flavor().protocol}),
              IsOk());
  EXPECT_TRUE(Becomes(kind().translates, ForwardPacket(Syn()), kDrop, {}));
  EXPECT_EQ(Drops(abi::SL_REASON_NO_ROUTE, kServiceId), 1u);
}

}  // namespace
}  // namespace sluice::testing
