// SPDX-License-Identifier: Apache-2.0
// Flows that are only being opened: what a flood of them can do, and what they must not do to each
// other or to established flows. SNAT ports, which are claimed here.
#include <arpa/inet.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class OpeningTest : public ServiceTest {
 protected:
  std::uint16_t SourcePort(const Bytes& frame) const {
    const absl::StatusOr<Packet> parsed = Parse(frame);
    EXPECT_THAT(parsed, IsOk());
    if (!parsed.ok()) return 0;
    return tcp() ? Find<Tcp>(*parsed)->source_port : Find<Udp>(*parsed)->source_port;
  }
  // What is being opened, by the client's port; a flow with two places is there once.
  std::map<std::uint16_t, std::uint32_t> OpeningClientPorts() {
    std::map<std::uint16_t, std::uint32_t> ports;
    const auto rows = tables().opening.Dump();
    EXPECT_THAT(rows, IsOk());
    for (const auto& [index, bucket] : *rows) {
      for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
        if (bucket.tag[way] == 0) continue;
        ports[ntohs(bucket.flows[way].key.source_port)] = index;
      }
    }
    return ports;
  }
  End pod_at(std::uint16_t port) const { return {addresses().pod1, port}; }
  End outside_at(std::uint16_t port) const { return {addresses().outside, port}; }
  End remote() const { return {addresses().remote, kBackendPort}; }

  // Brings a flow of the ClusterIP with one backend to sl_flows.
  void Establish(const End& client, const End& backend) {
    for (const Shape& shape : {Syn(), Shape()}) {
      ASSERT_TRUE(Becomes(kFromPod1, Question(client, cluster_ip(), shape), kNext,
                          Question(client, backend, shape)));
      ASSERT_TRUE(Becomes(kToPod1, Question(backend, client, SynAck()), kNext,
                          Question(cluster_ip(), client, SynAck())));
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, OpeningTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(OpeningTest, AFloodOfOpensTouchesNoEstablishedFlow) {
  SetService(ClusterIp({Backend(addresses().remote, false)}));
  Establish(pod_at(1), remote());
  ASSERT_EQ(FlowCount(), 2u);
  const auto before = tables().flows.Dump();
  for (std::uint32_t port = 1000; port < 60000; port += 2) {  // 29,500 for 1,024 places
    Run(kFromPod1, Question(pod_at(static_cast<std::uint16_t>(port)), cluster_ip()));
  }
  EXPECT_EQ(OpeningCount(), 256u * abi::SL_OPENING_WAYS) << "full";
  EXPECT_EQ(FlowCount(), 2u);
  for (const auto& [key, entry] : *before) {
    const auto now = FlowRow(key);
    ASSERT_TRUE(now);
    EXPECT_EQ(now->flags, entry.flags);
  }
  EXPECT_TRUE(Becomes(kFromPod1, Question(pod_at(1), cluster_ip(), {}), kNext,
                      Question(pod_at(1), remote(), {})));
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(OpeningTest, AFullBucketGivesUpItsOldestOnly) {
  SetService(ClusterIp({Backend(addresses().remote, false)}));
  // Find five client ports of one bucket.
  std::map<std::uint32_t, std::vector<std::uint16_t>> by_bucket;
  std::vector<std::uint16_t> ports;
  for (std::uint16_t port = 1000; ports.empty(); ++port) {
    Run(kFromPod1, Question(pod_at(port), cluster_ip()));
    const auto open = OpeningClientPorts();
    ASSERT_TRUE(open.contains(port));
    auto& same = by_bucket[open.at(port)];
    same.push_back(port);
    if (same.size() == 5) ports = same;
    ASSERT_LT(port, 60000);
  }
  ChangeOpening([](abi::opening_bucket& bucket) { bucket = {}; });
  for (int i = 0; i < 4; ++i) {
    Run(kFromPod1, Question(pod_at(ports[static_cast<std::size_t>(i)]), cluster_ip()));
  }
  // The third is made the oldest; all are still within their time.
  ChangeOpening([&](abi::opening_bucket& bucket) {
    for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
      if (bucket.tag[way] == 0) continue;
      bucket.last_seen[way] -= ntohs(bucket.flows[way].key.source_port) == ports[2] ? 9 : 4;
    }
  });
  Run(kFromPod1, Question(pod_at(ports[4]), cluster_ip()));
  std::set<std::uint16_t> left;
  for (const auto& [port, index] : OpeningClientPorts()) left.insert(port);
  EXPECT_EQ(left, (std::set<std::uint16_t>{ports[0], ports[1], ports[3], ports[4]}));
}

TEST_P(OpeningTest, AnAnswerAfterItsTimeIsNone) {
  SetService(ClusterIp({Backend(addresses().remote, false)}));
  Run(kFromPod1, Question(pod(), cluster_ip()));
  ChangeOpening([](abi::opening_bucket& bucket) {
    for (std::uint32_t& seen : bucket.last_seen) seen -= 60;  // 64 s; design.md says 30
  });
  EXPECT_TRUE(Untouched(kToPod1, Question(remote(), pod(), SynAck())));
}

TEST_P(OpeningTest, OnlyTheBackendItselfCanAnswer) {
  SetService(ClusterIp({Backend(addresses().remote, false)}));
  Run(kFromPod1, Question(pod(), cluster_ip()));
  for (const End& other :
       {End{addresses().remote2, kBackendPort}, End{addresses().remote, kBackendPort + 1}}) {
    EXPECT_TRUE(Untouched(kToPod1, Question(other, pod(), SynAck())));
  }
  EXPECT_TRUE(Untouched(kToPod1, Question(remote(), pod_at(kClientPort + 1), SynAck())));
  const Flavor other{flavor().v6, static_cast<std::uint8_t>(tcp() ? 17 : 6)};
  EXPECT_TRUE(Untouched(kToPod1, MakePacket(other, remote(), pod(), SynAck())));
}

// The same client port used to two services that have the same single backend: the answers would
// come with the same tuple, so the second flow gets another source. Both while the first is being
// opened and when it is established.
TEST_P(OpeningTest, TwoFrontendsOfOneBackendAreToldApart) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "first established" : "first being opened");
    SetUp();
    const End other = TwoFrontendsOfOneBackend();
    if (established) {
      Establish(pod(), remote());
    } else {
      ASSERT_TRUE(
          Becomes(kFromPod1, Question(pod(), cluster_ip()), kNext, Question(pod(), remote())));
    }
    const RunResult result = Run(kFromPod1, Question(pod(), other));
    ASSERT_EQ(result.verdict, kRedirect);
    const End seen{addresses().node, SourcePort(result.frame)};
    EXPECT_EQ(Difference(Build(Hop(Question(seen, remote()))), result.frame), "");
    EXPECT_TRUE(Becomes(kFromNet, Question(remote(), seen, SynAck()), kRedirect,
                        Hop(Question(other, pod(), SynAck()))));
    EXPECT_TRUE(Becomes(kToPod1, Question(remote(), pod(), SynAck()), kNext,
                        Question(cluster_ip(), pod(), SynAck())));
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(Becomes(kFromPod1, Question(pod(), other, {}), kRedirect,
                          Hop(Question(seen, remote(), {}))));
      EXPECT_TRUE(Becomes(kFromPod1, Question(pod(), cluster_ip(), {}), kNext,
                          Question(pod(), remote(), {})));
      EXPECT_TRUE(Becomes(kFromNet, Question(remote(), seen, {}), kRedirect,
                          Hop(Question(other, pod(), {}))));
      EXPECT_TRUE(Becomes(kToPod1, Question(remote(), pod(), {}), kNext,
                          Question(cluster_ip(), pod(), {})));
    }
    EXPECT_EQ(FlowCount(), 4u);
    EXPECT_EQ(AllDrops(), 0u);
  }
}

