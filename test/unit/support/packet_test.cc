// SPDX-License-Identifier: Apache-2.0
// The packet builder against frames and checksums known from elsewhere (RFC 1071's example, frames
// written out by hand), and against itself: Build(Parse(x)) == x.
#include "test/support/packet.h"

#include <algorithm>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/status_matchers.h"
#include "test/support/wire.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Packet V4() { return Ethernet() / Ipv4{.source = "192.0.2.1", .destination = "198.51.100.7"}; }
Packet V6() { return Ethernet() / Ipv6{.source = "2001:db8::1", .destination = "2001:db8:1::7"}; }

TEST(WireTest, ChecksumIsThatOfRfc1071) {
  const Bytes example = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(InternetChecksum(example), static_cast<std::uint16_t>(~0xddf2));
}

TEST(WireTest, Crc32cIsThatOfRfc3720) {
  const std::string digits = "123456789";
  EXPECT_EQ(Crc32c(Bytes(digits.begin(), digits.end())), 0xe3069283u);
  // Appendix B.4: 32 bytes of zeros, which are aa 36 91 8a on the wire.
  EXPECT_EQ(Crc32c(Bytes(32)), 0x8a9136aau);
}

TEST(PacketTest, WritesTheCrcLowestByteFirst) {
  const Packet packet = V4() / Sctp{.source_port = 1, .destination_port = 2, .tag = 3};
  const Bytes frame = Build(packet);
  Bytes covered(frame.begin() + 34, frame.end());
  ASSERT_EQ(covered.size(), 12u);
  const Bytes written(covered.begin() + 8, covered.end());
  std::fill(covered.begin() + 8, covered.end(), std::uint8_t{0});
  const std::uint32_t crc = Crc32c(covered);
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(written[i], (crc >> 8 * i) & 0xff) << i;
}

TEST(PacketTest, BuildsTheHeaderOfAWellKnownExample) {
  // The IPv4 header that Wikipedia and many textbooks compute: its checksum is b861.
  const Bytes frame = Build(Ethernet() / Ipv4{.source = "192.168.0.1",
                                              .destination = "192.168.0.199",
                                              .dont_fragment = true,
                                              .total_length = 115,
                                              .protocol = 17});
  const Bytes header = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
  EXPECT_EQ(Bytes(frame.begin() + 14, frame.end()), header);
}

TEST(PacketTest, BuildsAUdpDatagramWithItsChecksum) {
  const Bytes frame = Build(Ethernet() / Ipv4{.source = "10.0.0.1", .destination = "10.0.0.2"} /
                            Udp{.source_port = 1, .destination_port = 2} / Payload("\x03"));
  // By hand: 0a00+0001+0a00+0002+0011+0009 + 0001+0002+0009 + 0300 = 1729; its complement e8d6.
  EXPECT_EQ(Bytes(frame.begin() + 34, frame.end()), (Bytes{0, 1, 0, 2, 0, 9, 0xe8, 0xd6, 3}));
}

class RoundTripTest : public ::testing::TestWithParam<Packet> {};

TEST_P(RoundTripTest, ParsesToWhatBuildsTheSameFrame) {
  const Bytes frame = Build(GetParam());
  const absl::StatusOr<Packet> parsed = Parse(frame);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(Difference(Build(*parsed), frame), "");
  EXPECT_THAT(VerifyChecksums(frame), IsOk());
}

const Tcp kSyn{.source_port = 4000,
               .destination_port = 80,
               .flags = "S",
               .sequence = 0x12345678,
               .options = {2, 4, 5, 0xb4}};
const Udp kQuery{.source_port = 5353, .destination_port = 53};
const Sctp kInit{.source_port = 5000,
                 .destination_port = 36412,
                 .chunks = {{.type = 1, .value = "0123456789abcdef"}, {.type = 9, .value = "odd"}}};

INSTANTIATE_TEST_SUITE_P(
    Packets, RoundTripTest,
    ::testing::Values(
        V4() / kSyn, V6() / kSyn, V4() / kQuery / Payload("odd"), V6() / kQuery / Payload("odd"),
        V4() / Udp{.source_port = 1, .destination_port = 2, .no_checksum = true} / Payload("x"),
        Ethernet() / Vlan(100) / Ipv4{.source = "192.0.2.1", .destination = "192.0.2.2"} / kSyn,
        Ethernet() /
            Ipv4{.source = "192.0.2.1", .destination = "192.0.2.2", .options = {1, 1, 1, 0}} /
            kQuery,
        V6() / HopByHop() / DestinationOptions() / RoutingDone() / kSyn / Payload("data"),
        V6() / Ipv6Fragment{.id = 7} / kQuery / Payload("atomic"),
        V4() / Icmp{.type = 8, .rest = 0x10001} / Payload("ping"),
        V6() / Icmp{.type = 128, .rest = 0x10001} / Payload("ping"),
        V4() / Icmp{.type = 3, .code = 4, .rest = 1400} /
            Ipv4{.source = "198.51.100.7", .destination = "192.0.2.1"} / kSyn,
        V6() / Icmp{.type = 2, .rest = 1400} /
            Ipv6{.source = "2001:db8:1::7", .destination = "2001:db8::1"} / kQuery / Payload("x"),
        V4() / Icmp{.type = 11} /
            Ipv4{.source = "198.51.100.7", .destination = "192.0.2.1", .total_length = 1500} /
            TransportStub{.source_port = 80, .destination_port = 4000, .rest = 9},
        V4() / kInit, V6() / kInit / Payload("no whole chunk"),
        V4() / Sctp{.source_port = 1, .destination_port = 2, .no_checksum = true} / Payload("x"),
        V6() / Icmp{.type = 2, .rest = 1400} /
            Ipv6{.source = "2001:db8:1::7", .destination = "2001:db8::1"} / kInit,
        V4() / Icmp{.type = 11} /
            Ipv4{.source = "198.51.100.7", .destination = "192.0.2.1", .total_length = 1500} /
            TransportStub{.protocol = 132, .source_port = 80, .destination_port = 4000, .rest = 9},
        V4() / kSyn / Trailer(std::string(6, '\0'))));

