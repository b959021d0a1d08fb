// SPDX-License-Identifier: Apache-2.0
// sl_loads: a live connection is counted once, from the choice of its backend to its end.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/trace.h"
#include "test/bpf/flow_case.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class LoadCountTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    SetBackendFlags(abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE | abi::SL_BACKEND_COUNTED);
  }
  std::int32_t Load(std::uint32_t id) {
    const auto row = tables().loads.Lookup(id);
    EXPECT_THAT(row, IsOk());
    if (!row.ok() || !*row) return -1000;
    EXPECT_EQ((*row)->sockets, 0);
    return (*row)->flows;
  }
  std::int32_t Load() { return Load(backend_id_); }
};
// What has a beginning and an end: TCP and SCTP.
class ConnectionCountTest : public LoadCountTest {};

std::vector<FlowCase> CasesOf(const std::vector<Flavor>& flavors) {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : flavors) cases.push_back({kind, flavor});
  }
  return cases;
}
std::vector<Flavor> Connections() { return {{false, 6}, {true, 6}, {false, 132}, {true, 132}}; }
std::vector<Flavor> Everything() {
  std::vector<Flavor> flavors = AllFlavors();
  for (const Flavor& flavor : SctpFlavors()) flavors.push_back(flavor);
  return flavors;
}
INSTANTIATE_TEST_SUITE_P(Flows, LoadCountTest, ::testing::ValuesIn(CasesOf(Everything())),
                         FlowCaseName);
INSTANTIATE_TEST_SUITE_P(Flows, ConnectionCountTest, ::testing::ValuesIn(CasesOf(Connections())),
                         FlowCaseName);

TEST_P(LoadCountTest, AFlowCountsOnceFromItsFirstPacket) {
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(Load(), 1) << "though it may have two places";
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Reply());
    ASSERT_TRUE(Forward());
  }
  EXPECT_EQ(FlowCount(), 2u);
  EXPECT_EQ(Load(), 1);
}

TEST_P(LoadCountTest, ABackendThatIsNotCountedHasNone) {
  SetBackendFlags(abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE);
  Establish();
  EXPECT_EQ(Load(), 0);
}

TEST_P(LoadCountTest, ATracedPacketIsNoFlow) {
  RunContext context;
  context.cb[0] = abi::SL_TRACE_CB0;
  context.cb[1] = abi::SL_TRACE_CB1;
  Run(kind().translates, Build(ForwardPacket(Syn())), context);
  EXPECT_EQ(Load(), 0);
}

// The id stands for another endpoint then: what it has is not this flow's to take.
TEST_P(LoadCountTest, AFlowWhoseBackendHasLeftTakesNothing) {
  for (const bool established : {true, false}) {
    Begin(established);
    ASSERT_EQ(Load(), 1);
    ASSERT_THAT(
        writer().SetBackend(backend_id_, {.address = addresses().remote2,
                                          .port = 9,
                                          .protocol = flavor().protocol,
                                          .flags = abi::SL_BACKEND_PRESENT |
                                                   abi::SL_BACKEND_USABLE | abi::SL_BACKEND_COUNTED,
                                          .generation = 2}),
        IsOk());
    MoveServiceTo(addresses().remote, 4242);
    Run(kind().translates, ForwardPacket());
    EXPECT_EQ(Load(), 1) << (established ? "established" : "being opened");
  }
}

TEST_P(ConnectionCountTest, ARefusalTakesItAwayOnce) {
  ASSERT_TRUE(Forward(Syn()));
  const Shape refusal{.flags = "RA", .sequence = 0, .acknowledgment = 1001, .payload = ""};
  ASSERT_TRUE(Reply(refusal));
  EXPECT_EQ(Load(), 0);
  ASSERT_TRUE(Reply(refusal));
  EXPECT_EQ(Load(), 0) << "the second says nothing new";
  ASSERT_TRUE(Reply(SynAck()));
  EXPECT_EQ(Load(), 1) << "the refusal was forged";
}

TEST_P(ConnectionCountTest, TheSecondEndTakesItAway) {
  for (const bool by_client : {true, false}) {
    Begin(true);
    const Shape end{.flags = "FA", .payload = ""};
    ASSERT_TRUE(by_client ? Forward(end) : Reply(end));
    EXPECT_EQ(Load(), 1);
    ASSERT_TRUE(by_client ? Reply(end) : Forward(end));
    EXPECT_EQ(Load(), 0);
    ASSERT_TRUE(Reply(end));
    ASSERT_TRUE(Forward(end));
    EXPECT_EQ(Load(), 0) << "sent again";
  }
}

TEST_P(ConnectionCountTest, AResetTakesItAwayAndASegmentAfterItBringsItBack) {
  for (const bool by_client : {true, false}) {
    Begin(true);
    const Shape reset{.flags = "R", .payload = ""};
    ASSERT_TRUE(by_client ? Forward(reset) : Reply(reset));
    EXPECT_EQ(Load(), 0);
    ASSERT_TRUE(by_client ? Forward(reset) : Reply(reset));
    EXPECT_EQ(Load(), 0);
    ASSERT_TRUE(by_client ? Reply() : Forward());
    EXPECT_EQ(Load(), 1);
  }
}

TEST_P(ConnectionCountTest, AnOpenThatIsSentAgainTakesItAlong) {
  ASSERT_TRUE(Forward(Syn()));
  const std::uint32_t other = MoveServiceTo(addresses().remote2, 4242);
  ASSERT_THAT(
      writer().SetBackend(other, {.address = addresses().remote2,
                                  .port = 4242,
                                  .protocol = flavor().protocol,
                                  .flags = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE |
                                           abi::SL_BACKEND_COUNTED}),
      IsOk());
  Run(kind().translates, ForwardPacket(Syn()));
  EXPECT_EQ(Load(), 0);
  EXPECT_EQ(Load(other), 1);
}

// The frontend is another service's before the flow is established: the next open is a flow to
// that.
TEST_P(ConnectionCountTest, AnOpenToAnotherServiceTakesItAlong) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_EQ(Load(), 1);
  ServiceSpec moved = Service();
  moved.id = kServiceId + 1;
  SetService(moved);
  EXPECT_EQ(Run(kind().translates, ForwardPacket(Syn())).verdict, kind().verdict);
  EXPECT_EQ(Load(), 1) << "of the new open alone";
  EXPECT_EQ(OpeningCount(), kind().snat ? 2u : 1u);
}

TEST_P(LoadCountTest, AFlowThatWasNotCountedIsNotTakenOff) {
  SetBackendFlags(abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE);
  Establish();
  ASSERT_TRUE(Forward({.flags = "FA", .payload = ""}));
  ASSERT_TRUE(Reply({.flags = "FA", .payload = ""}));
  EXPECT_EQ(Load(), 0);
}

TEST_P(ConnectionCountTest, AnOpenInPlaceOfAClosedFlowCountsOnce) {
  Establish();
  const Shape end{.flags = "FA", .payload = ""};
  ASSERT_TRUE(Forward(end));
  ASSERT_TRUE(Reply(end));
  ASSERT_EQ(Load(), 0);
  Run(kind().translates, ForwardPacket(Syn()));
  EXPECT_EQ(Load(), 1);
}

}  // namespace
}  // namespace sluice::testing