// The first flow is over, and only waits for the sweep: the second has the port to itself, keeps
// the client's address, and leaves nothing of the first that the sweep would judge by its rows.
TEST_P(OpeningTest, AClosedFlowOfAnotherFrontendGivesItsPortBack) {
  if (!tcp()) return;  // datagrams have no end
  const End other = TwoFrontendsOfOneBackend();
  Establish(pod(), remote());
  const Shape fin{.flags = "FA"};
  ASSERT_TRUE(Becomes(kFromPod1, Question(pod(), cluster_ip(), fin), kNext,
                      Question(pod(), remote(), fin)));
  ASSERT_TRUE(
      Becomes(kToPod1, Question(remote(), pod(), fin), kNext, Question(cluster_ip(), pod(), fin)));
  ASSERT_EQ(FlowCount(), 2u);
  EXPECT_TRUE(
      Becomes(kFromPod1, Question(pod(), other, Syn()), kNext, Question(pod(), remote(), Syn())));
  EXPECT_EQ(FlowCount(), 0u);
  EXPECT_TRUE(Becomes(kToPod1, Question(remote(), pod(), SynAck()), kNext,
                      Question(other, pod(), SynAck())));
  EXPECT_TRUE(Becomes(kFromPod1, Question(pod(), other, {}), kNext, Question(pod(), remote(), {})));
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(OpeningTest, SnatKeepsAPortThatIsInItsRange) {
  SetService(NodePort({Backend(addresses().remote, false)}));
  for (const std::uint16_t port :
       {kSnatMin, static_cast<std::uint16_t>(kSnatMin + 321), kSnatMax}) {
    EXPECT_TRUE(Becomes(kFromNet, Question(outside_at(port), node_port()), kRedirect,
                        Hop(Question({addresses().node, port}, remote()))));
  }
}

TEST_P(OpeningTest, SnatTakesAPortOfItsRangeForAnyOther) {
  SetService(NodePort({Backend(addresses().remote, false)}));
  for (const std::uint32_t port : {1u, 1024u, kSnatMin - 1u, kSnatMax + 1u, 65535u}) {
    const std::uint16_t got = SourcePort(
        Run(kFromNet, Question(outside_at(static_cast<std::uint16_t>(port)), node_port())).frame);
    EXPECT_GE(got, kSnatMin);
    EXPECT_LE(got, kSnatMax);
  }
}

TEST_P(OpeningTest, SnatGivesAPortOnceForADestination) {
  SetService(NodePort({Backend(addresses().remote, false)}));
  const End other_client{flavor().v6 ? "2001:db8:f::6" : "198.51.100.6", kSnatMin + 1};
  const std::uint16_t first =
      SourcePort(Run(kFromNet, Question(outside_at(kSnatMin + 1), node_port())).frame);
  const std::uint16_t second = SourcePort(Run(kFromNet, Question(other_client, node_port())).frame);
  EXPECT_EQ(first, kSnatMin + 1);
  EXPECT_NE(second, first) << "two clients with one port, one backend";
  // Answers find their own clients.
  EXPECT_TRUE(Becomes(kFromNet, Question(remote(), {addresses().node, first}, SynAck()), kRedirect,
                      Hop(Question(node_port(), outside_at(kSnatMin + 1), SynAck()))));
  EXPECT_TRUE(Becomes(kFromNet, Question(remote(), {addresses().node, second}, SynAck()), kRedirect,
                      Hop(Question(node_port(), other_client, SynAck()))));
}

TEST_P(OpeningTest, SnatUsesAPortAgainForAnotherDestination) {
  const std::uint32_t one = Backend(addresses().remote, false);
  const std::uint32_t two = Backend(addresses().remote2, false);
  SetService(NodePort({one}));
  ServiceSpec other = NodePort({two});
  other.id = kService + 1;
  other.port = kNodePort + 1;
  SetService(other);
  const End client = outside_at(kSnatMin + 7);
  EXPECT_TRUE(Becomes(kFromNet, Question(client, node_port()), kRedirect,
                      Hop(Question({addresses().node, client.port}, remote()))));
  EXPECT_TRUE(
      Becomes(kFromNet, Question(client, {addresses().node, kNodePort + 1}), kRedirect,
              Hop(Question({addresses().node, client.port}, {addresses().remote2, kBackendPort}))));
}

TEST_P(OpeningTest, AnExhaustedPortRangeIsADropWithItsReason) {
  abi::node_config config = DefaultConfig();
  config.snat_port_max = config.snat_port_min;  // one port
  SetConfig(config);
  SetService(NodePort({Backend(addresses().remote, false)}));
  EXPECT_EQ(Run(kFromNet, Question(outside_at(1), node_port())).verdict, kRedirect);
  EXPECT_EQ(Run(kFromNet, Question(outside_at(2), node_port())).verdict, kDrop);
  EXPECT_EQ(Drops(abi::SL_REASON_SNAT_PORTS, kService), 1u);
  EXPECT_EQ(ServiceStats(kService).dropped, 1u);
  EXPECT_EQ(ServiceStats(kService).opened, 1u);
}

TEST_P(OpeningTest, WithoutANodeAddressThereIsNoSnat) {
  abi::node_config config = DefaultConfig();
  SetNodeAddresses(config, "", "");
  SetConfig(config);
  SetService(NodePort({Backend(addresses().remote, false)}));
  EXPECT_EQ(Run(kFromNet, Question(outside_at(1), node_port())).verdict, kDrop);
  EXPECT_EQ(Drops(abi::SL_REASON_SNAT_PORTS, kService), 1u);
}

// 16 clients to a NodePort with one remote backend, and 32 ports to give: random choices meet ports
// that are taken again and again. Everybody gets a port of his own, and his own answers.
TEST_P(OpeningTest, ManySnatFlowsStayApart) {
  abi::node_config config = DefaultConfig();
  config.snat_port_max = static_cast<std::uint16_t>(config.snat_port_min + 31);
  SetConfig(config);
  SetService(NodePort({Backend(addresses().remote, false)}));
  std::map<std::uint16_t, std::uint16_t> by_port;
  for (std::uint16_t i = 1; i <= 16; ++i) {
    const std::uint16_t port =
        SourcePort(Run(kFromNet, Question(outside_at(i), node_port())).frame);
    EXPECT_TRUE(by_port.emplace(port, i).second) << "port given twice: " << port;
  }
  for (const auto& [port, client] : by_port) {
    EXPECT_TRUE(Becomes(kFromNet, Question(remote(), {addresses().node, port}, SynAck()), kRedirect,
                        Hop(Question(node_port(), outside_at(client), SynAck()))));
  }
}

// A flow whose both ends change has two places, by its client and by its answers, of which a full
// bucket may push out one. One client port in the range, which SNAT keeps: what becomes of the
// other flows is not left to chance.
class PushedOutTest : public OpeningTest {
 protected:
  enum class Place { kOfClient, kOfAnswers };

  void SetUp() override {
    OpeningTest::SetUp();
    SetService(NodePort({Backend(addresses().remote, false)}));
  }
  // The same port of another client.
  End other_client() const {
    return {flavor().v6 ? "2001:db8:f::6" : "198.51.100.6", client_.port};
  }
  // Opens the flow; its backend has answered if `answered`. Then one place is pushed out, and the
  // other is some seconds old.
  void Lose(Place place, bool answered) {
    ASSERT_TRUE(Becomes(kFromNet, Question(client_, node_port()), kRedirect,
                        Hop(Question(seen_, remote()))));
    if (answered) {
      ASSERT_TRUE(Becomes(kFromNet, Question(remote(), seen_, SynAck()), kRedirect,
                          Hop(Question(node_port(), client_, SynAck()))));
    }
    // Flows of one SNAT port, to different backends, are in one bucket.
    ServiceSpec second = NodePort({Backend(addresses().remote2, false)});
    second.id = kService + 1;
    second.port = kNodePort + 1;
    SetService(second);
    std::map<std::uint32_t, int> tags;
    Run(kFromNet, Question(other_client(), {addresses().node, kNodePort + 1}));
    ChangeOpening([&](abi::opening_bucket& bucket) {
      for (const std::uint32_t tag : bucket.tag) ++tags[tag];
    });
    ChangeOpening([&](abi::opening_bucket& bucket) {
      for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
        if (bucket.tag[way] == 0) continue;
        const bool ours = ntohs(bucket.flows[way].key.destination_port) == kNodePort;
        const Place here = tags.at(bucket.tag[way]) == 2 ? Place::kOfAnswers : Place::kOfClient;
        if (!ours || here == place) bucket.tag[way] = 0;
        bucket.last_seen[way] -= 5;
      }
    });
    ASSERT_EQ(OpeningCount(), 1u);
  }

  const End client_{addresses().outside, kSnatMin + 9};
  const End seen_{addresses().node, kSnatMin + 9};
};
INSTANTIATE_TEST_SUITE_P(Flavors, PushedOutTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(PushedOutTest, AnswersFindTheFlowThatGoesOn) {
  Lose(Place::kOfAnswers, true);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Becomes(kFromNet, Question(client_, node_port(), {}), kRedirect,
                        Hop(Question(seen_, remote(), {}))));
    EXPECT_TRUE(Becomes(kFromNet, Question(remote(), seen_, {}), kRedirect,
                        Hop(Question(node_port(), client_, {}))));
  }
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(PushedOutTest, TheFirstAnswerToOneThatAsksAgainArrives) {
  Lose(Place::kOfAnswers, false);
  const std::uint16_t port = SourcePort(Run(kFromNet, Question(client_, node_port())).frame);
  EXPECT_TRUE(Becomes(kFromNet, Question(remote(), {addresses().node, port}, SynAck()), kRedirect,
                      Hop(Question(node_port(), client_, SynAck()))));
}

