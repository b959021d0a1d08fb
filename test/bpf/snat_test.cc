// SPDX-License-Identifier: Apache-2.0
// As many flows from outside as the default range of SNAT ports holds, towards one backend.
#include "maps/snat.h"

#include <arpa/inet.h>

#include <map>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/row_compare.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint16_t kFirst = 5000;  // as --snat-ports is by default
constexpr std::uint16_t kLast = 29999;
constexpr std::uint32_t kPorts = kLast - kFirst + 1;
constexpr std::uint16_t kFirstClient = 32768;

class SnatTest : public ServiceTest {
 protected:
  static void SetUpTestSuite() {
    flow_rows_ = 65536;
    ServiceTest::SetUpTestSuite();
  }
  void SetUp() override {
    ServiceTest::SetUp();
    UsePorts(kFirst, kLast);
    SetService(NodePort({Backend(addresses().remote, false)}));
  }
  // Of `count` ports, among them that of tunnels, those that flows can have.
  std::uint32_t Usable(std::uint32_t count) const { return count - (flavor().protocol == 17); }
  void UsePorts(std::uint16_t first, std::uint16_t last) {
    abi::node_config config = DefaultConfig();
    config.snat_port_min = first;
    config.snat_port_max = last;
    SetConfig(config);
  }
  End client(std::uint32_t number) const {
    return {addresses().outside, static_cast<std::uint16_t>(kFirstClient + number)};
  }
  // The port that the client's packet leaves with; 0: it does not.
  std::uint16_t Ask(const End& client, const End& at, const Shape& shape = Syn()) {
    return LeavesAs(client, at, shape).port;
  }
  // The address too.
  End LeavesAs(const End& client, const End& at, const Shape& shape) {
    const RunResult result = Run(kFromNet, Question(client, at, shape));
    if (result.verdict != kRedirect) return {};
    const absl::StatusOr<Packet> parsed = Parse(result.frame);
    if (!parsed.ok()) return {};
    return {SourceOf(*parsed), PortsOf(*parsed).source};
  }
  End LeavesAs(const End& client, const Shape& shape = Syn()) {
    return LeavesAs(client, node_port(), shape);
  }
  // Brings a flow to sl_flows; its port, or 0.
  std::uint16_t Establish(const End& client) {
    const std::uint16_t port = Ask(client, node_port());
    const End backend{addresses().remote, kBackendPort};
    Run(kFromNet, Question(backend, {addresses().node, port}, SynAck()));
    return Ask(client, node_port(), {}) == port ? port : 0;
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, SnatTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(SnatTest, EveryPortOfTheRangeIsGivenOnceAndThenNoneAndOthersAreNotHurt) {
  const std::uint32_t ports = Usable(kPorts);
  std::set<std::uint16_t> given;
  for (std::uint32_t i = 0; i < ports; ++i) {
    const std::uint16_t port = Establish(client(i));
    ASSERT_GE(port, kFirst) << "of client " << i;
    ASSERT_LE(port, kLast);
    ASSERT_TRUE(given.insert(port).second) << "port given twice: " << port;
  }
  ASSERT_EQ(FlowCount(), 2 * ports);
  EXPECT_EQ(AllDrops(), 0u);

  EXPECT_EQ(Ask(client(ports), node_port()), 0);
  EXPECT_EQ(Drops(abi::SL_REASON_SNAT_PORTS, kService), 1u);
  EXPECT_EQ(AllDrops(), 1u);

  ServiceSpec second = NodePort({Backend(addresses().remote2, false)});
  second.id = kService + 1;
  second.port = kNodePort + 1;
  SetService(second);
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_NE(Ask(client(i), {addresses().node, kNodePort + 1}), 0) << "of client " << i;
  }
  // Those that are there go on.
  for (std::uint32_t i = 0; i < ports; i += 1000) {
    EXPECT_TRUE(given.contains(Ask(client(i), node_port(), {})));
  }
  EXPECT_EQ(AllDrops(), 1u);
}

// Flows of one port share a bucket of sl_opening, whatever their backends: were all ports of a tick
// of one block, few places would be left for answers. (A tick may end meanwhile: two blocks.)
TEST_P(SnatTest, FlowsToDifferentBackendsBeginInDifferentBlocks) {
  constexpr std::uint16_t kServices = 8;
  constexpr int kBlock = 64 * abi::SL_SNAT_BLOCK_WORDS;
  std::set<int> blocks;
  for (std::uint16_t i = 1; i <= kServices; ++i) {
    const auto backend_port = static_cast<std::uint16_t>(kBackendPort + i);
    ServiceSpec service = NodePort({Backend(addresses().remote, false, backend_port)});
    service.id = kService + i;
    service.port = static_cast<std::uint16_t>(kNodePort + i);
    SetService(service);
    const std::uint16_t port = Ask(client(i), {addresses().node, service.port});
    ASSERT_GE(port, kFirst);
    blocks.insert((port - kFirst) / kBlock);
  }
  EXPECT_GT(blocks.size(), 2u);
}

// A range that ends in the middle of a word, and begins a block.
TEST_P(SnatTest, TheLastPortOfTheRangeIsTheLast) {
  for (const std::uint32_t count : {1u, 63u, 64u, 65u, 513u}) {
    SCOPED_TRACE(count);
    SetUp();
    UsePorts(kFirst, static_cast<std::uint16_t>(kFirst + count - 1));
    std::set<std::uint16_t> given;
    for (std::uint32_t i = 0; i < count; ++i) given.insert(Establish(client(i)));
    EXPECT_EQ(given.size(), count);
    EXPECT_EQ(*given.begin(), kFirst);
    EXPECT_EQ(*given.rbegin(), kFirst + count - 1);
    EXPECT_EQ(Ask(client(count), node_port()), 0);
  }
}

// Several addresses add up: each has the whole range, towards the same backend and port.
TEST_P(SnatTest, TwoAddressesHaveTwiceThePorts) {
  constexpr std::uint32_t kRange = 8000;
  abi::node_config config = DefaultConfig();
  config.snat_port_min = kFirst;
  config.snat_port_max = kFirst + kRange - 1;
  const std::string second = flavor().v6 ? "2001:db8:1::77" : "192.0.2.177";
  const abi::sl_family family = flavor().v6 ? abi::SL_FAMILY_V6 : abi::SL_FAMILY_V4;
  config.snat_address[family][1] = MapAddress(second);
  config.snat_addresses[family] = 2;
  SetConfig(config);
  std::set<End> given;
  std::map<std::string, std::uint32_t> by_address;
  const End backend{addresses().remote, kBackendPort};
  for (std::uint32_t i = 0; i < 2 * Usable(kRange); ++i) {
    const End node = LeavesAs(client(i));
    ASSERT_NE(node.port, 0) << "of client " << i;
    ASSERT_TRUE(given.insert(node).second) << node.address << " " << node.port;
    ++by_address[node.address];
    // Its answers are known by either address, and go to who asked.
    const RunResult answer = Run(kFromNet, Question(backend, node, SynAck()));
    ASSERT_EQ(answer.verdict, kRedirect);
    const absl::StatusOr<Packet> parsed = Parse(answer.frame);
    ASSERT_THAT(parsed, IsOk());
    ASSERT_EQ(PortsOf(*parsed).destination, client(i).port);
    ASSERT_TRUE(LeavesAs(client(i), {}) == node);
    if (i == 1999) {  // drawn, not one after the other
      EXPECT_GT(by_address[addresses().node], 800u);
      EXPECT_GT(by_address[second], 800u);
    }
  }
  EXPECT_EQ(by_address[addresses().node], Usable(kRange));
  EXPECT_EQ(by_address[second], Usable(kRange));
  EXPECT_EQ(AllDrops(), 0u);
  EXPECT_EQ(Ask(client(2 * Usable(kRange)), node_port()), 0);
  EXPECT_EQ(Drops(abi::SL_REASON_SNAT_PORTS, kService), 1u);
}

// Bits of flows that are over, which the agent has not cleared yet, keep nobody out.
TEST_P(SnatTest, ATableThatIsOutOfDateIsNoLaw) {
  auto rows = tables().snat_ports.Dump();
  ASSERT_THAT(rows, IsOk());
  rows->clear();
  abi::snat_ports full{};
  full.touched = 1;
  for (auto& word : full.used) word = ~std::uint64_t{0};
  for (auto& word : full.full) word = ~std::uint64_t{0};
  for (std::uint32_t table = 0; table < abi::SL_SNAT_TABLES; ++table) {
    rows->emplace_back(table, full);
  }
  ASSERT_THAT(tables().snat_ports.Update(*rows).status, IsOk());
  for (std::uint32_t i = 0; i < 100; ++i) EXPECT_NE(Establish(client(i)), 0);
  EXPECT_EQ(AllDrops(), 0u);
}

// Nor is a port free because a table says so: as after an agent that had no such tables.
TEST_P(SnatTest, AnEmptyTableGivesNoPortTwice) {
  UsePorts(kFirst, kFirst + 15);
  std::set<std::uint16_t> given;
  for (std::uint32_t i = 0; i < 12; ++i) {
    auto rows = tables().snat_ports.Dump();
    ASSERT_THAT(rows, IsOk());
    for (auto& [table, row] : *rows) row = {};
    ASSERT_THAT(tables().snat_ports.Update(*rows).status, IsOk());
    given.insert(Establish(client(i)));
  }
  EXPECT_EQ(given.size(), 12u);
  EXPECT_FALSE(given.contains(0));
}

// The node's address may be an external address of another service: answers to its port would be
// that service's requests.
TEST_P(SnatTest, APortThatIsAServicesIsNotTaken) {
  UsePorts(kFirst, kFirst + 1);
  ServiceSpec other = NodePort({Backend(addresses().remote2, false)});
  other.id = kService + 1;
  other.port = kFirst;
  SetService(other);
  EXPECT_EQ(Ask({addresses().outside, kFirst}, node_port()), kFirst + 1);
  EXPECT_EQ(Ask({addresses().outside, kFirstClient}, node_port()), 0);
  EXPECT_EQ(Drops(abi::SL_REASON_SNAT_PORTS, kService), 1u);
}

// Where nodes send each other what is wrapped in UDP: a pod's answer to it is dropped there.
TEST_P(SnatTest, DatagramsDoNotGetThePortOfTunnels) {
  UsePorts(abi::SL_GUE_PORT, abi::SL_GUE_PORT + 1);
  EXPECT_EQ(Ask({addresses().outside, abi::SL_GUE_PORT}, node_port()),
            abi::SL_GUE_PORT + (flavor().protocol == 17 ? 1 : 0));
}

// What the agent looks for: one bit in the table of the path, whoever chose the port.
TEST_P(SnatTest, APortIsNotedInTheTableOfItsPath) {
  for (const std::uint16_t from : {kFirstClient, kFirst}) {  // another port, and one that is kept
    SetUp();
    const std::uint16_t port = Ask({addresses().outside, from}, node_port());
    const auto rows = tables().snat_ports.Dump();
    ASSERT_THAT(rows, IsOk());
    ASSERT_EQ(rows->size(), 1u);
    const abi::addr source = MapAddress(addresses().node), backend = MapAddress(addresses().remote);
    EXPECT_EQ(rows->front().first,
              abi::snat_table(&source, &backend, htons(kBackendPort), flavor().protocol));
    abi::snat_ports expected{};
    expected.touched = 1;
    expected.used[(port - kFirst) / 64] = std::uint64_t{1} << (port - kFirst) % 64;
    EXPECT_TRUE(rows->front().second == expected);
  }
}

}  // namespace
}  // namespace sluice::testing
