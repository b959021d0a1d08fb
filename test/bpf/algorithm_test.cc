// SPDX-License-Identifier: Apache-2.0
// How a new flow is given one of the slots: by Maglev's table, or by who has the least to do.
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/maglev.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class AlgorithmTest : public ServiceTest {
 protected:
  // Backends are told apart by their port.
  std::vector<std::uint32_t> Backends(int count) {
    std::vector<std::uint32_t> ids;
    for (int i = 0; i < count; ++i) {
      ids.push_back(Backend(addresses().pod2, true, static_cast<std::uint16_t>(9000 + i)));
      EXPECT_EQ(ids.back(), ids.front() + static_cast<std::uint32_t>(i));
    }
    first_ = ids.front();
    return ids;
  }
  std::uint32_t Chosen(const Hook& hook, const End& from, const End& to) {
    const RunResult result = Run(hook, Question(from, to));
    const absl::StatusOr<Packet> parsed = Parse(result.frame);
    EXPECT_THAT(parsed, IsOk());
    return parsed.ok() ? first_ + PortsOf(*parsed).destination - 9000u : 0;
  }
  std::uint32_t FromPod(std::uint16_t port) {
    return Chosen(kFromPod1, {addresses().pod1, port}, cluster_ip());
  }
  // A table as the controller might have made it: nothing about it is regular.
  static std::vector<std::uint32_t> Table(const std::vector<std::uint32_t>& ids, std::size_t size) {
    std::vector<std::uint32_t> table;
    for (std::size_t i = 0; i < size; ++i) table.push_back(ids[i * i * 7 / 3 % ids.size()]);
    return table;
  }
  void SetServices(const std::vector<std::uint32_t>& slots, abi::sl_algorithm algorithm) {
    for (ServiceSpec spec : {ClusterIp(slots), NodePort(slots)}) {
      spec.algorithm = algorithm;
      SetService(spec);
    }
  }
  std::uint32_t SlotOf(const std::vector<std::uint32_t>& table, std::uint32_t point) {
    return table.at(abi::maglev_slot(point, static_cast<std::uint32_t>(table.size())));
  }
  std::uint32_t PointOf(const End& from, const End& to) {
    const abi::flow key = FlowKey(from.address, from.port, to.address, to.port, flavor().protocol);
    return abi::maglev_point(&key);
  }
  void SetFlags(std::uint32_t id, int flags) {
    ASSERT_THAT(writer().SetBackend(id, {.address = addresses().pod2,
                                         .port = static_cast<std::uint16_t>(9000 + id - first_),
                                         .protocol = flavor().protocol,
                                         .flags = static_cast<std::uint8_t>(flags)}),
                IsOk());
  }
  void SetLoad(std::uint32_t id, std::int32_t flows, std::int32_t sockets) {
    const std::pair<std::uint32_t, abi::backend_load> row(id, {.flows = flows, .sockets = sockets});
    ASSERT_THAT(tables().loads.Update(std::span(&row, 1)).status, IsOk());
  }
  // How often each backend is chosen for new flows.
  std::map<std::uint32_t, int> Tally(int flows) {
    std::map<std::uint32_t, int> tally;
    for (int i = 0; i < flows; ++i) ++tally[FromPod(static_cast<std::uint16_t>(20000 + i))];
    return tally;
  }

  std::uint32_t first_ = 0;
};

std::vector<Flavor> Everything() {
  std::vector<Flavor> flavors = AllFlavors();
  for (const Flavor& flavor : SctpFlavors()) flavors.push_back(flavor);
  return flavors;
}
INSTANTIATE_TEST_SUITE_P(Flavors, AlgorithmTest, ::testing::ValuesIn(Everything()), FlavorCaseName);

TEST_P(AlgorithmTest, MaglevIsTheSlotOfTheFlow) {
  const std::vector<std::uint32_t> table = Table(Backends(5), 251);
  SetServices(table, abi::SL_ALGORITHM_MAGLEV);
  std::set<std::uint32_t> seen;
  for (std::uint16_t port = 1000; port < 1200; ++port) {
    const End pod_at{addresses().pod1, port}, outside_at{addresses().outside, port};
    EXPECT_EQ(FromPod(port), SlotOf(table, PointOf(pod_at, cluster_ip()))) << port;
    EXPECT_EQ(Chosen(kFromNet, outside_at, node_port()),
              SlotOf(table, PointOf(outside_at, node_port())))
        << port;
    seen.insert(FromPod(port));
  }
  EXPECT_EQ(seen.size(), 5u) << "all backends have flows";
}

TEST_P(AlgorithmTest, MaglevBySourceGivesAllPortsOfAClientOneBackend) {
  const std::vector<std::uint32_t> table = Table(Backends(5), 251);
  SetServices(table, abi::SL_ALGORITHM_MAGLEV_SOURCE);
  std::set<std::uint32_t> seen;
  for (int client = 1; client < 30; ++client) {
    const std::string address =
        (flavor().v6 ? "2001:db8:f::" : "198.51.100.") + std::to_string(client);
    const abi::addr key = MapAddress(address);
    const std::uint32_t expected = SlotOf(table, abi::maglev_source_point(&key));
    for (std::uint16_t port = 1000; port < 1010; ++port) {
      EXPECT_EQ(Chosen(kFromNet, {address, port}, node_port()), expected) << address;
    }
    seen.insert(expected);
  }
  EXPECT_EQ(seen.size(), 5u);
}

