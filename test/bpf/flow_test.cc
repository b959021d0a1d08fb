// SPDX-License-Identifier: Apache-2.0
// The life of a flow, for every kind of flow, family and protocol, with both directions as packets
// that go from hook to hook.
#include <arpa/inet.h>

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/flow_case.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint16_t kOtherPort = 4242;

class TcpFlowTest : public FlowTest {};
class UdpFlowTest : public FlowTest {};
class UdpV4FlowTest : public FlowTest {};

std::vector<FlowCase> CasesOf(std::vector<Flavor> flavors) {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : flavors) cases.push_back({kind, flavor});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Flows, FlowTest, ::testing::ValuesIn(CasesOf(AllFlavors())), FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, TcpFlowTest,
                         ::testing::ValuesIn(CasesOf({{false, kTcp}, {true, kTcp}})), FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, UdpFlowTest,
                         ::testing::ValuesIn(CasesOf({{false, kUdp}, {true, kUdp}})), FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, UdpV4FlowTest, ::testing::ValuesIn(CasesOf({{false, kUdp}})),
                         FlowCaseName);

// As if the row had last been touched so many ticks ago. The beat is not of the same length, but
// what was is not what is.
void Age(abi::flow_entry& entry, std::uint32_t ticks) {
  entry.last_seen -= ticks;
  entry.beat = static_cast<std::uint16_t>(entry.beat - ticks);
}

std::uint64_t Size(const Packet& packet) { return Build(packet).size(); }

TEST_P(FlowTest, OpensAndIsEstablishedByTheClientsNextPacketAfterAnAnswer) {
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(OpeningCount(), kind().snat ? 2u : 1u);
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Reply(SynAck()));
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Forward());
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(OpeningCount(), 0u);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Reply());
    ASSERT_TRUE(Forward());
  }
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(AllDrops(), 0u);
}

TEST_P(FlowTest, CountsPacketsAndBytesEachWay) {
  Establish();
  ASSERT_TRUE(Reply());
  const abi::service_stats stats = ServiceStats(kServiceId);
  EXPECT_EQ(stats.opened, 1u);
  EXPECT_EQ(stats.packets_in, 2u);
  EXPECT_EQ(stats.bytes_in, Size(ForwardPacket(Syn())) + Size(ForwardPacket()));
  EXPECT_EQ(stats.packets_out, 2u);
  EXPECT_EQ(stats.bytes_out, Size(ReplyPacket(SynAck())) + Size(ReplyPacket()));
  EXPECT_EQ(stats.rejected + stats.dropped + stats.failed, 0u);
  EXPECT_EQ(BackendStats(backend_id_).opened, 1u);
  EXPECT_EQ(BackendStats(backend_id_).failed, 0u);
}

TEST_P(FlowTest, CountsTheSegmentsThatALargePacketStandsFor) {
  Establish();
  RunContext large;
  large.gso_segs = 3;
  large.gso_size = 1000;
  const std::uint64_t before = ServiceStats(kServiceId).packets_in;
  Run(kind().translates, Build(ForwardPacket({.payload = std::string(2500, 'g')})), large);
  EXPECT_EQ(ServiceStats(kServiceId).packets_in, before + 3);
}

TEST_P(FlowTest, EachRowHoldsWhatRebuildsTheOther) {
  Establish();
  const auto forward = FlowRow(ForwardKey());
  const auto reply = FlowRow(ReplyKey());
  ASSERT_TRUE(forward && reply);
  EXPECT_EQ(AddressText(forward->new_source), seen_client().address);
  EXPECT_EQ(ntohs(forward->new_source_port), seen_client().port);
  EXPECT_EQ(AddressText(forward->new_destination), backend().address);
  EXPECT_EQ(ntohs(forward->new_destination_port), backend().port);
  EXPECT_EQ(AddressText(reply->new_source), service().address);
  EXPECT_EQ(ntohs(reply->new_source_port), service().port);
  EXPECT_EQ(AddressText(reply->new_destination), client().address);
  EXPECT_EQ(ntohs(reply->new_destination_port), client().port);
  const std::uint8_t snat = kind().snat ? abi::SL_FLOW_SNAT : 0;
  EXPECT_EQ(forward->flags, abi::SL_FLOW_FORWARD | abi::SL_FLOW_ANSWERED | snat);
  EXPECT_EQ(reply->flags, abi::SL_FLOW_ANSWERED | snat);
  for (const abi::flow_entry& row : {*forward, *reply}) {
    EXPECT_EQ(row.service_id, kServiceId);
    EXPECT_EQ(row.backend_id, backend_id_);
    EXPECT_EQ(row.backend_generation, 1u);
  }
}