// Another client has the port by now. Its answers stay its own, and the first flow gets another
// port, or where that cannot be, an end.
TEST_P(PushedOutTest, APortThatIsAnothersByNowIsNotUsed) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "the other is established" : "the other is being opened");
    SetUp();
    Lose(Place::kOfAnswers, true);
    for (const Shape& shape : {Syn(), Shape()}) {
      ASSERT_TRUE(Becomes(kFromNet, Question(other_client(), node_port(), shape), kRedirect,
                          Hop(Question(seen_, remote(), shape))));
      if (!established) break;
      ASSERT_TRUE(Becomes(kFromNet, Question(remote(), seen_, SynAck()), kRedirect,
                          Hop(Question(node_port(), other_client(), SynAck()))));
    }
    if (tcp()) {
      Run(kFromNet, Question(client_, node_port(), {}));
      EXPECT_EQ(Drops(abi::SL_REASON_NO_FLOW, kService), 1u);
    }
    const RunResult result = Run(kFromNet, Question(client_, node_port()));
    ASSERT_EQ(result.verdict, kRedirect);
    const End now{addresses().node, SourcePort(result.frame)};
    EXPECT_NE(now.port, seen_.port);
    EXPECT_TRUE(Becomes(kFromNet, Question(remote(), now, SynAck()), kRedirect,
                        Hop(Question(node_port(), client_, SynAck()))));
    EXPECT_TRUE(Becomes(kFromNet, Question(remote(), seen_, SynAck()), kRedirect,
                        Hop(Question(node_port(), other_client(), SynAck()))));
  }
}

