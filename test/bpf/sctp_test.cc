// SPDX-License-Identifier: Apache-2.0
// The life of an SCTP association, for every kind of flow: what INIT, COOKIE ECHO, DATA, SHUTDOWN
// and ABORT come to, and that the CRC32c is right whatever is behind the ports.
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/flow_case.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class SctpFlowTest : public FlowTest {
 protected:
  static constexpr std::uint8_t kRowsOfAFlow = 2;

  std::uint8_t FlagsOfBothRows() {
    const auto forward = FlowRow(ForwardKey());
    const auto reply = FlowRow(ReplyKey());
    EXPECT_TRUE(forward && reply);
    if (!forward || !reply) return 0;
    EXPECT_EQ(forward->flags & ~abi::SL_FLOW_FORWARD, reply->flags);
    return reply->flags & (abi::SL_FLOW_CLOSED | abi::SL_FLOW_RESET);
  }

  static std::uint32_t ChecksumOf(const Packet& packet) {
    const Bytes frame = Build(packet);
    const std::size_t at = Find<Ipv6>(packet) ? 14 + 40 + 8 : 14 + 20 + 8;
    std::uint32_t checksum = 0;
    for (unsigned i = 0; i < 4; ++i) checksum |= std::uint32_t{frame[at + i]} << 8 * i;
    return checksum;
  }

  // Both directions of the established flow with `change` made to every packet before and after.
  template <typename Change>
  void BothWays(Change change) {
    for (const bool forward : {true, false}) {
      SCOPED_TRACE(forward ? "forward" : "reply");
      Packet in = forward ? ForwardPacket() : ReplyPacket();
      Packet out = forward ? MakePacket(flavor(), seen_client(), backend())
                           : MakePacket(flavor(), service(), client());
      if (kind().snat) out = Hop(std::move(out));
      change(in);
      change(out);
      EXPECT_TRUE(Becomes(forward ? kind().translates : kind().reply_translates, in,
                          forward ? kind().verdict : kind().reply_verdict, out));
    }
  }
};

std::vector<FlowCase> Cases() {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : SctpFlavors()) cases.push_back({kind, flavor});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Flows, SctpFlowTest, ::testing::ValuesIn(Cases()), FlowCaseName);

Shape CookieEcho(std::uint32_t tag = 7001) {
  return {.acknowledgment = tag, .chunk = kSctpCookieEcho};
}

TEST_P(SctpFlowTest, IsEstablishedByTheCookieThatBearsTheBackendsTag) {
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(OpeningCount(), kind().snat ? 2u : 1u);
  ASSERT_TRUE(Reply(SynAck()));
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Forward(CookieEcho()));
  EXPECT_EQ(FlowCount(), kRowsOfAFlow);
  EXPECT_EQ(OpeningCount(), 0u);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Reply());
    ASSERT_TRUE(Forward());
  }
  EXPECT_EQ(FlowCount(), kRowsOfAFlow);
  EXPECT_EQ(FlagsOfBothRows(), 0);
  EXPECT_EQ(AllDrops(), 0u);
  const abi::service_stats stats = ServiceStats(kServiceId);
  EXPECT_EQ(stats.opened, 1u);
  EXPECT_EQ(stats.packets_in, 5u);
  EXPECT_EQ(stats.packets_out, 4u);
}

// Whoever has not seen the INIT ACK gets no row, not even with a tag next to the right one.
TEST_P(SctpFlowTest, IsNotEstablishedByACookieWithAnotherTag) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  for (const std::uint32_t tag : {0u, 1u, 7000u, 7002u, 7001u + 65535u, 0xffffffffu}) {
    ASSERT_TRUE(Forward(CookieEcho(tag)));
    EXPECT_EQ(FlowCount(), 0u) << tag;
  }
  ASSERT_TRUE(Forward(CookieEcho()));
  EXPECT_EQ(FlowCount(), kRowsOfAFlow);
}

// An INIT that is sent again gets another INIT ACK, with another tag; the client takes the first
// and lets the second fall (RFC 9260 5.2.3). The backend's answer to the cookie proves as much.
TEST_P(SctpFlowTest, IsEstablishedByTheCookieOfAnEarlierInitAck) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply({.sequence = 9000, .chunk = kSctpInitAck}));
  ASSERT_TRUE(Forward(CookieEcho(7001)));
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Reply({.chunk = kSctpCookieAck}));
  ASSERT_TRUE(Reply());
  ASSERT_TRUE(Forward(CookieEcho(7001)));
  EXPECT_EQ(FlowCount(), kRowsOfAFlow);
  EXPECT_EQ(OpeningCount(), 0u);
  EXPECT_EQ(AllDrops(), 0u);
}

