// SPDX-License-Identifier: Apache-2.0
#include "control/gc/conntrack_sweep.h"

#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "control/model/ip_address.h"
#include "test/support/fake_clock.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::uint32_t kNow = 100'000;  // ticks
constexpr std::uint32_t kService = 7;
constexpr std::uint32_t kBackend = 3;
constexpr std::uint32_t kGeneration = 2;

using FlowTable = FakeTable<abi::flow, abi::flow_entry>;

// Gives the rows of a fake table in pieces, as they are when their turn comes: like the kernel, it
// passes over rows that have been deleted meanwhile.
class FakeFlowCursor final : public FlowCursor {
 public:
  FakeFlowCursor(const FlowTable& table, std::size_t piece) : table_(table), piece_(piece) {}
  void Rewind() override { last_.reset(); }
  absl::StatusOr<std::vector<FlowRow>> Next() override {
    auto row = last_.has_value() ? table_.rows().upper_bound(*last_) : table_.rows().begin();
    std::vector<FlowRow> next;
    for (; row != table_.rows().end() && next.size() < piece_; ++row) {
      next.emplace_back(row->first, row->second);
      last_ = row->first;
    }
    return next;
  }

 private:
  const FlowTable& table_;
  const std::size_t piece_;
  std::optional<abi::flow> last_;
};

abi::addr Addr(const char* text) { return IpAddress::Parse(text).value().ToAbi(); }

class ConntrackSweepTest : public ::testing::Test {
 protected:
  ConntrackSweepTest() {
    constexpr std::int64_t kNowNs = std::int64_t{kNow} << abi::SL_TICK_SHIFT;
    clock_.Advance(absl::Nanoseconds(kNowNs - static_cast<std::int64_t>(clock_.MonotonicNs())));
    abi::backend backend{};
    backend.flags = abi::SL_BACKEND_PRESENT;
    backend.generation = kGeneration;
    backends_.rows()[kBackend] = backend;
    abi::service_name name{};
    name.name[0] = 'w';
    names_.rows()[kService] = name;
    sweep_ = std::make_unique<ConntrackSweep>(std::make_unique<FakeFlowCursor>(flows_, 3),
                                              ConntrackSweep::Tables{flows_, backends_, names_},
                                              clock_, SweepTimeouts{});
  }

  // The two rows of a flow from a pod to 10.96.0.10:80, by its client port.
  struct Pair {
    FlowRow forward;
    FlowRow reply;
  };
  static Pair MakePair(std::uint16_t client_port, std::uint32_t protocol) {
    Pair pair;
    auto& [key, entry] = pair.forward;
    key.source = Addr("10.244.1.5");
    key.source_port = client_port;
    key.destination = Addr("10.96.0.10");
    key.destination_port = 80;
    key.protocol = protocol;
    entry.new_source = key.source;
    entry.new_source_port = client_port;
    entry.new_destination = Addr("10.244.1.9");
    entry.new_destination_port = 8080;
    entry.service_id = kService;
    entry.backend_id = kBackend;
    entry.backend_generation = kGeneration;
    entry.last_seen = kNow;
    entry.flags = abi::SL_FLOW_FORWARD | abi::SL_FLOW_ANSWERED;
    auto& [reply_key, reply] = pair.reply;
    reply_key = PartnerKey(entry);
    reply_key.protocol = protocol;
    reply = entry;
    reply.flags = abi::SL_FLOW_ANSWERED;
    reply.new_source = key.destination;
    reply.new_source_port = key.destination_port;
    reply.new_destination = key.source;
    reply.new_destination_port = key.source_port;
    return pair;
  }
  void Put(const Pair& pair) {
    flows_.rows()[pair.forward.first] = pair.forward.second;
    flows_.rows()[pair.reply.first] = pair.reply.second;
  }

  void SweepOnce() {
    for (int step = 0; step < 1000; ++step) {
      const absl::StatusOr<bool> ended = sweep_->Step();
      ASSERT_THAT(ended, IsOk());
      if (*ended) return;
    }
    FAIL() << "the sweep does not end";
  }

  FakeClock clock_;
  FakeFaults faults_;
  FlowTable flows_{"sl_flows", FakeKind::kHash, 1000, faults_};
  FakeTable<std::uint32_t, abi::backend> backends_{"sl_backends", FakeKind::kArray, 16, faults_};
  FakeTable<std::uint32_t, abi::service_name> names_{"sl_svc_names", FakeKind::kArray, 16, faults_};
  std::unique_ptr<ConntrackSweep> sweep_;
};

// A flow of each state with its age, and whether it must go.
struct AgeCase {
  const char* what;
  std::uint32_t protocol;
  std::uint8_t flags;  // added to the forward row
  std::uint32_t age_ticks;
  bool goes;
};

