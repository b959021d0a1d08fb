// SPDX-License-Identifier: Apache-2.0
// ICMP echoes to addresses that services own, and packets there to ports that no service has.
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint16_t kEchoInternal = abi::SL_SERVICE_ECHO_INTERNAL;
constexpr std::uint16_t kEchoExternal = abi::SL_SERVICE_ECHO_EXTERNAL;

// The row of an address, of a cluster IP or of a load balancer alone.
class AddressTest : public ServiceTest {
 protected:
  // In no service range, as the address of a load balancer.
  std::string load_balancer() const { return flavor().v6 ? "2001:db8:e::50" : "203.0.113.50"; }

  void SetAddress(const std::string& address, abi::sl_frontend_kind kind, int flags) {
    SetService({.id = kService,
                .address = address,
                .port = 0,
                .protocol = 0,
                .kind = static_cast<std::uint8_t>(kind),
                .flags = static_cast<std::uint16_t>(flags)});
  }
  void SetClusterIp(int flags) {
    SetAddress(addresses().cluster_ip, abi::SL_FRONTEND_ADDRESS,
               flags | abi::SL_SERVICE_DENY_EXTERNAL);
  }
  void SetLoadBalancer(int flags) {
    SetAddress(load_balancer(), abi::SL_FRONTEND_EXTERNAL_ADDRESS, flags);
  }
  int Guard() const { return flavor().v6 ? abi::SL_SERVICE_RANGES_V6 : abi::SL_SERVICE_RANGES_V4; }
  void AllowOutside() {
    const std::pair<abi::source_range_key, abi::source_range> row(
        {.prefix_len = 32 + (flavor().v6 ? 64u : 96u + 24u),
         .service_id = kService,
         .address = MapAddress(flavor().v6 ? "2001:db8:f::" : "198.51.100.0")},
        {.allow = 1});
    ASSERT_THAT(tables().source_ranges.Update(std::span(&row, 1)).status, IsOk());
  }
};

class EchoTest : public AddressTest {
 protected:
  static constexpr std::uint32_t kIdAndSequence = 0x12340007;

  std::uint8_t RequestType() const { return flavor().v6 ? 128 : 8; }
  std::uint8_t ReplyType() const { return flavor().v6 ? 129 : 0; }

  Packet Message(const std::string& from, const std::string& to, std::uint8_t type,
                 const std::string& payload = "echo") const {
    const Icmp icmp{.type = type, .rest = kIdAndSequence};
    if (flavor().v6) {
      return Ethernet() / Ipv6{.source = from, .destination = to, .hop_limit = 17} / icmp /
             Payload{payload};
    }
    return Ethernet() / Ipv4{.source = from, .destination = to, .ttl = 17, .id = 3} / icmp /
           Payload{payload};
  }
  Packet Request(const std::string& from, const std::string& to,
                 const std::string& payload = "echo") const {
    return Message(from, to, RequestType(), payload);
  }
  // What comes back: all exchanged, the TTL that of a packet made here.
  Packet Answer(const std::string& from, const std::string& to,
                const std::string& payload = "echo") const {
    Packet answer = Message(from, to, ReplyType(), payload);
    auto& link = std::get<Ethernet>(answer[0]);
    std::swap(link.source, link.destination);
    if (flavor().v6) {
      std::get<Ipv6>(answer[1]).hop_limit = 64;
    } else {
      std::get<Ipv4>(answer[1]).ttl = 64;
    }
    return answer;
  }
  ::testing::AssertionResult Answered(const Hook& hook, const std::string& from,
                                      const std::string& to, const std::string& payload = "echo") {
    return Becomes(hook, Request(from, to, payload), kRedirect, Answer(to, from, payload));
  }
  std::string pod_address() const { return addresses().pod1; }
  std::string outside_address() const { return addresses().outside; }
  std::string cluster_address() const { return addresses().cluster_ip; }
};

