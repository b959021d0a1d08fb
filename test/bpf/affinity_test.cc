// SPDX-License-Identifier: Apache-2.0
// sessionAffinity: ClientIP.
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class AffinityTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    for (std::uint16_t port = 1001; port <= 1008; ++port) {
      ids_.push_back(Backend(addresses().remote, false, port));
    }
    Publish(ids_);
  }
  void Publish(const std::vector<std::uint32_t>& ids) {
    ServiceSpec spec = ClusterIp(ids, kPlain | abi::SL_SERVICE_AFFINITY);
    spec.affinity_s = 10800;
    SetService(spec);
  }
  // The backend port that a new flow of `address` gets.
  std::uint16_t Choice(const std::string& address) {
    const End from{address, next_port_++};
    const auto parsed = Parse(Run(kFromPod1, Question(from, cluster_ip())).frame);
    EXPECT_THAT(parsed, IsOk());
    return tcp() ? Find<Tcp>(*parsed)->destination_port : Find<Udp>(*parsed)->destination_port;
  }
  std::set<std::uint16_t> Choices(const std::string& address, int tries) {
    std::set<std::uint16_t> ports;
    for (int i = 0; i < tries; ++i) ports.insert(Choice(address));
    return ports;
  }

  std::vector<std::uint32_t> ids_;
  std::uint16_t next_port_ = 20000;
};
INSTANTIATE_TEST_SUITE_P(Flavors, AffinityTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(AffinityTest, AClientStaysWithItsBackendOverAllItsPorts) {
  EXPECT_EQ(Choices(addresses().pod1, 40).size(), 1u);
  // Others are bound on their own: 16 clients on one of 8 backends all alike is 8^-15.
  std::set<std::uint16_t> ports;
  for (int i = 16; i < 32; ++i) {
    ports.insert(
        Choice(flavor().v6 ? absl::StrCat("fd00:0:0:1::", i) : absl::StrCat("10.0.1.", i)));
  }
  EXPECT_GT(ports.size(), 1u);
}

TEST_P(AffinityTest, EveryNewFlowStartsTheTimerAgain) {
  const std::uint16_t first = Choice(addresses().pod1);
  auto rows = tables().affinity.Dump();
  ASSERT_THAT(rows, IsOk());
  ASSERT_EQ(rows->size(), 1u);
  const std::uint32_t fresh = rows->front().second.last_used;
  rows->front().second.last_used -= 10000;  // 2 h 59 min: not yet over
  ASSERT_THAT(tables().affinity.Update(*rows).status, IsOk());
  EXPECT_EQ(Choice(addresses().pod1), first);
  EXPECT_GE(tables().affinity.Dump()->front().second.last_used, fresh);
}

TEST_P(AffinityTest, ABindingExpires) {
  Choice(addresses().pod1);
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 40; ++i) {
    auto rows = tables().affinity.Dump();
    ASSERT_THAT(rows, IsOk());
    rows->front().second.last_used -= 10100;  // 10,100 ticks of 1.07 s: past 10,800 s
    ASSERT_THAT(tables().affinity.Update(*rows).status, IsOk());
    ports.insert(Choice(addresses().pod1));
  }
  EXPECT_GT(ports.size(), 1u);
}

TEST_P(AffinityTest, ABindingToWhoIsNotUsableIsDropped) {
  const std::uint16_t first = Choice(addresses().pod1);
  const std::uint32_t bound = ids_[first - 1001u];
  ASSERT_THAT(writer().SetBackend(bound, {.address = addresses().remote,
                                          .port = first,
                                          .protocol = flavor().protocol,
                                          .flags = abi::SL_BACKEND_PRESENT}),
              IsOk());
  std::vector<std::uint32_t> others;
  for (std::uint32_t id : ids_) {
    if (id != bound) others.push_back(id);
  }
  Publish(others);
  const std::set<std::uint16_t> ports = Choices(addresses().pod1, 20);
  EXPECT_EQ(ports.size(), 1u) << "and it is bound again";
  EXPECT_FALSE(ports.contains(first));
}

TEST_P(AffinityTest, ABindingToAnIdGivenAwayIsDropped) {
  const std::uint16_t first = Choice(addresses().pod1);
  const std::uint32_t bound = ids_[first - 1001u];
  ASSERT_THAT(writer().SetBackend(bound, {.address = addresses().remote2,
                                          .port = 9999,
                                          .protocol = flavor().protocol,
                                          .generation = 2}),
              IsOk());
  std::vector<std::uint32_t> others;
  for (std::uint32_t id : ids_) {
    if (id != bound) others.push_back(id);
  }
  Publish(others);
  EXPECT_FALSE(Choices(addresses().pod1, 20).contains(9999));
}

}  // namespace
}  // namespace sluice::testing