// 8000 s are 7450.6 ticks, 10 s 9.3, 60 s 55.9; a tick that has only begun does not count.
constexpr AgeCase kAges[] = {
    {"fresh TCP", IPPROTO_TCP, 0, 0, false},
    {"idle TCP", IPPROTO_TCP, 0, 7451, false},
    {"idle TCP for too long", IPPROTO_TCP, 0, 7453, true},
    {"half closed TCP", IPPROTO_TCP, abi::SL_FLOW_FIN_CLIENT, 7451, false},
    {"closing TCP", IPPROTO_TCP, abi::SL_FLOW_CLOSED, 10, false},
    {"closed TCP", IPPROTO_TCP, abi::SL_FLOW_CLOSED, 12, true},
    {"reset TCP", IPPROTO_TCP, abi::SL_FLOW_RESET, 111, false},
    {"TCP reset for long", IPPROTO_TCP, abi::SL_FLOW_RESET, 114, true},
    {"TCP reset and closed", IPPROTO_TCP, abi::SL_FLOW_RESET | abi::SL_FLOW_CLOSED, 12, true},
    {"idle UDP", IPPROTO_UDP, 0, 56, false},
    {"idle UDP for too long", IPPROTO_UDP, 0, 58, true},
};

TEST_F(ConntrackSweepTest, RowsGoByTheTimeoutOfTheirState) {
  for (const AgeCase& one : kAges) {
    flows_.rows().clear();
    Pair pair = MakePair(1000, one.protocol);
    pair.forward.second.flags = static_cast<std::uint8_t>(pair.forward.second.flags | one.flags);
    pair.forward.second.last_seen = kNow - one.age_ticks;
    pair.reply.second.last_seen = kNow - one.age_ticks;
    Put(pair);
    SweepOnce();
    EXPECT_THAT(flows_.rows(), SizeIs(one.goes ? 0 : 2)) << one.what;
    EXPECT_EQ(sweep_->counts().deleted, one.goes ? 2u : 0u) << one.what;
  }
}

TEST_F(ConntrackSweepTest, EitherRowKeepsBothAlive) {
  for (const bool forward_is_fresh : {true, false}) {
    Pair pair = MakePair(1000, IPPROTO_UDP);
    (forward_is_fresh ? pair.reply : pair.forward).second.last_seen = kNow - 5000;
    Put(pair);
    SweepOnce();
    EXPECT_THAT(flows_.rows(), SizeIs(2)) << forward_is_fresh;
  }
}

TEST_F(ConntrackSweepTest, AnEndSeenByEitherRowEndsBoth) {
  Pair pair = MakePair(1000, IPPROTO_TCP);
  pair.forward.second.flags |= abi::SL_FLOW_FIN_CLIENT;
  pair.reply.second.flags |= abi::SL_FLOW_FIN_BACKEND;
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 12;
  Put(pair);
  pair = MakePair(1001, IPPROTO_TCP);
  pair.reply.second.flags |= abi::SL_FLOW_CLOSED;
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 12;
  Put(pair);
  SweepOnce();
  // Of the second pair one row does not know of the end: the other takes it along.
  EXPECT_THAT(flows_.rows(), IsEmpty());
  EXPECT_EQ(sweep_->counts().deleted, 4u);
}

TEST_F(ConntrackSweepTest, ARowWithoutItsPartnerIsJudgedAlone) {
  Pair pair = MakePair(1000, IPPROTO_UDP);
  pair.forward.second.last_seen = kNow - 58;
  flows_.rows()[pair.forward.first] = pair.forward.second;
  pair = MakePair(1001, IPPROTO_UDP);
  flows_.rows()[pair.reply.first] = pair.reply.second;
  SweepOnce();
  EXPECT_THAT(flows_.rows(), UnorderedElementsAre(::testing::Key(pair.reply.first)));
}

TEST_F(ConntrackSweepTest, UdpLeavesABackendThatIsGoneOrAnothers) {
  Put(MakePair(1000, IPPROTO_UDP));
  Put(MakePair(1001, IPPROTO_TCP));
  backends_.rows()[kBackend].generation = kGeneration + 1;
  SweepOnce();
  EXPECT_THAT(flows_.rows(), SizeIs(2));  // TCP gets its RST from the programs
  Put(MakePair(1000, IPPROTO_UDP));
  backends_.rows()[kBackend].generation = kGeneration;
  backends_.rows()[kBackend].flags = 0;
  SweepOnce();
  EXPECT_THAT(flows_.rows(), SizeIs(2));
}

TEST_F(ConntrackSweepTest, UdpOfADeletedServiceGoesAndTcpStays) {
  Put(MakePair(1000, IPPROTO_UDP));
  Put(MakePair(1001, IPPROTO_TCP));
  names_.rows().erase(kService);
  SweepOnce();
  for (const auto& [key, entry] : flows_.rows()) EXPECT_EQ(key.protocol, IPPROTO_TCP + 0u);
  EXPECT_THAT(flows_.rows(), SizeIs(2));
}