TEST(PacketTest, NamesEachWrongChecksum) {
  EXPECT_THAT(
      VerifyChecksums(Build(Ethernet() /
                            Ipv4{.source = "192.0.2.1", .destination = "192.0.2.2", .checksum = 1} /
                            Tcp{.checksum = 2})),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("ipv4.checksum, tcp.checksum")));
  EXPECT_THAT(VerifyChecksums(Build(V6() / Udp{.no_checksum = true})),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("udp.checksum")));
  EXPECT_THAT(VerifyChecksums(Build(V6() / Icmp{.type = 128, .checksum = 3})),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("icmp.checksum")));
  EXPECT_THAT(VerifyChecksums(Build(V4() / Icmp{.type = 3} /
                                    Ipv4{.source = "192.0.2.1", .destination = "192.0.2.2"} /
                                    Udp{.checksum = 4})),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("inner.udp.checksum")));
  EXPECT_THAT(VerifyChecksums(Build(V4() / Sctp{.checksum = 5})),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sctp.checksum")));
}

TEST(PacketTest, EveryFlippedByteOfATransportIsNoticed) {
  for (const Packet& packet :
       {V4() / kSyn / Payload("data"), V4() / kQuery / Payload("odd"), V6() / kSyn, V6() / kQuery,
        V4() / kInit, V6() / kInit / Payload("x"),
        V6() / Icmp{.type = 2, .rest = 1400} /
            Ipv6{.source = "2001:db8:1::7", .destination = "2001:db8::1"} / kQuery}) {
    const Bytes frame = Build(packet);
    for (std::size_t at = Find<Ipv4>(packet) ? 34 : 54; at < frame.size(); ++at) {
      Bytes changed = frame;
      changed[at] ^= 0x10;
      EXPECT_FALSE(VerifyChecksums(changed).ok()) << "byte " << at;
    }
  }
}

TEST(PacketTest, DifferenceNamesTheFields) {
  const std::string text = Difference(Build(V4() / kSyn), Build(V4() / Tcp{.flags = "SA"}));
  EXPECT_THAT(text, HasSubstr("tcp.flags: expected S, is SA\n"));
  EXPECT_THAT(text, HasSubstr("tcp.source_port: expected 4000, is 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("ipv4")));
}

TEST(PacketTest, RefusesWhatIsCutShort) {
  for (const Packet& packet :
       {V4() / kSyn, V6() / HopByHop() / kQuery, V4() / Sctp{.source_port = 1}}) {
    const Bytes frame = Build(packet);
    for (std::size_t size = 0; size < frame.size(); ++size) {
      EXPECT_THAT(Parse(std::span(frame).first(size)), StatusIs(absl::StatusCode::kInvalidArgument))
          << size;
    }
  }
}

TEST(PacketTest, FragmentsComeTogetherAgain) {
  for (const Packet& packet : {V4() / kQuery / Payload(std::string(3000, 'a')),
                               V6() / kQuery / Payload(std::string(3000, 'b'))}) {
    const std::vector<Bytes> fragments = Fragments(packet, 1400, 99);
    ASSERT_EQ(fragments.size(), 3u);
    for (const Bytes& fragment : fragments) EXPECT_THAT(VerifyChecksums(fragment), IsOk());
    const absl::StatusOr<Bytes> whole = Reassemble(fragments);
    ASSERT_THAT(whole, IsOk());
    EXPECT_THAT(VerifyChecksums(*whole), IsOk());
    EXPECT_EQ(Find<Payload>(*Parse(*whole))->bytes, Find<Payload>(packet)->bytes);
  }
}

TEST(PacketTest, ParsingGarbageEnds) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    Bytes frame =
        Build(i % 2 == 0 ? V4() / Icmp{.type = 3} /
                               Ipv4{.source = "192.0.2.1", .destination = "192.0.2.2"} / kSyn
                         : V6() / HopByHop() / kQuery / Payload("x"));
    frame.resize(14 + random() % (frame.size() - 14));
    for (int k = 0; k < 4; ++k)
      frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
    const absl::StatusOr<Packet> parsed = Parse(frame);  // under ASan: never past the end
    if (parsed.ok()) {
      EXPECT_FALSE(Describe(*parsed).empty());
    }
  }
}

TEST(AddressTest, MapsBothWays) {
  EXPECT_EQ(AddressText(MapAddress("192.0.2.1")), "192.0.2.1");
  EXPECT_EQ(AddressText(MapAddress("2001:db8::1")), "2001:db8::1");
}

}  // namespace
}  // namespace sluice::testing
