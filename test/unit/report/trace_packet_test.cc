// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace_packet.h"

#include <netinet/in.h>

#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/packet.h"
#include "test/support/status_matchers.h"

namespace sluice::report {
namespace {

using ::sluice::testing::IsOk;
using ::sluice::testing::IsOkAndHolds;
using ::sluice::testing::StatusIs;

constexpr MacAddress kReceiver = {2, 0, 0, 0, 0, 9};

PacketEnds Ends(const std::string& source, const std::string& destination, std::uint32_t protocol) {
  return {IpAddress::Parse(source).value(), 40000, IpAddress::Parse(destination).value(), 80,
          protocol};
}

testing::Bytes ToBytes(const std::vector<std::byte>& frame) {
  testing::Bytes bytes;
  for (const std::byte byte : frame) bytes.push_back(static_cast<std::uint8_t>(byte));
  return bytes;
}

class TracePacketTest : public ::testing::TestWithParam<PacketEnds> {};

// The tests' own packet code is the second opinion, of checksums and lengths too.
TEST_P(TracePacketTest, IsWhatAClientWouldSend) {
  testing::Packet expected = {
      testing::Ethernet{.source = "02:73:6c:75:69:63", .destination = "02:00:00:00:00:09"}};
  const std::string source = GetParam().source.ToString();
  const std::string destination = GetParam().destination.ToString();
  if (GetParam().source.is_v4()) {
    expected = expected /
               testing::Ipv4{.source = source, .destination = destination, .dont_fragment = true};
  } else {
    expected = expected / testing::Ipv6{.source = source, .destination = destination};
  }
  if (GetParam().protocol == IPPROTO_TCP) {
    expected = expected / testing::Tcp{.source_port = 40000,
                                       .destination_port = 80,
                                       .flags = "S",
                                       .sequence = 1,
                                       .window = 64240};
  } else {
    expected = expected / testing::Udp{.source_port = 40000, .destination_port = 80} /
               testing::Payload("sluice trace");
  }
  const testing::Bytes frame = ToBytes(BuildTracePacket(GetParam(), kReceiver));
  EXPECT_EQ(testing::Difference(testing::Build(expected), frame), "");
  EXPECT_THAT(testing::VerifyChecksums(frame), IsOk());
}

// The checksum is another program's.
TEST(TraceSctpTest, IsAnInit) {
  const std::vector<std::uint8_t> init = {0x9c, 0x40, 0x00, 0x50, 0x00, 0x00, 0x00, 0x00,
                                          0xa8, 0x23, 0x6f, 0x03, 0x01, 0x00, 0x00, 0x14,
                                          0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0xfa, 0xf0,
                                          0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01};
  for (const auto& [source, destination, headers] :
       {std::tuple("192.0.2.1", "198.51.100.1", 34),
        std::tuple("2001:db8::1", "2001:db8::2", 54)}) {
    const PacketEnds ends = Ends(source, destination, IPPROTO_SCTP);
    const auto frame = BuildTracePacket(ends, kReceiver);
    const testing::Bytes bytes = ToBytes(frame);
    EXPECT_THAT(std::vector(bytes.begin() + headers, bytes.end()), ::testing::ContainerEq(init));
    EXPECT_THAT(ReadPacketEnds(frame), IsOkAndHolds(ends));
  }
}

TEST_P(TracePacketTest, EndsReadBack) {
  EXPECT_THAT(ReadPacketEnds(BuildTracePacket(GetParam(), kReceiver)), IsOkAndHolds(GetParam()));
}

TEST_P(TracePacketTest, AnythingShorterIsAnError) {
  const auto frame = BuildTracePacket(GetParam(), kReceiver);
  const std::size_t needed = 14 + (GetParam().source.is_v4() ? 20 : 40) + 4;  // up to the ports
  for (std::size_t size = 0; size < needed; ++size) {
    EXPECT_THAT(ReadPacketEnds(std::span(frame).first(size)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << size;
  }
  EXPECT_THAT(ReadPacketEnds(std::span(frame).first(needed)), IsOk());
}

INSTANTIATE_TEST_SUITE_P(AllKinds, TracePacketTest,
                         ::testing::Values(Ends("192.0.2.1", "198.51.100.1", IPPROTO_TCP),
                                           Ends("192.0.2.1", "198.51.100.1", IPPROTO_UDP),
                                           Ends("2001:db8::1", "2001:db8:ffff::1", IPPROTO_TCP),
                                           Ends("2001:db8::1", "2001:db8:ffff::1", IPPROTO_UDP)));

TEST(ReadPacketEndsTest, OtherProtocolsAreErrors) {
  auto frame = BuildTracePacket(Ends("192.0.2.1", "198.51.100.1", IPPROTO_TCP), kReceiver);
  frame[23] = std::byte{IPPROTO_ICMP};
  EXPECT_THAT(ReadPacketEnds(frame), StatusIs(absl::StatusCode::kInvalidArgument));
  frame[12] = std::byte{0x88};
  EXPECT_THAT(ReadPacketEnds(frame), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace sluice::report