TEST_F(ConntrackSweepTest, AFlowThatIsNewerThanTheSweepsTimeStays) {
  Pair pair = MakePair(1000, IPPROTO_UDP);
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow + 1;
  Put(pair);
  SweepOnce();
  EXPECT_THAT(flows_.rows(), SizeIs(2));
}

// A client takes the port of a closed flow again after the sweep has read the row: what is in its
// place then is a living flow.
TEST_F(ConntrackSweepTest, AFlowInThePlaceOfAJudgedOneStays) {
  Pair pair = MakePair(1000, IPPROTO_TCP);
  pair.forward.second.flags |= abi::SL_FLOW_CLOSED;
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 12;
  Put(pair);
  Pair idle = MakePair(1001, IPPROTO_UDP);
  idle.forward.second.last_seen = idle.reply.second.last_seen = kNow - 58;
  Put(idle);
  faults_.before_row = [&](const std::string&) {
    Put(MakePair(1000, IPPROTO_TCP));
    return absl::OkStatus();
  };
  SweepOnce();
  Pair renewed = MakePair(1000, IPPROTO_TCP);
  EXPECT_THAT(flows_.rows(), UnorderedElementsAre(::testing::Key(renewed.forward.first),
                                                  ::testing::Key(renewed.reply.first)));
  EXPECT_EQ(sweep_->counts().deleted, 2u);
  EXPECT_EQ(sweep_->deleted_v4(), 2u);
}

// The other row is used between the two deletes.
TEST_F(ConntrackSweepTest, AFlowWhosePartnerIsUsedJustThenKeepsBothRows) {
  Pair pair = MakePair(1000, IPPROTO_UDP);
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 58;
  Put(pair);
  int rows = 0;
  faults_.before_row = [&](const std::string&) {
    if (++rows != 2) return absl::OkStatus();
    for (auto& [key, entry] : flows_.rows()) entry.last_seen = kNow;
    return absl::OkStatus();
  };
  SweepOnce();
  EXPECT_THAT(flows_.rows(), SizeIs(2));
  EXPECT_EQ(sweep_->counts().deleted, 0u);
  EXPECT_EQ(sweep_->deleted_v4(), 0u);
}

TEST_F(ConntrackSweepTest, UdpThatLostItsOwnerGoesAlsoWhileItIsUsed) {
  Pair pair = MakePair(1000, IPPROTO_UDP);
  pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 3;
  Put(pair);
  backends_.rows()[kBackend].generation = kGeneration + 1;
  faults_.before_row = [&](const std::string&) {
    for (auto& [key, entry] : flows_.rows()) entry.last_seen = kNow;
    return absl::OkStatus();
  };
  SweepOnce();
  EXPECT_THAT(flows_.rows(), IsEmpty());
}

TEST_F(ConntrackSweepTest, CountsRowsByStateAndFlowsByBackend) {
  for (std::uint16_t port = 1000; port < 1005; ++port) Put(MakePair(port, IPPROTO_TCP));
  Put(MakePair(2000, IPPROTO_UDP));
  Pair closing = MakePair(3000, IPPROTO_TCP);
  closing.forward.second.flags |= abi::SL_FLOW_RESET;
  Put(closing);
  SweepOnce();
  const SweepCounts& counts = sweep_->counts();
  EXPECT_EQ(counts.rows[static_cast<std::size_t>(FlowState::kUdp)], 2u);
  EXPECT_EQ(counts.rows[static_cast<std::size_t>(FlowState::kTcpEstablished)], 11u);
  EXPECT_EQ(counts.rows[static_cast<std::size_t>(FlowState::kTcpReset)], 1u);
  EXPECT_THAT(counts.connections,
              UnorderedElementsAre(::testing::Pair(BackendKey{kBackend, kGeneration}, 6u)));
  EXPECT_EQ(sweep_->sweeps(), 1u);
}

TEST_F(ConntrackSweepTest, AFailureIsToldAndTheNextSweepIsWhole) {
  for (std::uint16_t port = 1000; port < 1005; ++port) {
    Pair pair = MakePair(port, IPPROTO_UDP);
    pair.forward.second.last_seen = pair.reply.second.last_seen = kNow - 1000;
    Put(pair);
  }
  faults_.before_row = [](const std::string&) { return absl::InternalError("no"); };
  EXPECT_THAT(sweep_->Step(), StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(sweep_->sweeps(), 0u);
  faults_.before_row = nullptr;
  SweepOnce();
  EXPECT_THAT(flows_.rows(), IsEmpty());
  EXPECT_EQ(sweep_->deleted_total(), 10u);
  EXPECT_EQ(sweep_->deleted_v4(), 10u);
}

}  // namespace
}  // namespace sluice::testing
