// SPDX-License-Identifier: Apache-2.0
// Frames that no sender means: cut short, contradicting themselves, random. They pass untouched,
// leave no state, and never end a program in an error. A frame that is about a service may be
// refused, and every frame that comes out changed still has right checksums.
#include <random>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

const std::vector<Hook> kAllHooks = {kFromPod1, kToPod1, kFromNet, kToNet};

class GarbageTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    SetService(ClusterIp({Backend(addresses().pod2, true)}));
    SetService(NodePort({Backend(addresses().remote, false)}));
  }
  ::testing::AssertionResult UntouchedEverywhere(const Bytes& frame) {
    for (const Hook& hook : kAllHooks) {
      const auto result = Becomes(hook, frame, kNext, frame);
      if (!result) return result;
    }
    return ::testing::AssertionSuccess();
  }
  std::size_t NetworkHeader() const { return flavor().v6 ? 40 : 20; }
  // As much of it as the datapath reads; of SCTP, with the first chunk's begin.
  std::size_t TransportHeader() const { return sctp() ? 16 : tcp() ? 20 : 8; }
  bool sctp() const { return flavor().protocol == 132; }
};
INSTANTIATE_TEST_SUITE_P(Flavors, GarbageTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);
INSTANTIATE_TEST_SUITE_P(Sctp, GarbageTest, ::testing::ValuesIn(SctpFlavors()), FlavorCaseName);

class V6GarbageTest : public GarbageTest {};
INSTANTIATE_TEST_SUITE_P(Flavors, V6GarbageTest,
                         ::testing::Values(Flavor{true, 6}, Flavor{true, 17}), FlavorCaseName);

// The kernel gives programs no frame of less than an Ethernet header.
TEST_P(GarbageTest, WhatIsCutBeforeTheTransportHeaderEndsIsUntouched) {
  const Bytes whole = Build(Question(pod(), cluster_ip()));
  const std::size_t least = 14 + NetworkHeader() + TransportHeader();
  int ran = 0;
  for (std::size_t size = 15; size < least; ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    RunContext context;
    context.ifindex = Ifindex("pod1");
    if (!runner().Run(Program::kFromPod, cut, context).ok()) continue;  // too short for the kernel
    ++ran;
    EXPECT_TRUE(UntouchedEverywhere(cut)) << size;
  }
  EXPECT_GE(ran, static_cast<int>(least - 14 - NetworkHeader() - 1));
  EXPECT_EQ(OpeningCount(), 0u);
}

TEST_P(GarbageTest, OtherEthertypesAreUntouched) {
  for (const int ethertype : {0x0806, 0x88cc, 0x8847, 0x0000, 0xffff}) {
    Bytes frame = Build(Question(pod(), cluster_ip()));
    frame[12] = static_cast<std::uint8_t>(ethertype >> 8);
    frame[13] = static_cast<std::uint8_t>(ethertype);
    EXPECT_TRUE(UntouchedEverywhere(frame)) << ethertype;
  }
}

TEST_P(GarbageTest, AWrongVersionOrHeaderLengthIsUntouched) {
  Bytes frame = Build(Question(pod(), cluster_ip()));
  for (int first = 0; first < 256; ++first) {
    if (flavor().v6 ? first >> 4 == 6 : (first >> 4 == 4 && (first & 15) >= 5)) continue;
    frame[14] = static_cast<std::uint8_t>(first);
    EXPECT_TRUE(UntouchedEverywhere(frame)) << first;
  }
}

// To an address of the service range they are dropped, or they would loop on the default route.
TEST_P(GarbageTest, OtherTransportsAreUntouchedButInTheServiceRange) {
  const Bytes protocols = {2, 4, 41, 47, 50, 51, 136, 135, 139, 255};
  std::uint64_t dropped = 0;
  for (const std::uint8_t protocol : protocols) {
    for (const End& to : {node_port(), End{addresses().remote, 80}, cluster_ip()}) {
      Packet packet = Question(pod(), to);
      if (flavor().v6) {
        std::get<Ipv6>(packet[1]).next_header = protocol;
      } else {
        std::get<Ipv4>(packet[1]).protocol = protocol;
      }
      if (to.address != cluster_ip().address) {
        EXPECT_TRUE(UntouchedEverywhere(Build(packet))) << int{protocol};
        continue;
      }
      EXPECT_TRUE(Becomes(kFromPod1, packet, kDrop, packet)) << int{protocol};
      EXPECT_EQ(Drops(abi::SL_REASON_NO_SUCH_SERVICE, 0), ++dropped);
      EXPECT_TRUE(Untouched(kToPod1, packet)) << int{protocol};
      EXPECT_TRUE(Untouched(kToNet, packet)) << int{protocol};
    }
  }
  EXPECT_EQ(OpeningCount(), 0u);
}

