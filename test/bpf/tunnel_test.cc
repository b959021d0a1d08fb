// SPDX-License-Identifier: Apache-2.0
// Direct server return: what a node passes on to the node of the backend, and what that does with
// it.
#include "test/bpf/tunnel_fixture.h"

namespace sluice::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Flavors, TunnelTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(TunnelTest, APacketForAnotherNodesBackendIsPassedOnAsItIs) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    for (const Shape& shape : {Syn(), Shape{}, Shape{.payload = "more"}}) {
      EXPECT_TRUE(Becomes(kFromNet, Asked(shape), kRedirect,
                          Wrapped(addresses().node, node2(), Hop(Asked(shape)))));
    }
    EXPECT_EQ(FlowCount(), 1u);  // no answer comes by, so there is no second row
    EXPECT_EQ(AllDrops(), 0u);
    EXPECT_EQ(ServiceStats(kService).packets_in, 3u);
    EXPECT_EQ(ServiceStats(kService).opened, 1u);
  });
}

TEST_P(TunnelTest, AnEstablishedFlowIsPassedOnAtXdpToo) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    Run(kFromNet, Asked());
    Run(kFromNet, Asked({}));
    ASSERT_EQ(FlowCount(), 1u);
    const RunResult result = Run(kXdp, Build(Asked({})));
    EXPECT_EQ(result.verdict, kSent);
    Packet expected = Wrapped(addresses().node, node2(), Hop(Asked({})));
    const absl::StatusOr<Packet> sent = Parse(result.frame);
    ASSERT_THAT(sent, IsOk());
    expected.front() = sent->front();
    EXPECT_EQ(Difference(Build(expected), result.frame), "");
  });
}

TEST_P(TunnelTest, WhatIsPassedOnReachesALocalBackend) {
  BothKinds([this] {
    SetService(External({Backend(addresses().pod1, true), Remote(addresses().remote, kNode2)}));
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    const End backend{addresses().pod1, kBackendPort};
    for (std::uint16_t port = kClientPort; port < kClientPort + 20; ++port) {
      const End client{addresses().outside, port};
      const auto arrives = [&](const Shape& shape) {
        return Becomes(kFromNet,
                       Wrapped(node2(), addresses().node, Question(client, frontend(), shape)),
                       kNext, Question(client, backend, shape));
      };
      EXPECT_TRUE(arrives(Syn()));
      EXPECT_TRUE(Becomes(kToNet, Question(backend, client, SynAck()), kNext,
                          Question(frontend(), client, SynAck())));
      EXPECT_TRUE(arrives({}));
      EXPECT_TRUE(arrives({.payload = "more"}));
      // By another node, or by none: the flow is the same.
      EXPECT_TRUE(Becomes(kFromNet,
                          Wrapped(node3(), addresses().node, Question(client, frontend(), {})),
                          kNext, Question(client, backend, {})));
      EXPECT_TRUE(Becomes(kFromNet, Question(client, frontend(), {}), kNext,
                          Question(client, backend, {})));
    }
    EXPECT_EQ(AllDrops(), 0u);
    EXPECT_EQ(FlowCount(), 40u);
  });
}

TEST_P(TunnelTest, XdpUnwrapsWhatIsEstablished) {
  BothKinds([this] {
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    const Packet wrapped = Wrapped(node2(), addresses().node, Asked({}));
    EXPECT_TRUE(Untouched(kXdp, wrapped));
    Run(kFromNet, Wrapped(node2(), addresses().node, Asked()));
    Run(kToNet, Question({addresses().pod1, kBackendPort}, outside(), SynAck()));
    Run(kFromNet, wrapped);
    ASSERT_EQ(FlowCount(), 2u);
    EXPECT_TRUE(Becomes(kXdp, wrapped, kNext, Asked({})));
  });
}

// A node's own address, of a NodePort, is another at every node.
TEST_P(TunnelTest, ANodePortOfAnotherNodeIsThisNodesToo) {
  BothKinds([this] {
    ServiceSpec row = Tunnelled({Backend(addresses().pod1, true)});
    row.address = addresses().node;
    SetService(row);
    const End theirs{node2(), kNodePort}, backend{addresses().pod1, kBackendPort};
    EXPECT_TRUE(Becomes(kFromNet,
                        Wrapped(node2(), addresses().node, Question(outside(), theirs, Syn())),
                        kNext, Question(outside(), backend, Syn())));
    EXPECT_TRUE(Becomes(kToNet, Question(backend, outside(), SynAck()), kNext,
                        Question(theirs, outside(), SynAck())));
    // Unwrapped it would be a packet for the other node: XDP leaves that to TC.
    const Packet more = Wrapped(node2(), addresses().node, Question(outside(), theirs, {}));
    EXPECT_TRUE(Becomes(kFromNet, more, kNext, Question(outside(), backend, {})));
    ASSERT_EQ(FlowCount(), 2u);
    EXPECT_TRUE(Untouched(kXdp, more));
  });
}

