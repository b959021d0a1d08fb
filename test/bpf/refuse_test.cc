// SPDX-License-Identifier: Apache-2.0
// Who is refused, why it says so, and what the answer looks like.
#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Flavors, ServiceTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(ServiceTest, DropsAClusterIpAskedForFromOutside) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  for (const Shape& shape : {Syn(), Shape{.flags = "A"}, Shape{.flags = "R"}}) {
    ExpectDropped(kFromNet, Question(outside(), cluster_ip(), shape),
                  abi::SL_REASON_EXTERNAL_DENIED);
  }
}

TEST_P(ServiceTest, DeniesOutsideBeforeAnythingElseIsSaid) {
  SetService(ClusterIp({}, 0));
  ExpectDropped(kFromNet, Question(outside(), cluster_ip()), abi::SL_REASON_EXTERNAL_DENIED);
}

TEST_P(ServiceTest, RejectsWhenNobodyIsThere) {
  SetService(ClusterIp({}, 0));
  SetService(NodePort({}, 0));
  ExpectRejected(kFromPod1, Question(pod(), cluster_ip()), abi::SL_REASON_NO_BACKEND);
  ExpectRejected(kFromNet, Question(outside(), node_port()), abi::SL_REASON_NO_BACKEND);
  ExpectRejected(kFromPod1, Question(pod(), node_port()), abi::SL_REASON_NO_BACKEND);
}

TEST_P(ServiceTest, RejectsUnderPolicyLocalToo) {
  SetService(NodePort({}, abi::SL_SERVICE_LOCAL_EXTERNAL | abi::SL_SERVICE_LOCAL_INTERNAL));
  ExpectRejected(kFromNet, Question(outside(), node_port()), abi::SL_REASON_NO_BACKEND);
  ExpectRejected(kFromPod1, Question(pod(), node_port()), abi::SL_REASON_NO_BACKEND);
}

TEST_P(ServiceTest, DropsUnderPolicyLocalWhenTheEndpointsAreElsewhere) {
  const std::uint32_t remote = Backend(addresses().remote, false);
  ServiceSpec external = NodePort({remote}, kPlain | abi::SL_SERVICE_LOCAL_EXTERNAL);
  external.external_backends = std::vector<std::uint32_t>{};
  SetService(external);
  ExpectDropped(kFromNet, Question(outside(), node_port()), abi::SL_REASON_NO_LOCAL_BACKEND);
  SetService(ClusterIp({}, kPlain | abi::SL_SERVICE_LOCAL_INTERNAL));
  ExpectDropped(kFromPod1, Question(pod(), cluster_ip()), abi::SL_REASON_NO_LOCAL_BACKEND);
}

TEST_P(ServiceTest, RejectsAPortThatTheServiceDoesNotHave) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  ServiceSpec address = ClusterIp({});
  address.port = 0;
  address.protocol = 0;
  address.kind = abi::SL_FRONTEND_ADDRESS;
  address.id = 0;
  SetService(address);
  const End wrong{addresses().cluster_ip, 81};
  abi::node_config without_range = DefaultConfig();  // as without --service-cidr
  for (abi::addr_range& range : without_range.service_range) range = {};
  for (const abi::node_config& config : {DefaultConfig(), without_range}) {
    SetConfig(config);
    ExpectRejected(kFromPod1, Question(pod(), wrong), abi::SL_REASON_NO_SUCH_PORT, 0);
    ExpectDropped(kFromNet, Question(outside(), wrong), abi::SL_REASON_EXTERNAL_DENIED, 0);
  }
}

TEST_P(ServiceTest, DropsAnAddressOfTheServiceRangeThatNoServiceHas) {
  const End nobody{addresses().unallocated, 80};
  ExpectDropped(kFromPod1, Question(pod(), nobody), abi::SL_REASON_NO_SUCH_SERVICE, 0);
  ExpectDropped(kFromNet, Question(outside(), nobody), abi::SL_REASON_NO_SUCH_SERVICE, 0);
  abi::node_config config = DefaultConfig();
  config.service_range[abi::SL_FAMILY_V4] = {};
  config.service_range[abi::SL_FAMILY_V6] = {};
  SetConfig(config);
  EXPECT_TRUE(Untouched(kFromPod1, Question(pod(), nobody))) << "without a range nothing is known";
}

