// SPDX-License-Identifier: Apache-2.0
// Samples of refused packets in sl_events: they say what was refused and why, and there are few of
// them however many packets are refused.
#include <arpa/inet.h>
#include <bpf/libbpf.h>

#include <cstring>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/names.h"
#include "test/bpf/service_fixture.h"

namespace sluice::testing {
namespace {

class EventTest : public ServiceTest {
 protected:
  // What is in the ring buffer now.
  std::vector<abi::drop_event> Events() {
    std::vector<abi::drop_event> events;
    const auto take = [](void* to, void* bytes, std::size_t size) {
      abi::drop_event event;
      EXPECT_EQ(size, sizeof(event));
      std::memcpy(&event, bytes, sizeof(event));
      static_cast<std::vector<abi::drop_event>*>(to)->push_back(event);
      return 0;
    };
    const int fd = bpf_object__find_map_fd_by_name(&runner().object(), names::kEvents);
    const std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring(
        ring_buffer__new(fd, take, &events, nullptr), ring_buffer__free);
    EXPECT_NE(ring, nullptr);
    if (ring != nullptr) {
      EXPECT_GE(ring_buffer__consume(ring.get()), 0);
    }
    return events;
  }
  // Refuses packets until one is sampled: the samples of this tick may be used up already.
  std::vector<abi::drop_event> RefuseUntilSampled(const Hook& hook, const Packet& packet) {
    std::vector<abi::drop_event> events;
    for (int i = 0; i < 10'000'000 && events.empty(); ++i) {
      Run(hook, packet);
      if (i % 64 == 0) events = Events();
    }
    return events;
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, EventTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(EventTest, ASampleSaysWhatWasRefusedWhereAndWhy) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  Events();
  const Packet packet = Question(outside(), cluster_ip());
  const std::vector<abi::drop_event> events = RefuseUntilSampled(kFromNet, packet);
  ASSERT_FALSE(events.empty());
  const abi::drop_event& event = events.front();
  EXPECT_EQ(event.reason, static_cast<std::uint32_t>(abi::SL_REASON_EXTERNAL_DENIED));
  EXPECT_EQ(event.service_id, kService);
  EXPECT_EQ(event.hook, static_cast<std::uint32_t>(abi::SL_HOOK_FROM_NET));
  EXPECT_EQ(event.ifindex, Ifindex("uplink"));
  EXPECT_EQ(event.length, Build(packet).size());
  EXPECT_NE(event.time_ns, 0u);
  EXPECT_EQ(AddressText(event.flow.source), outside().address);
  EXPECT_EQ(AddressText(event.flow.destination), cluster_ip().address);
  EXPECT_EQ(ntohs(event.flow.source_port), outside().port);
  EXPECT_EQ(ntohs(event.flow.destination_port), cluster_ip().port);
  EXPECT_EQ(event.flow.protocol, flavor().protocol);
}

TEST_P(EventTest, ManyRefusalsMakeFewSamples) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  Events();
  const Packet packet = Question(outside(), cluster_ip());
  for (int i = 0; i < 5000; ++i) Run(kFromNet, packet);
  EXPECT_EQ(Drops(abi::SL_REASON_EXTERNAL_DENIED, kService), 5000u) << "all are counted";
  EXPECT_LE(Events().size(), 500u);
}

}  // namespace
}  // namespace sluice::testing