TEST_P(AlgorithmTest, MaglevGoesOnToTheNextPointFromASlotOfNoUse) {
  const std::vector<std::uint32_t> ids = Backends(5);
  const std::vector<std::uint32_t> table = Table(ids, 251);
  SetServices(table, abi::SL_ALGORITHM_MAGLEV);
  SetFlags(ids[2], abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_LOCAL);
  int moved = 0;
  for (std::uint16_t port = 1000; port < 1200; ++port) {
    std::uint32_t point = PointOf({addresses().pod1, port}, cluster_ip());
    if (SlotOf(table, point) == ids[2]) ++moved;
    while (SlotOf(table, point) == ids[2]) point = abi::maglev_next_point(point);
    EXPECT_EQ(FromPod(port), SlotOf(table, point)) << port;
  }
  EXPECT_GT(moved, 10);
}

TEST_P(AlgorithmTest, AnOpenThatIsSentAgainLeavesItsSlot) {
  if (flavor().protocol == 17) return;  // of a datagram nobody knows whether it is one again
  const std::vector<std::uint32_t> table = Table(Backends(5), 251);
  for (const auto algorithm : {abi::SL_ALGORITHM_MAGLEV, abi::SL_ALGORITHM_MAGLEV_SOURCE,
                               abi::SL_ALGORITHM_LEAST_CONNECTION, abi::SL_ALGORITHM_RANDOM}) {
    SetServices(table, algorithm);
    for (std::uint16_t i = 0; i < 30; ++i) {
      const auto port = static_cast<std::uint16_t>(1000 + algorithm * 100 + i);
      const std::uint32_t before = FromPod(port);
      EXPECT_NE(FromPod(port), before) << algorithm;
    }
  }
}

TEST_P(AlgorithmTest, OfTwoTheLessLoadedIsTaken) {
  const std::vector<std::uint32_t> ids = Backends(2);
  SetServices(ids, abi::SL_ALGORITHM_LEAST_CONNECTION);
  for (const auto& [flows, sockets] : {std::pair(100, 0), std::pair(0, 100), std::pair(-50, 110)}) {
    for (const std::uint32_t busy : ids) {
      SetLoad(busy, flows, sockets);
      SetLoad(ids[0] + ids[1] - busy, 20, 20);
      ChangeOpening([](abi::opening_bucket& bucket) { bucket = {}; });
      // 16 draws that all name the busy one come once in 65,536 flows.
      EXPECT_LE(Tally(200)[busy], 2) << flows << "+" << sockets;
    }
  }
}

TEST_P(AlgorithmTest, OfThreeTheMostLoadedGetsNone) {
  const std::vector<std::uint32_t> ids = Backends(3);
  SetServices(ids, abi::SL_ALGORITHM_LEAST_CONNECTION);
  SetLoad(ids[0], 1, 0);
  SetLoad(ids[1], 3, 4);
  SetLoad(ids[2], 0, 2);
  std::map<std::uint32_t, int> tally = Tally(300);
  EXPECT_EQ(tally[ids[1]], 0);
  EXPECT_GT(tally[ids[0]], tally[ids[2]]) << "it wins against both";
  EXPECT_GT(tally[ids[2]], 0) << "and yet is not always asked";
}

// A count that is behind may be below zero for a while: the backend is then idle, and no more.
TEST_P(AlgorithmTest, ACountBelowZeroIsNone) {
  const std::vector<std::uint32_t> ids = Backends(2);
  SetServices(ids, abi::SL_ALGORITHM_LEAST_CONNECTION);
  SetLoad(ids[0], -1000, 0);
  std::map<std::uint32_t, int> tally = Tally(200);
  EXPECT_GT(tally[ids[0]], 40);
  EXPECT_GT(tally[ids[1]], 40);
}

TEST_P(AlgorithmTest, AnotherAlgorithmLeavesFlowsWhereTheyAre) {
  const std::vector<std::uint32_t> ids = Backends(5);
  for (const auto algorithm :
       {abi::SL_ALGORITHM_RANDOM, abi::SL_ALGORITHM_MAGLEV, abi::SL_ALGORITHM_LEAST_CONNECTION}) {
    SetServices(Table(ids, 31), algorithm);
    std::map<std::uint16_t, End> backends;
    for (std::uint16_t i = 0; i < 20; ++i) {
      const auto port = static_cast<std::uint16_t>(1000 + algorithm * 100 + i);
      const End client{addresses().pod1, port};
      const auto id = FromPod(port);
      backends[port] = {addresses().pod2, static_cast<std::uint16_t>(9000 + id - first_)};
      Run(kToPod1, Question(backends[port], client, SynAck()));
      Run(kFromPod1, Question(client, cluster_ip(), {}));
    }
    for (const auto next : {abi::SL_ALGORITHM_MAGLEV, abi::SL_ALGORITHM_MAGLEV_SOURCE,
                            abi::SL_ALGORITHM_LEAST_CONNECTION, abi::SL_ALGORITHM_RANDOM}) {
      SetServices(Table(ids, 31), next);
      for (const auto& [port, backend] : backends) {
        const End client{addresses().pod1, port};
        EXPECT_TRUE(Becomes(kFromPod1, Question(client, cluster_ip(), {}), kNext,
                            Question(client, backend, {})));
      }
    }
  }
  EXPECT_EQ(FlowCount(), 120u) << "20 flows of each of 3 algorithms, of 2 rows";
}

}  // namespace
}  // namespace sluice::testing