TEST_P(FlowTest, PutsItsPartnerRowBack) {
  Establish();
  const auto age = [this] { ChangeFlows([](auto&, auto& entry) { Age(entry, 2); }); };
  for (const abi::flow& lost : {ReplyKey(), ForwardKey()}) {
    const auto before = FlowRow(lost);
    ASSERT_TRUE(before);
    age();
    ASSERT_THAT(tables().flows.Delete(std::span(&lost, 1)).status, IsOk());
    const bool lost_reply = AddressText(lost.source) == backend().address &&
                            AddressText(lost.destination) == seen_client().address;
    ASSERT_TRUE(lost_reply ? Forward() : Reply());
    const auto after = FlowRow(lost);
    ASSERT_TRUE(after);
    EXPECT_EQ(AddressText(after->new_source), AddressText(before->new_source));
    EXPECT_EQ(AddressText(after->new_destination), AddressText(before->new_destination));
    EXPECT_EQ(after->new_source_port, before->new_source_port);
    EXPECT_EQ(after->new_destination_port, before->new_destination_port);
    EXPECT_EQ(after->flags, before->flags);
    EXPECT_EQ(after->service_id, before->service_id);
    EXPECT_EQ(after->backend_id, before->backend_id);
    EXPECT_EQ(after->backend_generation, before->backend_generation);
  }
  ASSERT_TRUE(Forward());
  ASSERT_TRUE(Reply());
  EXPECT_EQ(FlowCount(), 2u);
}

TEST_P(FlowTest, StampsTheTimeItWasSeen) {
  Establish();
  ChangeFlows([](auto&, auto& entry) { Age(entry, 50); });
  const std::uint32_t old = FlowRow(ForwardKey())->last_seen;
  ASSERT_TRUE(Forward());
  ASSERT_TRUE(Reply());
  EXPECT_GE(FlowRow(ForwardKey())->last_seen, old + 50);
  EXPECT_GE(FlowRow(ReplyKey())->last_seen, old + 50);
}

// Replies come to the address that the flow was opened with.
TEST_P(FlowTest, SurvivesTheNodesChangeToAnotherAddress) {
  Establish();
  abi::node_config config = DefaultConfig();
  SetNodeAddresses(config, "192.0.2.77", "2001:db8:77::1");
  config.snat_port_min = 1;
  config.snat_port_max = 2;
  SetConfig(config);
  EXPECT_TRUE(Forward());
  EXPECT_TRUE(Reply());
}

TEST_P(FlowTest, StaysWithItsBackendWhenTheServiceGetsOthers) {
  Establish();
  MoveServiceTo(addresses().remote2, kBackendPort);
  ChangeFlows([](auto&, auto& entry) { Age(entry, 2); });
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Forward());
    EXPECT_TRUE(Reply());
  }
  EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);
}

TEST_P(TcpFlowTest, SurvivesItsServiceBeingDeleted) {
  Establish();
  ASSERT_THAT(writer().DeleteService(Service()), IsOk());
  ChangeFlows([](auto&, auto& entry) { Age(entry, 2); });
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Forward());
    EXPECT_TRUE(Reply());
  }
}

// semantics.md, "Change": UDP state of a deleted Service goes with it. About a second may pass.
TEST_P(UdpFlowTest, EndsWithItsFrontend) {
  Establish();
  ASSERT_THAT(writer().DeleteService(Service()), IsOk());
  ChangeFlows([](auto&, auto& entry) { Age(entry, 2); });
  Run(kind().translates, ForwardPacket());
  const RunResult result = Run(kind().translates, ForwardPacket());
  const absl::StatusOr<Packet> parsed = Parse(result.frame);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(Find<Udp>(*parsed)->destination_port, service().port) << "still translated";
  EXPECT_EQ(FlowCount(), 0u);
}