// Answers keep a place fresh without a word about it in the entry. What is put back beside it is as
// new as the packet that does it, or it would be free again at once.
TEST_P(PushedOutTest, AClientsPlaceIsPutBackAsNew) {
  Lose(Place::kOfClient, true);
  std::vector<std::uint32_t> seen;
  ChangeOpening([&](abi::opening_bucket& bucket) {
    for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
      if (bucket.tag[way] == 0) continue;
      bucket.last_seen[way] += 5;
      bucket.flows[way].entry.last_seen = bucket.last_seen[way] - 2 * abi::SL_OPENING_TICKS;
      seen.push_back(bucket.last_seen[way]);
    }
  });
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_TRUE(
      Becomes(kFromNet, Question(client_, node_port()), kRedirect, Hop(Question(seen_, remote()))));
  int places = 0;
  ChangeOpening([&](abi::opening_bucket& bucket) {
    for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
      if (bucket.tag[way] == 0) continue;
      ++places;
      EXPECT_GE(bucket.last_seen[way], seen.front());
    }
  });
  EXPECT_EQ(places, 2);
}

TEST_P(PushedOutTest, ABackendThatIsGoneIsNotChosenByWhatIsLeft) {
  Lose(Place::kOfClient, true);
  SetService(NodePort({Backend(addresses().remote2, false)}));
  const End other{addresses().remote2, kBackendPort};
  EXPECT_TRUE(
      Becomes(kFromNet, Question(client_, node_port()), kRedirect, Hop(Question(seen_, other))));
  EXPECT_TRUE(Becomes(kFromNet, Question(other, seen_, SynAck()), kRedirect,
                      Hop(Question(node_port(), client_, SynAck()))));
}

}  // namespace
}  // namespace sluice::testing