// What a host says to whoever has no association (RFC 9260 8.4) is no proof of one, though it comes
// from the backend: it answers what anybody can send in another's name.
TEST_P(SctpFlowTest, IsNotEstablishedByWhatABackendSaysToStrangers) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  for (const SctpChunkType type : {kSctpShutdownComplete, kSctpError, kSctpData}) {
    ASSERT_TRUE(Forward({.acknowledgment = 1, .chunk = kSctpShutdownAck}));
    ASSERT_TRUE(Reply({.chunk = type}));
    ASSERT_TRUE(Forward(CookieEcho(1)));
    EXPECT_EQ(FlowCount(), 0u) << int{type};
  }
  ASSERT_TRUE(Forward(CookieEcho()));
  EXPECT_EQ(FlowCount(), kRowsOfAFlow) << "the tag that was asked for still counts";
}

// What the backend says before its INIT ACK is about another association.
TEST_P(SctpFlowTest, AnAnswerToNoInitProvesNothing) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply({.chunk = kSctpCookieAck}));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward(CookieEcho(1)));
  EXPECT_EQ(FlowCount(), 0u);
}

// A packet before the INIT ACK establishes nothing.
TEST_P(SctpFlowTest, IsNotEstablishedUnanswered) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Forward(CookieEcho()));
  EXPECT_EQ(FlowCount(), 0u);
}

TEST_P(SctpFlowTest, MendsTheCrcOfEveryLength) {
  Establish();
  for (std::size_t size : {16,  17,  18,  19,  20,  31,   63,   64,   65,   127,  129,
                           255, 257, 511, 513, 700, 1023, 1025, 1200, 1201, 1399, 1400}) {
    SCOPED_TRACE(size);
    std::string payload;
    for (std::size_t i = 0; i < size; ++i) payload.push_back(static_cast<char>(i * 7 + size));
    BothWays([&](Packet& packet) {
      std::get<Sctp>(packet.back()).chunks.clear();
      packet.push_back(Payload{payload});
    });
  }
}

TEST_P(SctpFlowTest, MendsTheCrcOfAFirstInitWithParameters) {
  for (std::size_t size : {1, 2, 3, 4, 16, 333, 1300}) {
    SCOPED_TRACE(size);
    SetUp();
    Packet in = ForwardPacket(Syn());
    std::get<Sctp>(in.back()).chunks.front().value += std::string(size, 'p');
    const RunResult result = Run(kind().translates, in);
    const absl::StatusOr<Packet> parsed = Parse(result.frame);
    ASSERT_THAT(parsed, IsOk());
    EXPECT_EQ(result.verdict, kind().verdict);
    EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
    EXPECT_EQ(DestinationOf(*parsed), backend().address);
    EXPECT_EQ(PortsOf(*parsed).destination, kBackendPort);
    EXPECT_EQ(Find<Sctp>(*parsed)->chunks.front().value,
              std::get<Sctp>(in.back()).chunks.front().value);
  }
}

// The padding of a short frame is no part of the packet that the CRC is of.
TEST_P(SctpFlowTest, TakesThePacketsLengthNotTheFrames) {
  Establish();
  BothWays([](Packet& packet) {
    std::get<Sctp>(packet.back()).chunks = {{.type = 4}};
    packet.push_back(Trailer{std::string("\0\1\0\0\0\2", 6)});
  });
}

// A socket of this machine leaves the CRC to the device, and the field 0.
TEST_P(SctpFlowTest, LeavesACrcToTheDeviceThatIsToFillItIn) {
  Establish();
  BothWays([](Packet& packet) { std::get<Sctp>(packet.back()).no_checksum = true; });
}