TEST_P(TcpFlowTest, ASegmentAfterAResetShowsThatItWasNotBelieved) {
  for (const bool from_client : {true, false}) {
    SCOPED_TRACE(from_client ? "client" : "backend");
    Begin(true);
    ASSERT_TRUE(from_client ? Forward({.flags = "R"}) : Reply({.flags = "R"}));
    ASSERT_TRUE(from_client ? Reply() : Forward());
    for (const abi::flow& key : {ForwardKey(), ReplyKey()}) {
      EXPECT_EQ(FlowRow(key)->flags & abi::SL_FLOW_RESET, 0);
    }
  }
}

// A flood of made-up SYNs and ACKs must not fill sl_flows.
TEST_P(TcpFlowTest, OnlyTheAcknowledgmentOfTheAnswerEstablishes) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Forward({.acknowledgment = 7001})) << "before any answer";
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward({.acknowledgment = 7001u + 0x80000000u}));
  EXPECT_EQ(FlowCount(), 0u);
  ASSERT_TRUE(Forward({.acknowledgment = 7001}));
  EXPECT_EQ(FlowCount(), 2u);
}

// A request so short that its last segment is the first acknowledgment.
TEST_P(TcpFlowTest, AFinOnTheSegmentThatEstablishesIsNoted) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward({.flags = "FA", .acknowledgment = 7001}));
  for (const abi::flow& key : {ForwardKey(), ReplyKey()}) {
    EXPECT_EQ(FlowRow(key)->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_FIN_CLIENT);
  }
}

// Two CPUs may promote one flow: whoever comes second finds a row of the first.
TEST_P(TcpFlowTest, APromotionThatFindsItsReplyRowThereGoesOn) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  const auto opening = tables().opening.Dump();
  ASSERT_TRUE(opening.ok()) << opening.status();
  ASSERT_TRUE(Forward({.acknowledgment = 7001}));
  ASSERT_EQ(FlowCount(), 2u);
  const abi::flow forward = ForwardKey();
  ASSERT_THAT(tables().flows.Delete(std::span(&forward, 1)).status, IsOk());
  ASSERT_THAT(tables().opening.Update(*opening).status, IsOk());
  ASSERT_TRUE(Forward({.acknowledgment = 7001}));
  EXPECT_TRUE(FlowRow(ForwardKey()));
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(OpeningCount(), 0u);
  EXPECT_EQ(Drops(abi::SL_REASON_FLOWS_FULL, kServiceId), 0u);
}

TEST_P(TcpFlowTest, APromotionLeavesAloneARowThatIsAnotherFlows) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  const auto opening = tables().opening.Dump();
  ASSERT_TRUE(opening.ok()) << opening.status();
  ASSERT_TRUE(Forward({.acknowledgment = 7001}));
  const abi::flow reply = ReplyKey(), forward = ForwardKey();
  abi::flow_entry others = *FlowRow(reply);
  others.new_source_port = htons(1);
  const std::pair<abi::flow, abi::flow_entry> row(reply, others);
  ASSERT_THAT(tables().flows.Delete(std::span(&forward, 1)).status, IsOk());
  ASSERT_THAT(tables().flows.Update(std::span(&row, 1)).status, IsOk());
  ASSERT_THAT(tables().opening.Update(*opening).status, IsOk());
  ASSERT_TRUE(Forward({.acknowledgment = 7001})) << "still translated, from where it is opened";
  EXPECT_FALSE(FlowRow(forward));
  EXPECT_EQ(FlowRow(reply)->new_source_port, htons(1));
  EXPECT_EQ(Drops(abi::SL_REASON_FLOWS_FULL, kServiceId), 0u) << "there was room";
}