// Second chance: a node without an endpoint passes the packet on, and no third does.
TEST_P(TunnelTest, ANodeWithoutAnEndpointPassesItOnOnce) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    SetService(Tunnelled({}));
    EXPECT_TRUE(Becomes(kFromNet, Wrapped(node3(), addresses().node, Asked()), kRedirect,
                        Wrapped(addresses().node, node2(), Hop(Asked()), true)));
    SetUp();
    UseTunnel(gue_ ? abi::SL_TUNNEL_GUE : abi::SL_TUNNEL_IPIP);
    SetService(External({Remote(addresses().remote, kNode2)}));
    SetService(Tunnelled({}));
    const RunResult refused = Run(kFromNet, Wrapped(node3(), addresses().node, Asked(), true));
    EXPECT_NE(refused.verdict, kNext);
    EXPECT_EQ(Drops(abi::SL_REASON_NO_BACKEND, kService), 1u);
    const absl::StatusOr<Packet> answer = Parse(refused.frame);
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(DestinationOf(*answer), addresses().outside);
    EXPECT_EQ(SourceOf(*answer), frontend().address);
  });
}

// The node that it comes back to may be the one that passed it on first, with a flow that says so.
TEST_P(TunnelTest, WhatComesBackStaysWhereAnEndpointIs) {
  const auto begin = [this](bool established) {
    SetUp();
    SetService(External({Remote(addresses().remote, kNode2)}));
    Run(kFromNet, Asked());
    if (established) Run(kFromNet, Asked({}));
    ASSERT_EQ(FlowCount(), established ? 1u : 0u);
    SetService(External({Backend(addresses().pod1, true)}));
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
  };
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established);
    begin(established);
    EXPECT_TRUE(Becomes(kFromNet, Wrapped(node2(), addresses().node, Asked(), true), kNext,
                        Question(outside(), {addresses().pod1, kBackendPort}, Syn())));
    EXPECT_EQ(AllDrops(), 0u);
  }
}

// A client that takes its port again opens another flow, also where the first one's node is still
// there and its backend is not.
TEST_P(TunnelTest, APortThatIsTakenAgainOpensAnother) {
  if (!tcp()) return;
  const std::uint32_t gone = Remote(addresses().remote, kNode2);
  SetService(External({gone}));
  Run(kFromNet, Asked());
  Run(kFromNet, Asked({}));
  Run(kFromNet, Asked({.flags = "FA", .payload = ""}));
  ASSERT_EQ(FlowCount(), 1u);
  ASSERT_THAT(writer().SetBackend(gone, {.address = addresses().remote,
                                         .port = kBackendPort,
                                         .protocol = flavor().protocol,
                                         .flags = 0}),
              IsOk());
  SetService(External({Remote(addresses().remote2, kNode3)}));
  EXPECT_TRUE(
      Becomes(kFromNet, Asked(), kRedirect, Wrapped(addresses().node, node3(), Hop(Asked()))));
}

// In the middle of a flow that the network has sent to another node until now.
TEST_P(TunnelTest, AFlowThatIsNotKnownIsPassedOnToWhoMayKnowIt) {
  if (!tcp()) return;
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    EXPECT_TRUE(Becomes(kFromNet, Asked({}), kRedirect,
                        Wrapped(addresses().node, node2(), Hop(Asked({})))));
    EXPECT_EQ(FlowCount(), 0u);
    EXPECT_EQ(OpeningCount(), 0u);
  });
}