// A CRC that is wrong stays wrong: the datapath must not vouch for what was damaged on the way.
TEST_P(SctpFlowTest, AWrongCrcStaysWrong) {
  Establish();
  Packet in = ForwardPacket();
  std::get<Sctp>(in.back()).checksum = 0x12345678;
  const RunResult result = Run(kind().translates, in);
  EXPECT_EQ(result.verdict, kind().verdict);
  EXPECT_THAT(VerifyChecksums(result.frame), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_P(SctpFlowTest, IsClosedByShutdownsOfBothEnds) {
  for (const bool by_client : {true, false}) {
    SCOPED_TRACE(by_client ? "by the client" : "by the backend");
    Begin(true);
    const Shape shutdown{.chunk = kSctpShutdown};
    const Shape answer{.chunk = kSctpShutdownAck};
    const Shape complete{.chunk = kSctpShutdownComplete};
    ASSERT_TRUE(by_client ? Forward(shutdown) : Reply(shutdown));
    EXPECT_EQ(FlagsOfBothRows(), by_client ? abi::SL_FLOW_FIN_CLIENT : abi::SL_FLOW_FIN_BACKEND);
    ASSERT_TRUE(by_client ? Reply(answer) : Forward(answer));
    EXPECT_EQ(FlagsOfBothRows(), abi::SL_FLOW_CLOSED);
    ASSERT_TRUE(by_client ? Forward(complete) : Reply(complete));
    EXPECT_EQ(FlagsOfBothRows(), abi::SL_FLOW_CLOSED);
    EXPECT_EQ(AllDrops(), 0u);
  }
}

TEST_P(SctpFlowTest, IsResetByAnAbortUntilAnotherPacketFollows) {
  for (const bool by_client : {true, false}) {
    Begin(true);
    const Shape abort{.chunk = kSctpAbort};
    ASSERT_TRUE(by_client ? Forward(abort) : Reply(abort));
    EXPECT_EQ(FlagsOfBothRows(), abi::SL_FLOW_RESET);
    ASSERT_TRUE(by_client ? Reply() : Forward());
    EXPECT_EQ(FlagsOfBothRows(), 0) << "the ABORT may have been forged";
  }
}

TEST_P(SctpFlowTest, AnInitOnAClosedFlowOpensAnother) {
  Establish();
  ASSERT_TRUE(Forward({.chunk = kSctpShutdown}));
  ASSERT_TRUE(Reply({.chunk = kSctpShutdownAck}));
  const std::uint32_t other = MoveServiceTo(addresses().remote2, 4242);
  const RunResult result = Run(kind().translates, ForwardPacket(Syn()));
  const absl::StatusOr<Packet> parsed = Parse(result.frame);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(DestinationOf(*parsed), addresses().remote2);
  EXPECT_EQ(BackendStats(other).opened, 1u);
  EXPECT_EQ(FlowCount(), 0u);
}

TEST_P(SctpFlowTest, ABackendThatIsGoneIsAnAbort) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    ReplaceBackend();
    const Packet in = ForwardPacket();
    const RunResult result = Run(kind().translates, in);
    EXPECT_EQ(result.verdict, kRedirect);
    const absl::StatusOr<Packet> answer = Parse(result.frame);
    ASSERT_THAT(answer, IsOk());
    EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
    EXPECT_EQ(SourceOf(*answer), service().address);
    EXPECT_EQ(DestinationOf(*answer), client().address);
    const auto* abort = Find<Sctp>(*answer);
    ASSERT_NE(abort, nullptr);
    EXPECT_EQ(abort->source_port, service().port);
    EXPECT_EQ(abort->destination_port, client().port);
    EXPECT_EQ(abort->tag, 7001u);
    ASSERT_EQ(abort->chunks.size(), 1u);
    EXPECT_EQ(abort->chunks.front().type, kSctpAbort);
    EXPECT_EQ(abort->chunks.front().flags, 1) << "the T bit";
    EXPECT_EQ(Drops(abi::SL_REASON_BACKEND_GONE, kServiceId), 1u);
    EXPECT_EQ(FlowCount() + OpeningCount(), 0u);
  }
}

TEST_P(SctpFlowTest, AnInitWithoutAnAnswerGoesToAnotherBackend) {
  ASSERT_TRUE(Forward(Syn()));
  const std::uint32_t other =
      AddBackend({.address = addresses().remote2, .port = 4242, .protocol = flavor().protocol});
  ServiceSpec both = Service();
  both.backends = {backend_id_, other};
  SetService(both);
  const RunResult result = Run(kind().translates, ForwardPacket(Syn()));
  const absl::StatusOr<Packet> parsed = Parse(result.frame);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
  EXPECT_EQ(DestinationOf(*parsed), addresses().remote2);
  EXPECT_EQ(ServiceStats(kServiceId).failed, 1u);
  EXPECT_EQ(BackendStats(backend_id_).failed, 1u);
}