TEST_P(TcpFlowTest, FinsAreNotedOnBothRowsAndASynStartsAnew) {
  Establish();
  ASSERT_TRUE(Forward({.flags = "FA"}));
  for (const abi::flow& key : {ForwardKey(), ReplyKey()}) {
    EXPECT_EQ(FlowRow(key)->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_FIN_CLIENT);
  }
  ASSERT_TRUE(Reply({.flags = "FA"}));
  for (const abi::flow& key : {ForwardKey(), ReplyKey()}) {
    EXPECT_EQ(FlowRow(key)->flags & abi::SL_FLOW_CLOSED, abi::SL_FLOW_CLOSED);
    EXPECT_EQ(FlowRow(key)->flags & abi::SL_FLOW_RESET, 0);
  }
  ASSERT_TRUE(Forward());  // the last acknowledgment still passes
  snat_port_ = 0;          // the next flow may have another
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(ServiceStats(kServiceId).opened, 2u);
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  EXPECT_EQ(FlowRow(ForwardKey())->flags & abi::SL_FLOW_CLOSED, 0);
  ASSERT_TRUE(Reply());
  EXPECT_EQ(FlowCount(), 2u);
}

TEST_P(TcpFlowTest, AResetFromEitherSideMarksBothRows) {
  for (const bool from_client : {true, false}) {
    SCOPED_TRACE(from_client ? "client" : "backend");
    SetUp();
    snat_port_ = 0;
    Establish();
    ASSERT_TRUE(from_client ? Forward({.flags = "RA"}) : Reply({.flags = "RA"}));
    for (const abi::flow& key : {ForwardKey(), ReplyKey()}) {
      EXPECT_NE(FlowRow(key)->flags & abi::SL_FLOW_RESET, 0);
    }
    snat_port_ = 0;
    ASSERT_TRUE(Forward(Syn()));
    EXPECT_EQ(ServiceStats(kServiceId).opened, 2u);
  }
}

TEST_P(TcpFlowTest, ASynOnALiveFlowStaysInIt) {
  Establish();
  ASSERT_TRUE(Forward(Syn()));  // a duplicate from the network, or a challenge (RFC 5961 4.2)
  EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);
  EXPECT_EQ(FlowCount(), 2u);
}

// The RST may be made up, so the flow stays where it is being opened; but a client that tries again
// is a new connection, and no backend failed to answer.
TEST_P(TcpFlowTest, ARefusedConnectionIsNotEstablishedAndMayBeTriedAgain) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply({.flags = "RA", .sequence = 0, .acknowledgment = 1001, .payload = ""}));
  EXPECT_EQ(FlowCount(), 0u);
  snat_port_ = 0;
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(ServiceStats(kServiceId).opened, 2u);
  EXPECT_EQ(ServiceStats(kServiceId).failed, 0u);
}

TEST_P(TcpFlowTest, ASynSentAgainAfterTheAnswerKeepsItsBackend) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  MoveServiceTo(addresses().remote2, kBackendPort);
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  EXPECT_EQ(ServiceStats(kServiceId).failed, 0u);
  EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);
}

class FullTableTest : public FlowTest {
 protected:
  // Returns how many rows it took.
  std::uint32_t Fill() {
    for (std::uint32_t filled = 0; filled < 100'000; ++filled) {
      const std::pair<abi::flow, abi::flow_entry> row(Filler(static_cast<std::uint16_t>(filled)),
                                                      abi::flow_entry{});
      if (!tables().flows.Update(std::span(&row, 1)).status.ok()) return filled;
    }
    ADD_FAILURE() << "the table takes whatever comes";
    return 0;
  }
  void MakeRoom() {
    std::vector<abi::flow> some;
    for (std::uint16_t port = 0; port < 64; ++port) some.push_back(Filler(port));
    ASSERT_THAT(tables().flows.Delete(some).status, IsOk());
  }

 private:
  static abi::flow Filler(std::uint16_t port) {
    return FlowKey("203.0.113.9", port, "203.0.113.8", 1, 6);
  }
};
INSTANTIATE_TEST_SUITE_P(Flows, FullTableTest, ::testing::ValuesIn(CasesOf(AllFlavors())),
                         FlowCaseName);

// Until there is room flows stay where they are being opened, and work.
TEST_P(FullTableTest, FlowsWorkAndGetTheirRowsWhenThereIsRoom) {
  const std::uint32_t filled = Fill();
  ASSERT_GE(filled, 1024u);
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Forward());
    ASSERT_TRUE(Reply());
  }
  EXPECT_EQ(FlowCount(), filled);
  EXPECT_EQ(OpeningCount(), kind().snat ? 2u : 1u);
  EXPECT_EQ(Drops(abi::SL_REASON_FLOWS_FULL, kServiceId), 3u);
  EXPECT_EQ(ServiceStats(kServiceId).dropped, 0u);
  EXPECT_EQ(ServiceStats(kServiceId).opened, 1u);

  MakeRoom();
  ASSERT_TRUE(Forward());
  EXPECT_TRUE(FlowRow(ForwardKey()) && FlowRow(ReplyKey()));
  EXPECT_EQ(OpeningCount(), 0u);
  ASSERT_TRUE(Reply());
}

