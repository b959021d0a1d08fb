// SPDX-License-Identifier: Apache-2.0
// What is not passed on, what comes wrapped and is nobody's business here, and what is answered.
#include "test/bpf/tunnel_fixture.h"

namespace sluice::testing {
namespace {

class TunnelGuardTest : public TunnelTest {};
INSTANTIATE_TEST_SUITE_P(Flavors, TunnelGuardTest, ::testing::ValuesIn(AllFlavors()),
                         FlavorCaseName);

// Not from a node, not for this one, not for a service: somebody else's tunnel.
TEST_P(TunnelGuardTest, WhatIsNotOursGoesOnAsItIs) {
  BothKinds([this] {
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    const Packet question = Asked();
    EXPECT_TRUE(Untouched(kFromNet, Wrapped(addresses().outside, addresses().node, question)));
    EXPECT_TRUE(Untouched(kFromNet, Wrapped(node2(), addresses().pod2, question)));
    const End other{addresses().pod2, 4711};
    EXPECT_TRUE(
        Untouched(kFromNet, Wrapped(node2(), addresses().node, Question(outside(), other, Syn()))));
    EXPECT_EQ(OpeningCount(), 0u);
    EXPECT_EQ(AllDrops(), 0u);
  });
}

// A masquerade would give it the node's address, which the other node believes.
TEST_P(TunnelGuardTest, APodMayNotWrap) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    ExpectDropped(kFromPod1, Wrapped(addresses().pod1, node2(), Asked()),
                  abi::SL_REASON_TUNNEL_DENIED, 0);
    // To whom it is no node of the cluster it may.
    EXPECT_TRUE(Untouched(kFromPod1, Wrapped(addresses().pod1, addresses().outside, Asked())));
  });
}

// Only of services that nodes pass on is anything believed.
TEST_P(TunnelGuardTest, AServiceThatIsNotPassedOnTakesNothingWrapped) {
  BothKinds([this] {
    ServiceSpec service = External({Backend(addresses().pod1, true)});
    service.flags = kPlain;
    SetService(service);
    EXPECT_TRUE(Untouched(kFromNet, Wrapped(node2(), addresses().node, Asked())));
    EXPECT_EQ(OpeningCount(), 0u);
  });
}

// What nobody knows is reset by the node that it came to last, and the RST finds its own way.
TEST_P(TunnelGuardTest, WhatIsRefusedIsAnsweredToTheClient) {
  if (!tcp()) return;
  BothKinds([this] {
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    const RunResult refused = Run(kFromNet, Wrapped(node2(), addresses().node, Asked({})));
    EXPECT_EQ(refused.verdict, kRedirect);
    const absl::StatusOr<Packet> answer = Parse(refused.frame);
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(DestinationOf(*answer), addresses().outside);
    EXPECT_EQ(SourceOf(*answer), frontend().address);
    ASSERT_NE(Find<Tcp>(*answer), nullptr);
    EXPECT_EQ(Find<Tcp>(*answer)->flags, "R");
    EXPECT_THAT(VerifyChecksums(refused.frame), IsOk());
  });
}

// A node that takes no such packets, or is not known: the source is rewritten as ever.
TEST_P(TunnelGuardTest, ABackendOfANodeWithoutSluiceIsReachedByItsAddress) {
  for (const std::uint32_t node : {kNode2, 0u, 9u}) {
    SCOPED_TRACE(node);
    SetUp();
    SetNode(kNode2, "192.0.2.20", "2001:db8::20", 0);
    SetService(External({Remote(addresses().remote, node)}));
    const RunResult result = Run(kFromNet, Asked());
    EXPECT_EQ(result.verdict, kRedirect);
    const absl::StatusOr<Packet> sent = Parse(result.frame);
    ASSERT_THAT(sent, IsOk());
    EXPECT_EQ(SourceOf(*sent), addresses().node);
    EXPECT_EQ(DestinationOf(*sent), addresses().remote);
  }
}

TEST_P(TunnelGuardTest, ASynAckOffersNoMoreThanFits) {
  if (!tcp()) return;
  SetService(Tunnelled({Backend(addresses().pod1, true)}));
  const End backend{addresses().pod1, kBackendPort};
  const auto syn_ack = [&](const End& from, Bytes options) {
    Packet packet = Question(from, outside(), SynAck());
    std::get<Tcp>(packet[2]).options = std::move(options);
    return packet;
  };
  const auto check = [&](const Bytes& in, const Bytes& out, std::uint16_t limit) {
    SetUp();
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    UseTunnel(abi::SL_TUNNEL_IPIP, limit);
    Run(kFromNet, Wrapped(node2(), addresses().node, Asked()));
    EXPECT_TRUE(Becomes(kToNet, syn_ack(backend, in), kNext, syn_ack(frontend(), out)));
  };
  // 1460, 1440; with an option before it, so that it begins at an odd place; and none at all.
  check({2, 4, 0x05, 0xb4}, {2, 4, 0x05, 0xa0}, 1440);
  check({2, 4, 0x05, 0xa0}, {2, 4, 0x05, 0xa0}, 1440);
  check({2, 4, 0x05, 0x00}, {2, 4, 0x05, 0x00}, 1440);
  check({2, 4, 0x05, 0xb4}, {2, 4, 0x05, 0xb4}, 0);
  check({1, 2, 4, 0x05, 0xb4, 1, 1, 1}, {1, 2, 4, 0x05, 0xa0, 1, 1, 1}, 1440);
  check({3, 3, 7, 2, 4, 0x05, 0xb4, 0}, {3, 3, 7, 2, 4, 0x05, 0xa0, 0}, 1440);
  check({4, 2, 1, 1}, {4, 2, 1, 1}, 1440);
  check({}, {}, 1440);
}

TEST_P(TunnelGuardTest, APacketThatDoesNotFitIsAnsweredWithWhatDoes) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    Run(kFromNet, Asked());
    const std::uint32_t headers = (flavor().v6 ? 40u : 20u) + (tcp() ? 20u : 8u);
    const std::uint32_t overhead = (flavor().v6 ? 40u : 20u) + (gue_ ? 8u : 0u);
    const auto of_size = [&](std::uint32_t size) {
      return Asked({.payload = std::string(size - headers, 'x')});
    };
    EXPECT_TRUE(Becomes(kFromNet, of_size(1500 - overhead), kRedirect,
                        Wrapped(addresses().node, node2(), Hop(of_size(1500 - overhead)))));
    const RunResult result = Run(kFromNet, of_size(1500 - overhead + 1));
    const absl::StatusOr<Packet> answer = Parse(result.frame);
    ASSERT_THAT(answer, IsOk());
    const Icmp* icmp = Find<Icmp>(*answer);
    ASSERT_NE(icmp, nullptr);
    EXPECT_EQ(icmp->rest, 1500 - overhead);
    EXPECT_EQ(DestinationOf(*answer), addresses().outside);
    EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
  });
}

}  // namespace
}  // namespace sluice::testing