TEST_P(GarbageTest, TooManyTagsAreUntouched) {
  Packet packet = Question(pod(), cluster_ip());
  for (std::uint16_t i = 0; i < 5; ++i) packet.insert(packet.begin() + 1, Vlan(i));
  EXPECT_TRUE(UntouchedEverywhere(Build(packet)));
}

TEST_P(V6GarbageTest, TooManyExtensionHeadersAreUntouched) {
  Packet packet = Question(pod(), node_port());
  for (int i = 0; i < 20; ++i) packet.insert(packet.begin() + 2, DestinationOptions());
  EXPECT_TRUE(UntouchedEverywhere(Build(packet)));
}

// In the maps an IPv4 address is a mapped IPv6 one; on the wire nobody may pass for the other.
TEST_P(V6GarbageTest, MappedIpv4AddressesAreUntouched) {
  SetService({.id = kService + 1,
              .address = "203.0.113.80",
              .port = kServicePort,
              .protocol = flavor().protocol,
              .backends = {Backend("10.0.1.2", true)}});
  const End mapped{"::ffff:203.0.113.80", kServicePort};
  EXPECT_TRUE(UntouchedEverywhere(Build(Question(pod(), mapped))));
  EXPECT_TRUE(UntouchedEverywhere(Build(Question({"::ffff:10.0.1.1", 1}, mapped))));
  EXPECT_EQ(OpeningCount(), 0u);
}

// Frames of the right shape with some bytes thrown, 20,000 from a fixed seed. A frame that was
// right and is changed must come out right; none may make the kernel fail.
TEST_P(GarbageTest, RandomChangesNeverBreakAChecksumThatWasRight) {
  std::mt19937 random(20261123);
  const std::vector<Packet> seeds = {
      Question(pod(), cluster_ip()),
      Question(outside(), node_port(), {}),
      Question(pod(), cluster_ip(), {.payload = std::string(300, 'z')}),
      flavor().v6 ? Question(pod(), cluster_ip())
                  : Ethernet() /
                        Ipv4{.source = pod().address,
                             .destination = cluster_ip().address,
                             .options = {1, 1, 1, 0}} /
                        Udp{.source_port = 1, .destination_port = kServicePort} / Payload("o"),
  };
  int changed = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes frame = Build(seeds[random() % seeds.size()]);
    const unsigned throws = random() % 4;
    for (unsigned k = 0; k < throws; ++k) {
      frame[12 + random() % (frame.size() - 12)] = static_cast<std::uint8_t>(random());
    }
    if (random() % 4 == 0) frame.resize(15 + random() % (frame.size() - 15));
    const Hook& hook = kAllHooks[random() % kAllHooks.size()];
    RunContext context;
    context.ifindex = Ifindex(hook.device);
    const absl::StatusOr<RunResult> result = runner().Run(hook.program, frame, context);
    if (!result.ok()) {
      // The kernel itself refuses frames without a whole IP header.
      ASSERT_LT(frame.size(), 14 + NetworkHeader()) << result.status();
      continue;
    }
    ASSERT_THAT(result->verdict, ::testing::AnyOf(kNext, kDrop, kRedirect));
    if (result->verdict == kDrop || result->frame == frame) continue;
    ++changed;
    if (VerifyChecksums(frame).ok()) {
      ASSERT_THAT(VerifyChecksums(result->frame), IsOk())
          << ::testing::PrintToString(frame) << " became "
          << ::testing::PrintToString(result->frame);
    }
  }
  EXPECT_GT(changed, 1000) << "the frames must reach the datapath to say anything";
}

}  // namespace
}  // namespace sluice::testing