// Who has completed the handshake need not do so again: its numbers have gone on since.
TEST_P(FullTableTest, ALongDownloadGetsItsRowsToo) {
  ASSERT_GE(Fill(), 1024u);
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  Shape later;
  later.acknowledgment += 200'000;
  ASSERT_TRUE(Forward(later));
  EXPECT_FALSE(FlowRow(ForwardKey()));
  MakeRoom();
  ASSERT_TRUE(Forward(later));
  EXPECT_TRUE(FlowRow(ForwardKey()) && FlowRow(ReplyKey()));
  EXPECT_EQ(FlowRow(ForwardKey())->flags & abi::SL_FLOW_CONFIRMED, 0);
  EXPECT_EQ(OpeningCount(), 0u);
}

// Each twice: while the flow is being opened, and established.

TEST_P(TcpFlowTest, IsResetWhenItsBackendIsGone) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    ReplaceBackend();
    const Shape data{.flags = "PA", .sequence = 5000, .acknowledgment = 8000};
    EXPECT_TRUE(Becomes(kind().translates, ForwardPacket(data), kRedirect,
                        ResetPacket(service(), client(), {.flags = "R", .sequence = 8000})));
    EXPECT_EQ(Drops(abi::SL_REASON_BACKEND_GONE, kServiceId), 1u);
    EXPECT_EQ(ServiceStats(kServiceId).rejected, 1u);
    EXPECT_EQ(FlowCount(), 0u);
    EXPECT_EQ(OpeningCount(), 0u);
  }
}

// Gone, and its id not yet given to another.
TEST_P(TcpFlowTest, IsResetWhenItsBackendHasLeft) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    SetBackendFlags(0);
    EXPECT_TRUE(Becomes(
        kind().translates, ForwardPacket(), kRedirect,
        ResetPacket(service(), client(), {.flags = "R", .sequence = Shape().acknowledgment})));
    EXPECT_EQ(Drops(abi::SL_REASON_BACKEND_GONE, kServiceId), 1u);
  }
}

TEST_P(UdpFlowTest, IsChosenAnewWhenItsBackendIsGone) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    ExpectMovedTo(ReplaceBackend());
  }
}

TEST_P(TcpFlowTest, GoesOnWithATerminatingBackend) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    SetBackendFlags(abi::SL_BACKEND_PRESENT);
    EXPECT_TRUE(Forward());
    EXPECT_TRUE(Reply());
    EXPECT_EQ(AllDrops(), 0u);
  }
}

TEST_P(UdpFlowTest, LeavesATerminatingBackend) {
  for (const bool established : {false, true}) {
    SCOPED_TRACE(established ? "established" : "being opened");
    Begin(established);
    SetBackendFlags(abi::SL_BACKEND_PRESENT);
    ExpectMovedTo(MoveServiceTo(addresses().remote, kOtherPort));
  }
}

TEST_P(UdpV4FlowTest, KeepsAUdpChecksumThatIsNotThere) {
  Establish();
  Packet in = ForwardPacket();
  Packet back = ReplyPacket();
  for (Packet* packet : {&in, &back}) std::get<Udp>((*packet)[2]).no_checksum = true;
  Packet out = MakePacket(flavor(), seen_client(), backend());
  Packet out_back = MakePacket(flavor(), service(), client());
  for (Packet* packet : {&out, &out_back}) {
    std::get<Udp>((*packet)[2]).no_checksum = true;
    if (kind().snat) *packet = Hop(*packet);
  }
  EXPECT_TRUE(Becomes(kind().translates, in, kind().verdict, out));
  EXPECT_TRUE(Becomes(kind().reply_translates, back, kind().reply_verdict, out_back));
}

}  // namespace
}  // namespace sluice::testing
