// SPDX-License-Identifier: Apache-2.0
// The table of clients that may have an established flow (sl_clients): who is in it, and that who
// is not in it is not looked for in sl_flows.
#include <arpa/inet.h>

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/client_array.h"
#include "test/bpf/flow_case.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

std::vector<FlowCase> AllCases() {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : AllFlavors()) cases.push_back({kind, flavor});
    for (const Flavor& flavor : SctpFlavors()) cases.push_back({kind, flavor});
  }
  return cases;
}

class ClientsTest : public FlowTest {
 protected:
  std::uint32_t HashOf(const End& end) const {
    const abi::addr address = MapAddress(end.address);
    return abi::client_hash(&address, htons(end.port), flavor().protocol,
                            DefaultConfig().hash_seed);
  }
  std::uint32_t AnswerHash() const {
    const abi::addr from = MapAddress(backend().address);
    return abi::client_answer_hash(HashOf(seen_client()), &from, htons(backend().port),
                                   flavor().protocol);
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, ClientsTest, ::testing::ValuesIn(AllCases()), FlowCaseName);

TEST_P(ClientsTest, NobodyIsMarkedBeforeTheFlowIsEstablished) {
  Begin(false);
  EXPECT_EQ(tables().clients().CountSet(), 0u);
}

TEST_P(ClientsTest, AnEstablishedFlowsClientIsMarkedAndWithSnatItsAnswers) {
  Begin(true);
  const ClientArray clients = tables().clients();
  EXPECT_TRUE(clients.Has(HashOf(client())));
  EXPECT_EQ(clients.Has(AnswerHash()), kind().snat);
  EXPECT_LE(clients.CountSet(), kind().snat ? 4u : 2u);
  EXPECT_FALSE(clients.Has(1, HashOf(client()))) << "not in the half that is not in use";
}

TEST_P(ClientsTest, BitsAreSetInTheHalfThatTheAgentNamesAndFoundInEither) {
  Begin(false);
  abi::node_config config = DefaultConfig();
  config.clients_half = 1;
  SetConfig(config);
  Establish();
  EXPECT_FALSE(tables().clients().Has(0, HashOf(client())));
  EXPECT_TRUE(tables().clients().Has(1, HashOf(client())));
  if (flavor().protocol == IPPROTO_UDP) return;
  Run(kind().translates, ForwardPacket(Syn()));
  EXPECT_EQ(OpeningCount(), 0u) << "the connection's own";
}

TEST_P(ClientsTest, ASynIsLookedForOnlyIfItsClientIsMarked) {
  if (flavor().protocol == IPPROTO_UDP) return;  // datagrams are looked for first
  Begin(true);
  ASSERT_EQ(OpeningCount(), 0u);
  Run(kind().translates, ForwardPacket(Syn()));
  EXPECT_EQ(OpeningCount(), 0u) << "the connection's own";
  tables().ClearClients();
  Run(kind().translates, ForwardPacket(Syn()));
  EXPECT_GT(OpeningCount(), 0u) << "taken for a new one's";
}

class ClientAnswersTest : public ServiceTest {
 protected:
  // The client has an established flow to one frontend of a backend, and asks at another. Return:
  // whether it keeps its own address and port for that.
  bool KeepsItsPortAtASecondFrontend(bool marked) {
    const End second = TwoFrontendsOfOneBackend();
    const End backend{addresses().remote, kBackendPort};
    for (const Shape& shape : {Syn(), Shape()}) {
      Run(kFromPod1, Question(pod(), cluster_ip(), shape));
      Run(kToPod1, Question(backend, pod(), SynAck()));
    }
    EXPECT_EQ(FlowCount(), 2u);
    if (!marked) tables().ClearClients();
    return Run(kFromPod1, Question(pod(), second)).verdict == kNext;
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, ClientAnswersTest, ::testing::ValuesIn(AllFlavors()),
                         FlavorCaseName);

TEST_P(ClientAnswersTest, ATupleThatIsTakenIsFoundByItsClient) {
  EXPECT_FALSE(KeepsItsPortAtASecondFrontend(true)) << "answers would be the first flow's";
}

TEST_P(ClientAnswersTest, OfAClientThatIsNotMarkedNoTupleIsLookedFor) {
  EXPECT_TRUE(KeepsItsPortAtASecondFrontend(false));
}

}  // namespace
}  // namespace sluice::testing