// An answered one stays: its INIT ACK may have been lost.
TEST_P(SctpFlowTest, AnInitAfterAnAnswerStaysWithItsBackend) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  MoveServiceTo(addresses().remote2, 4242);
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(ServiceStats(kServiceId).failed, 0u);
}

// The CRC of a fragmented packet depends on fragments that have not come yet.
TEST_P(SctpFlowTest, TheFirstFragmentIsDroppedIfAPortWouldChange) {
  Establish();
  const Shape large{.payload = std::string(200, 'f')};
  const std::vector<Bytes> pieces = Fragments(ForwardPacket(large), 64, 77);
  EXPECT_EQ(Run(kind().translates, pieces.front()).verdict, kDrop);
  EXPECT_EQ(Drops(abi::SL_REASON_REWRITE_FAILED, kServiceId), 1u);
}

TEST_P(SctpFlowTest, FragmentsAreForwardedIfThePortStays) {
  if (kind().snat) return;  // the client's port changes as well
  ServiceSpec same = Service();
  same.port = kBackendPort;
  SetService(same);
  const End at{service().address, kBackendPort};
  const Shape large{.payload = std::string(200, 'f')};
  ASSERT_TRUE(Becomes(kind().translates, MakePacket(flavor(), client(), at, Syn()), kNext,
                      MakePacket(flavor(), client(), backend(), Syn())));
  const auto in = Fragments(MakePacket(flavor(), client(), at, large), 64, 77);
  const auto out = Fragments(MakePacket(flavor(), client(), backend(), large), 64, 77);
  ASSERT_EQ(in.size(), out.size());
  ASSERT_GT(in.size(), 2u);
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_TRUE(Becomes(kind().translates, in[i], kNext, out[i])) << i;
  }
  EXPECT_EQ(AllDrops(), 0u);
}

// The error as its receiver must get it: about the packet as it was sent, but for the CRC, which
// cannot be mended in a quote.
TEST_P(SctpFlowTest, ErrorsReachWhoeverSentThePacket) {
  for (const bool established : {false, true}) {
    for (const bool whole : {false, true}) {
      Begin(established);
      const auto quoted = [&](const Packet& packet) {
        const Bytes bytes = Build(packet);
        const std::size_t size = whole ? bytes.size() - 14 : (flavor().v6 ? 40u : 20u) + 8u;
        return Payload{std::string(bytes.begin() + 14,
                                   bytes.begin() + 14 + static_cast<std::ptrdiff_t>(size))};
      };
      const auto error = [&](const std::string& from, const std::string& to, const Packet& about) {
        if (flavor().v6) {
          return Ethernet() / Ipv6{.source = from, .destination = to} /
                 Icmp{.type = 2, .rest = 1400} / quoted(about);
        }
        return Ethernet() / Ipv4{.source = from, .destination = to, .id = 9} /
               Icmp{.type = 3, .code = 4, .rest = 1400} / quoted(about);
      };
      const auto check = [&](const Hook& hook, int verdict, const Packet& in, Packet out) {
        if (kind().snat) out = Hop(std::move(out));
        EXPECT_TRUE(Becomes(hook, in, verdict, out)) << established << whole;
      };
      const Packet seen = MakePacket(flavor(), seen_client(), backend());
      Packet asked = ForwardPacket();
      // The quote's CRC is the one that the packet had when the error was made.
      std::get<Sctp>(asked.back()).checksum = ChecksumOf(seen);
      check(kind().reply_translates, kind().reply_verdict,
            error(backend().address, seen_client().address, seen),
            error(service().address, client().address, asked));
      const Packet answer = MakePacket(flavor(), service(), client());
      Packet sent = ReplyPacket();
      std::get<Sctp>(sent.back()).checksum = ChecksumOf(answer);
      check(kind().translates, kind().verdict, error(client().address, service().address, answer),
            error(seen_client().address, backend().address, sent));
      EXPECT_EQ(AllDrops(), 0u);
    }
  }
}

}  // namespace
}  // namespace sluice::testing