TEST_P(TunnelTest, NodesThatChooseAlikeChooseTheSame) {
  std::vector<std::uint32_t> backends;
  for (int i = 1; i <= 8; ++i) {
    backends.push_back(
        Remote(flavor().v6 ? "fd00:0:0:2::" + std::to_string(i) : "10.0.2." + std::to_string(i),
               i % 2 == 0 ? kNode2 : kNode3));
  }
  int to_node2 = 0;
  for (std::uint16_t port = 1000; port < 1200; ++port) {
    const Packet question = Question({addresses().outside, port}, frontend(), Syn());
    SetService(External(backends));
    const RunResult first = Run(kFromNet, question);
    // Another node's tables, of which no row is this one's.
    auto rows = tables().opening.Dump();
    ASSERT_THAT(rows, IsOk());
    for (auto& [index, bucket] : *rows) bucket = {};
    ASSERT_THAT(tables().opening.Update(*rows).status, IsOk());
    const RunResult second = Run(kFromNet, question);
    EXPECT_EQ(Difference(first.frame, second.frame), "");
    const absl::StatusOr<Packet> sent = Parse(first.frame);
    ASSERT_THAT(sent, IsOk());
    to_node2 += DestinationOf(*sent) == node2();
  }
  EXPECT_GT(to_node2, 60);
  EXPECT_LT(to_node2, 140);
}

// Whether a node still takes new flows does not concern those that it has; whether it is there
// does.
TEST_P(TunnelTest, AFlowGoesOnUntilItsNodeIsGone) {
  const std::uint32_t id = Remote(addresses().remote, kNode2);
  SetService(External({id}));
  Run(kFromNet, Asked());
  Run(kFromNet, Asked({}));
  SetNode(kNode2, "192.0.2.20", "2001:db8::20", 0);
  const Packet passed = Wrapped(addresses().node, node2(), Hop(Asked({})));
  EXPECT_TRUE(Becomes(kFromNet, Asked({}), kRedirect, passed));
  if (!tcp()) return;
  ASSERT_THAT(writer().SetBackend(id, {.address = addresses().remote,
                                       .port = kBackendPort,
                                       .protocol = flavor().protocol,
                                       .flags = 0}),
              IsOk());
  // The other node knows which of its backends it has chosen.
  EXPECT_TRUE(Becomes(kFromNet, Asked({}), kRedirect, passed));
  SetNode(kNode2, "192.0.2.99", "2001:db8::99", 0);
  ExpectRejected(kFromNet, Asked({}), abi::SL_REASON_BACKEND_GONE);
  EXPECT_EQ(FlowCount(), 0u);
}

// A router between the backend's node and the client says that an answer was too big.
TEST_P(TunnelTest, AnIcmpErrorReachesTheNodeThatHasTheFlow) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    const std::string router = flavor().v6 ? "2001:db8:f::77" : "198.51.100.77";
    const auto error = [&](const End& from) {
      Packet inner = Question(from, outside(), {});
      Packet packet{inner.front()};
      if (flavor().v6) {
        packet.push_back(Ipv6{.source = router, .destination = from.address});
        packet.push_back(Icmp{.type = 2, .rest = 1400});
      } else {
        packet.push_back(Ipv4{.source = router, .destination = from.address});
        packet.push_back(Icmp{.type = 3, .code = 4, .rest = 1400});
      }
      packet.insert(packet.end(), inner.begin() + 1, inner.end());
      return packet;
    };
    const RunResult result = Run(kFromNet, error(frontend()));
    EXPECT_EQ(result.verdict, kRedirect);
    const absl::StatusOr<Packet> sent = Parse(result.frame);
    ASSERT_THAT(sent, IsOk());
    EXPECT_EQ(DestinationOf(*sent), node2());

    // And there.
    SetUp();
    UseTunnel(gue_ ? abi::SL_TUNNEL_GUE : abi::SL_TUNNEL_IPIP);
    SetService(Tunnelled({Backend(addresses().pod1, true)}));
    Run(kFromNet, Wrapped(node2(), addresses().node, Asked()));
    EXPECT_TRUE(Becomes(kFromNet, Wrapped(node2(), addresses().node, error(frontend())), kNext,
                        error({addresses().pod1, kBackendPort})));
  });
}

TEST_P(TunnelTest, CongestionOnTheWayIsTold) {
  if (flavor().v6) return;
  SetService(Tunnelled({Backend(addresses().pod1, true)}));
  Packet question = Asked();
  std::get<Ipv4>(question[1]).tos = 2;
  Packet wrapped = Wrapped(node2(), addresses().node, question);
  std::get<Ipv4>(wrapped[1]).tos = 3;
  Packet arrived = Question(outside(), {addresses().pod1, kBackendPort}, Syn());
  std::get<Ipv4>(arrived[1]).tos = 3;
  EXPECT_TRUE(Becomes(kFromNet, wrapped, kNext, arrived));
}

}  // namespace
}  // namespace sluice::testing