// ICMP has no flavour of a transport.
std::vector<Flavor> Families() { return {{.v6 = false}, {.v6 = true}}; }
std::vector<Flavor> Everything() {
  std::vector<Flavor> flavors = AllFlavors();
  for (const Flavor& flavor : SctpFlavors()) flavors.push_back(flavor);
  return flavors;
}
INSTANTIATE_TEST_SUITE_P(Families, EchoTest, ::testing::ValuesIn(Families()), FlavorCaseName);
INSTANTIATE_TEST_SUITE_P(Flavors, AddressTest, ::testing::ValuesIn(Everything()), FlavorCaseName);

TEST_P(EchoTest, APodIsAnsweredInPlace) {
  SetClusterIp(kPlain | kEchoInternal);
  for (const std::size_t size : {0, 1, 2, 7, 56, 183, 1400}) {
    std::string payload;
    for (std::size_t i = 0; i < size; ++i) payload.push_back(static_cast<char>(i * 5 + 1));
    EXPECT_TRUE(Answered(kFromPod1, pod_address(), cluster_address(), payload)) << size;
  }
  EXPECT_EQ(AllDrops(), 0u);
  EXPECT_EQ(FlowCount() + OpeningCount(), 0u);
}

TEST_P(EchoTest, TagsStay) {
  SetClusterIp(kPlain | kEchoInternal);
  Packet in = Request(pod_address(), cluster_address());
  Packet out = Answer(cluster_address(), pod_address());
  for (Packet* packet : {&in, &out}) packet->insert(packet->begin() + 1, Vlan(9));
  EXPECT_TRUE(Becomes(kFromPod1, in, kRedirect, out));
}

// The node's own echo is on its way out when it is turned.
TEST_P(EchoTest, TheNodeItselfIsAnsweredOnItsWayOut) {
  SetClusterIp(kPlain | kEchoInternal);
  SetLoadBalancer(kPlain | kEchoInternal);
  for (const std::string& address : {cluster_address(), load_balancer()}) {
    EXPECT_TRUE(Answered(kToNet, addresses().node, address)) << address;
    EXPECT_TRUE(Untouched(kToPod1, Request(addresses().node, address))) << "the pod's own address?";
  }
}

TEST_P(EchoTest, TheNetworkIsAnsweredByALoadBalancersAddress) {
  SetLoadBalancer(kPlain | kEchoExternal);
  EXPECT_TRUE(Answered(kFromNet, outside_address(), load_balancer()));
  ExpectDropped(kFromPod1, Request(pod_address(), load_balancer()), abi::SL_REASON_NO_SUCH_PORT);
}

TEST_P(EchoTest, EachScopeIsAskedForItself) {
  SetLoadBalancer(kPlain | kEchoInternal);
  EXPECT_TRUE(Answered(kFromPod1, pod_address(), load_balancer()));
  ExpectDropped(kFromNet, Request(outside_address(), load_balancer()), abi::SL_REASON_NO_SUCH_PORT);
  SetLoadBalancer(kPlain | kEchoInternal | abi::SL_SERVICE_LOCAL_EXTERNAL);
  ExpectDropped(kFromNet, Request(outside_address(), load_balancer()),
                abi::SL_REASON_NO_LOCAL_BACKEND);
  SetLoadBalancer(kPlain | kEchoExternal | abi::SL_SERVICE_LOCAL_INTERNAL);
  ExpectDropped(kFromPod1, Request(pod_address(), load_balancer()),
                abi::SL_REASON_NO_LOCAL_BACKEND);
}

TEST_P(EchoTest, AClusterIpIsNotForTheNetwork) {
  SetClusterIp(kPlain | kEchoInternal | kEchoExternal);
  ExpectDropped(kFromNet, Request(outside_address(), cluster_address()),
                abi::SL_REASON_EXTERNAL_DENIED);
}

TEST_P(EchoTest, NobodyAnswersWithoutEndpoints) {
  SetClusterIp(0);
  SetLoadBalancer(0);
  ExpectDropped(kFromPod1, Request(pod_address(), cluster_address()), abi::SL_REASON_NO_BACKEND);
  ExpectDropped(kFromPod1, Request(pod_address(), load_balancer()), abi::SL_REASON_NO_BACKEND);
  ExpectDropped(kFromNet, Request(outside_address(), load_balancer()), abi::SL_REASON_NO_BACKEND);
}