TEST_P(ServiceTest, SourceRangesAreAskedBeforeAnythingElse) {
  const std::uint16_t guard = flavor().v6 ? abi::SL_SERVICE_RANGES_V6 : abi::SL_SERVICE_RANGES_V4;
  ServiceSpec spec = NodePort({}, guard);  // nobody is there, and yet: drop, not reject
  spec.kind = abi::SL_FRONTEND_LOAD_BALANCER;
  SetService(spec);
  ExpectDropped(kFromNet, Question(outside(), node_port()), abi::SL_REASON_SOURCE_DENIED);

  spec.flags = guard | kPlain;
  spec.backends = {Backend(addresses().pod2, true)};
  SetService(spec);
  ExpectDropped(kFromNet, Question(outside(), node_port()), abi::SL_REASON_SOURCE_DENIED);

  const std::uint32_t bits = flavor().v6 ? 64 : 96 + 24;
  const std::pair<abi::source_range_key, abi::source_range> row(
      {.prefix_len = 32 + bits,
       .service_id = kService,
       .address = MapAddress(flavor().v6 ? "2001:db8:f::" : "198.51.100.0")},
      {.allow = 1});
  ASSERT_THAT(tables().source_ranges.Update(std::span(&row, 1)).status, IsOk());
  EXPECT_TRUE(Becomes(kFromNet, Question(outside(), node_port()), kNext,
                      Question(outside(), {addresses().pod2, kBackendPort})));
  const End elsewhere{flavor().v6 ? "2001:db8:e::1" : "198.51.99.1", 1};
  EXPECT_TRUE(Becomes(kFromNet, Question(elsewhere, node_port()), kDrop, {}));
}

TEST_P(ServiceTest, RangesOfTheOtherFamilyOnlyDoNotGuardThisOne) {
  ServiceSpec spec =
      NodePort({Backend(addresses().pod2, true)},
               static_cast<std::uint16_t>(
                   kPlain | (flavor().v6 ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6)));
  SetService(spec);
  EXPECT_TRUE(Becomes(kFromNet, Question(outside(), node_port()), kNext,
                      Question(outside(), {addresses().pod2, kBackendPort})));
}

INSTANTIATE_TEST_SUITE_P(Families, TcpServiceTest,
                         ::testing::Values(Flavor{false, 6}, Flavor{true, 6}), FlavorCaseName);

TEST_P(TcpServiceTest, ResetsDataOfNoKnownFlow) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  SetService(NodePort({Backend(addresses().remote, false)}));
  for (const Shape& shape :
       {Shape{.flags = "A", .sequence = 9, .acknowledgment = 77},
        Shape{.flags = "PA", .sequence = 0xfffffffe, .acknowledgment = 0x80000000},
        Shape{.flags = "FA", .acknowledgment = 1}, Shape{.flags = "SA", .acknowledgment = 5},
        Shape{.flags = "F", .sequence = 0xffffffff}, Shape{.flags = "", .sequence = 3}}) {
    ExpectRejected(kFromPod1, Question(pod(), cluster_ip(), shape), abi::SL_REASON_NO_FLOW);
    ExpectRejected(kFromNet, Question(outside(), node_port(), shape), abi::SL_REASON_NO_FLOW);
  }
}

TEST_P(TcpServiceTest, ResetsASynThatCarriesDataByItsWholeLength) {
  SetService(ClusterIp({}, 0));
  ExpectRejected(kFromPod1,
                 Question(pod(), cluster_ip(), {.flags = "S", .sequence = 100, .payload = "12345"}),
                 abi::SL_REASON_NO_BACKEND);
}

// Ethernet pads short frames: what pads is no payload.
TEST_P(TcpServiceTest, ResetsAPaddedFrameByItsIpLength) {
  SetService(ClusterIp({}, 0));
  Packet padded = Question(pod(), cluster_ip());
  const Packet plain = padded;
  padded.push_back(Trailer{std::string(6, '\0')});
  const RunResult with = Run(kFromPod1, padded);
  const RunResult without = Run(kFromPod1, plain);
  EXPECT_EQ(Difference(without.frame, with.frame), "");
}

TEST_P(TcpServiceTest, ResetsInSpiteOfOptions) {
  SetService(ClusterIp({}, 0));
  Packet packet = Question(pod(), cluster_ip());
  std::get<Tcp>(packet[2]).options = {2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1};
  ExpectRejected(kFromPod1, packet, abi::SL_REASON_NO_BACKEND);
}

// The answer may keep what stood between the headers or not; it must be a right packet.
TEST_P(TcpServiceTest, ResetsWhatHasIpOptionsOrExtensionHeaders) {
  SetService(ClusterIp({}, 0));
  Packet packet = Question(pod(), cluster_ip(), {.flags = "S", .sequence = 41, .payload = ""});
  if (flavor().v6) {
    packet.insert(packet.begin() + 2, DestinationOptions());
  } else {
    std::get<Ipv4>(packet[1]).options = {1, 1, 1, 0};
  }
  const RunResult result = Run(kFromPod1, packet);
  EXPECT_EQ(result.verdict, kRedirect);
  EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
  const absl::StatusOr<Packet> answer = Parse(result.frame);
  ASSERT_THAT(answer, IsOk());
  const auto* reset = Find<Tcp>(*answer);
  ASSERT_NE(reset, nullptr);
  EXPECT_EQ(reset->flags, "RA");
  EXPECT_EQ(reset->acknowledgment, 42u);
  EXPECT_EQ(reset->source_port, kServicePort);
  EXPECT_EQ(reset->destination_port, kClientPort);
  EXPECT_EQ(flavor().v6 ? Find<Ipv6>(*answer)->destination : Find<Ipv4>(*answer)->destination,
            pod().address);
}

