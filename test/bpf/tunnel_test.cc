// SPDX-License-Identifier: Apache-2.0
// Direct server return: what a node passes on to the node of the backend, what that does with it,
// and what comes wrapped that is nobody's business here.
#include <arpa/inet.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/node.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kNode2 = 2;  // indices in sl_nodes
constexpr std::uint32_t kNode3 = 3;
constexpr std::uint16_t kDsr = kPlain | abi::SL_SERVICE_DSR;
constexpr std::uint16_t kLocalRow =
    kPlain | abi::SL_SERVICE_LOCAL_INTERNAL | abi::SL_SERVICE_LOCAL_EXTERNAL;

class TunnelTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    SetNode(kNode2, "192.0.2.20", "2001:db8::20", abi::SL_NODE_TUNNEL);
    SetNode(kNode3, "192.0.2.1", "2001:db8::1", abi::SL_NODE_TUNNEL);
  }
  void SetNode(std::uint32_t index, const std::string& v4, const std::string& v6,
               std::uint32_t flags) {
    abi::node row{};
    row.address[abi::SL_FAMILY_V4] = MapAddress(v4);
    row.address[abi::SL_FAMILY_V6] = MapAddress(v6);
    row.flags = flags;
    const std::pair<std::uint32_t, abi::node> node{index, row};
    ASSERT_THAT(tables().nodes.Update(std::span(&node, 1)).status, IsOk());
    for (const abi::addr& address : row.address) {
      const std::pair<abi::addr, std::uint32_t> id{address, index};
      ASSERT_THAT(tables().node_ids.Update(std::span(&id, 1)).status, IsOk());
    }
  }
  void UseTunnel(abi::sl_tunnel_kind kind, std::uint16_t mss = 0) {
    abi::node_config config = DefaultConfig();
    config.tunnel_kind = static_cast<__u8>(kind);
    config.tunnel_mss[0] = config.tunnel_mss[1] = mss;
    SetConfig(config);
    gue_ = kind == abi::SL_TUNNEL_GUE;
  }
  std::string node2() const { return flavor().v6 ? "2001:db8::20" : "192.0.2.20"; }
  std::string node3() const { return flavor().v6 ? "2001:db8::1" : "192.0.2.1"; }
  std::uint32_t Remote(const std::string& address, std::uint32_t node) {
    return AddBackend(
        {.address = address, .port = kBackendPort, .protocol = flavor().protocol, .node = node});
  }
  // What the network sees of a packet that `from` passes on to `to`.
  Packet Wrapped(const std::string& from, const std::string& to, const Packet& packet,
                 bool second = false) const {
    const Packet inner(packet.begin() + 1, packet.end());
    Packet wrapped{packet.front()};
    if (flavor().v6) {
      wrapped.push_back(
          Ipv6{.source = from, .destination = to, .flow_label = Label(packet) | second});
    } else {
      wrapped.push_back(Ipv4{.source = from,
                             .destination = to,
                             .id = static_cast<std::uint16_t>(second ? 0x8000 : 0),
                             .dont_fragment = true});
    }
    if (gue_) {
      Udp udp{.source_port = static_cast<std::uint16_t>(0xc000 | (Entropy(packet) & 0x3fff)),
              .destination_port = abi::SL_GUE_PORT,
              .no_checksum = true};
      const Bytes bytes = Build(inner);
      wrapped.push_back(udp);
      wrapped.push_back(Payload{std::string(bytes.begin(), bytes.end())});
      return wrapped;
    }
    return wrapped / inner;
  }
  // What tells flows apart on the way: only that it is the same for one flow matters.
  static std::uint32_t Entropy(const Packet& packet) {
    const Ports ports = PortsOf(packet);
    const std::uint32_t word =
        static_cast<std::uint32_t>(htons(ports.destination)) << 16 | htons(ports.source);
    const std::uint32_t hash =
        static_cast<std::uint32_t>(MapAddress(SourceOf(packet)).w[3]) ^ word * 0x9e3779b9U;
    return hash ^ hash >> 16;
  }
  static std::uint32_t Label(const Packet& packet) { return (Entropy(packet) & 0xffff) << 1; }

  // A service of which this node has no endpoint, or one for those who pass packets on.
  ServiceSpec External(std::vector<std::uint32_t> backends) const {
    ServiceSpec spec = NodePort(std::move(backends), kDsr);
    spec.kind = abi::SL_FRONTEND_LOAD_BALANCER;
    spec.address = addresses().cluster_ip2;
    return spec;
  }
  ServiceSpec Tunnelled(std::vector<std::uint32_t> backends) const {
    ServiceSpec spec = External(std::move(backends));
    spec.protocol |= abi::SL_PROTOCOL_TUNNELLED;
    spec.kind = abi::SL_FRONTEND_TUNNELLED;
    spec.flags = kLocalRow;
    return spec;
  }
  End frontend() const { return {addresses().cluster_ip2, kNodePort}; }
  Packet Asked(const Shape& shape = Syn()) const { return Question(outside(), frontend(), shape); }
  // One with tests of both ways to wrap.
  template <typename Test>
  void BothKinds(Test test) {
    for (const abi::sl_tunnel_kind kind : {abi::SL_TUNNEL_IPIP, abi::SL_TUNNEL_GUE}) {
      SCOPED_TRACE(kind);
      SetUp();
      UseTunnel(kind);
      test();
    }
  }
  bool gue_ = false;
};
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

// Not from a node, not for this one, not for a service: somebody else's tunnel.
TEST_P(TunnelTest, WhatIsNotOursGoesOnAsItIs) {
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
TEST_P(TunnelTest, APodMayNotWrap) {
  BothKinds([this] {
    SetService(External({Remote(addresses().remote, kNode2)}));
    ExpectDropped(kFromPod1, Wrapped(addresses().pod1, node2(), Asked()),
                  abi::SL_REASON_TUNNEL_DENIED, 0);
    // To whom it is no node of the cluster it may.
    EXPECT_TRUE(Untouched(kFromPod1, Wrapped(addresses().pod1, addresses().outside, Asked())));
  });
}

// Only of services that nodes pass on is anything believed.
TEST_P(TunnelTest, AServiceThatIsNotPassedOnTakesNothingWrapped) {
  BothKinds([this] {
    ServiceSpec service = External({Backend(addresses().pod1, true)});
    service.flags = kPlain;
    SetService(service);
    EXPECT_TRUE(Untouched(kFromNet, Wrapped(node2(), addresses().node, Asked())));
    EXPECT_EQ(OpeningCount(), 0u);
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

// What nobody knows is reset by the node that it came to last, and the RST finds its own way.
TEST_P(TunnelTest, WhatIsRefusedIsAnsweredToTheClient) {
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

// A node that takes no such packets, or is not known: the source is rewritten as ever.
TEST_P(TunnelTest, ABackendOfANodeWithoutSluiceIsReachedByItsAddress) {
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

TEST_P(TunnelTest, ASynAckOffersNoMoreThanFits) {
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

TEST_P(TunnelTest, APacketThatDoesNotFitIsAnsweredWithWhatDoes) {
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