TEST_P(EchoTest, SourceRangesHoldForEchoesToo) {
  SetLoadBalancer(kPlain | kEchoExternal | Guard());
  ExpectDropped(kFromNet, Request(outside_address(), load_balancer()),
                abi::SL_REASON_SOURCE_DENIED);
  AllowOutside();
  EXPECT_TRUE(Answered(kFromNet, outside_address(), load_balancer()));
  const std::string elsewhere = flavor().v6 ? "2001:db8:d::1" : "198.51.99.1";
  EXPECT_TRUE(Becomes(kFromNet, Request(elsewhere, load_balancer()), kDrop, {}));
}

TEST_P(EchoTest, AnAddressOfTheRangeThatNoServiceHasIsSilent) {
  ExpectDropped(kFromPod1, Request(pod_address(), addresses().unallocated),
                abi::SL_REASON_NO_SUCH_SERVICE, 0);
  ExpectDropped(kFromNet, Request(outside_address(), addresses().unallocated),
                abi::SL_REASON_NO_SUCH_SERVICE, 0);
  ExpectDropped(kToNet, Request(addresses().node, addresses().unallocated),
                abi::SL_REASON_NO_SUCH_SERVICE, 0);
}

TEST_P(EchoTest, NobodyElseIsAnsweredFor) {
  SetClusterIp(kPlain | kEchoInternal | kEchoExternal);
  SetLoadBalancer(kPlain | kEchoInternal | kEchoExternal);
  for (const std::string& address : {addresses().node, addresses().pod2, addresses().remote}) {
    for (const Hook& hook : {kFromPod1, kFromNet, kToNet, kToPod1}) {
      EXPECT_TRUE(Untouched(hook, Request(outside_address(), address))) << address;
    }
  }
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(EchoTest, OnlyRequestsAreAnswered) {
  SetLoadBalancer(kPlain | kEchoInternal | kEchoExternal);
  const int timestamp = 13, neighbour_solicitation = 135;
  for (const int type : {int{ReplyType()}, flavor().v6 ? neighbour_solicitation : timestamp, 200}) {
    const auto packet =
        Message(outside_address(), load_balancer(), static_cast<std::uint8_t>(type));
    for (const Hook& hook : {kFromPod1, kFromNet, kToNet}) {
      EXPECT_TRUE(Untouched(hook, packet)) << type;
    }
  }
}

// An answer to a group, or to nobody, would be a way to reach many with one packet.
TEST_P(EchoTest, WhoCannotBeAnsweredIsNot) {
  SetClusterIp(kPlain | kEchoInternal);
  for (const std::string& source :
       flavor().v6 ? std::vector<std::string>{"ff02::1", "::", "::1"}
                   : std::vector<std::string>{"224.0.0.1", "0.0.0.0", "127.0.0.1"}) {
    EXPECT_TRUE(Becomes(kFromPod1, Request(source, cluster_address()), kDrop, {})) << source;
  }
}

TEST_P(AddressTest, APortThatNoServiceHasIsRejectedToTheNetwork) {
  SetLoadBalancer(kPlain);
  const End unknown{load_balancer(), 4242};
  ExpectRejected(kFromNet, Question(outside(), unknown), abi::SL_REASON_NO_SUCH_PORT, 0);
  ExpectRejected(kFromPod1, Question(pod(), unknown), abi::SL_REASON_NO_SUCH_PORT, 0);
}

TEST_P(AddressTest, WhoIsInNoSourceRangeIsNotEvenRejected) {
  SetLoadBalancer(kPlain | Guard());
  const End unknown{load_balancer(), 4242};
  ExpectDropped(kFromNet, Question(outside(), unknown), abi::SL_REASON_SOURCE_DENIED, 0);
  AllowOutside();
  ExpectRejected(kFromNet, Question(outside(), unknown), abi::SL_REASON_NO_SUCH_PORT, 0);
  const End elsewhere{flavor().v6 ? "2001:db8:d::1" : "198.51.99.1", 1};
  ExpectDropped(kFromNet, Question(elsewhere, unknown), abi::SL_REASON_SOURCE_DENIED, 0);
}

}  // namespace
}  // namespace sluice::testing