TEST_P(TcpServiceTest, ResetsInATaggedFrame) {
  SetService(ClusterIp({}, 0));
  Packet packet = Question(pod(), cluster_ip());
  Packet tagged = packet;
  tagged.insert(tagged.begin() + 1, Vlan(9));
  Packet expected = *Parse(Run(kFromPod1, packet).frame);
  expected.insert(expected.begin() + 1, Vlan(9));
  EXPECT_TRUE(Becomes(kFromPod1, tagged, kRedirect, expected));
}

TEST_P(TcpServiceTest, NeverAnswersAReset) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  ExpectDropped(kFromPod1, Question(pod(), cluster_ip(), {.flags = "R"}), abi::SL_REASON_NO_FLOW);
  ExpectDropped(kFromPod1, Question(pod(), cluster_ip(), {.flags = "RA"}), abi::SL_REASON_NO_FLOW);
}

// RFC 1122 3.2.2, RFC 4443 2.4 e: an answer would go to many, or to nobody.
TEST_P(ServiceTest, NeverAnswersASourceThatIsNotOneHosts) {
  SetService(ClusterIp({}, 0));
  const std::vector<std::string> sources =
      flavor().v6
          ? std::vector<std::string>{"ff02::1", "::", "::1"}
          : std::vector<std::string>{"224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"};
  for (const std::string& source : sources) {
    SCOPED_TRACE(source);
    ExpectDropped(kFromPod1, Question({source, kClientPort}, cluster_ip()),
                  abi::SL_REASON_NO_BACKEND);
  }
}

class UdpServiceTest : public ServiceTest {};
INSTANTIATE_TEST_SUITE_P(Families, UdpServiceTest,
                         ::testing::Values(Flavor{false, 17}, Flavor{true, 17}), FlavorCaseName);

// The socket that must learn of the refusal is found by the ports, so these must be quoted.
TEST_P(UdpServiceTest, AnUnreachableQuotesThePortsAlsoBehindOptionsAndExtensionHeaders) {
  SetService(ClusterIp({}, 0));
  Packet packet = Question(pod(), cluster_ip(), {.payload = "question"});
  if (flavor().v6) {
    packet.insert(packet.begin() + 2, DestinationOptions());
  } else {
    std::get<Ipv4>(packet[1]).options = {1, 1, 1, 0};
  }
  const Bytes question = Build(packet);
  const RunResult result = Run(kFromPod1, packet);
  EXPECT_EQ(result.verdict, kRedirect);
  EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
  const absl::StatusOr<Packet> answer = Parse(result.frame);
  ASSERT_THAT(answer, IsOk());
  ASSERT_NE(Find<Icmp>(*answer), nullptr);
  const std::size_t quote_at = 14 + (flavor().v6 ? 40u : 20u) + 8;
  const std::size_t least = (flavor().v6 ? 48u : 24u) + 8;
  ASSERT_GE(result.frame.size(), quote_at + least);
  EXPECT_TRUE(std::equal(question.begin() + 14,
                         question.begin() + 14 + static_cast<std::ptrdiff_t>(least),
                         result.frame.begin() + static_cast<std::ptrdiff_t>(quote_at)));
}

// As icmp_msgs_per_sec: 1,000 in a tick of 1.07 s, of which this takes part of two at most.
TEST_P(UdpServiceTest, AFloodIsAnsweredByAFewErrorsOnly) {
  SetService(ClusterIp({}, 0));
  const Bytes question = Build(Question(pod(), cluster_ip()));
  // Another flood may have used up this tick's errors, and this one must not use up the next
  // test's.
  const auto await_an_answer = [&] {
    const absl::Time give_up = absl::Now() + absl::Seconds(20);
    while (Run(kFromPod1, question).verdict != kRedirect) ASSERT_LT(absl::Now(), give_up);
  };
  await_an_answer();
  const abi::service_stats before = ServiceStats(kService);
  constexpr int kQuestions = 4000;
  int answered = 0;
  for (int i = 0; i < kQuestions; ++i) answered += Run(kFromPod1, question).verdict == kRedirect;
  EXPECT_LE(answered, kQuestions - 1000);
  const abi::service_stats after = ServiceStats(kService);
  const std::uint64_t rejected = after.rejected - before.rejected;
  EXPECT_EQ(rejected, static_cast<std::uint64_t>(answered));
  EXPECT_EQ(rejected + after.dropped - before.dropped, std::uint64_t{kQuestions});
  await_an_answer();
}

}  // namespace
}  // namespace sluice::testing
