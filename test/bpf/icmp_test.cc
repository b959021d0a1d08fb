// SPDX-License-Identifier: Apache-2.0
// ICMP errors about a service's packets, for every kind of flow: whoever sent the packet that the
// error is about must recognise it. "Forward" is an error about a packet towards the backend, sent
// to the client; "reply" is one about a packet towards the client, sent to the backend.
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/flow_case.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// What of the packet inside an error is there. RFC 792 asks for 8 bytes of transport header.
enum class Quote { kWhole, kEightBytes };

class IcmpTest : public FlowTest {
 protected:
  std::string Router() const { return flavor().v6 ? "2001:db8::99" : "192.0.2.99"; }

  // The router as the client knows it. An error that is redirected has the service's address: the
  // router may be the way to its receiver, and would drop what comes back with its own.
  std::string RouterAsSeen() const { return kind().snat ? service().address : Router(); }

  // An error "too big" from `from` to the sender of `about`.
  Packet Error(const std::string& from, const Packet& about, Quote quote) const {
    const Bytes whole = Build(about);
    std::size_t size = whole.size() - 14;
    if (quote == Quote::kEightBytes) size = (flavor().v6 ? 40 : 20) + 8;
    const Payload inner{
        std::string(whole.begin() + 14, whole.begin() + 14 + static_cast<std::ptrdiff_t>(size))};
    if (flavor().v6) {
      return Ethernet() / Ipv6{.source = from, .destination = Find<Ipv6>(about)->source} /
             Icmp{.type = 2, .rest = 1400} / inner;
    }
    return Ethernet() / Ipv4{.source = from, .destination = Find<Ipv4>(about)->source, .id = 9} /
           Icmp{.type = 3, .code = 4, .rest = 1400} / inner;
  }

  // The error as its receiver must get it: about the packet as he sent it. The checksum of the
  // transport inside an 8-byte quote of TCP is not there; elsewhere it is checked, being bytes.
  Packet Expected(const std::string& from, const Packet& about, Quote quote) const {
    Packet expected = Error(from, about, quote);
    return kind().snat ? Hop(std::move(expected)) : expected;
  }

  Packet SeenByBackend() const { return MakePacket(flavor(), seen_client(), backend()); }
  Packet SeenByClient() const { return MakePacket(flavor(), service(), client()); }

  void CheckErrorsBothWays() {
    for (const Quote quote : {Quote::kWhole, Quote::kEightBytes}) {
      SCOPED_TRACE(quote == Quote::kWhole ? "whole packet quoted" : "8 bytes quoted");
      // On the way to the backend: seen where the backend's replies are seen.
      for (const bool by_backend : {false, true}) {
        SCOPED_TRACE(by_backend ? "sent by an end" : "sent by a router");
        const std::string from = by_backend ? backend().address : Router();
        const std::string as = by_backend ? service().address : RouterAsSeen();
        EXPECT_TRUE(Becomes(kind().reply_translates, Error(from, SeenByBackend(), quote),
                            kind().reply_verdict, Expected(as, ForwardPacket(), quote)))
            << "forward";
        // On the way to the client.
        const std::string client_side = by_backend ? client().address : Router();
        const std::string client_as = by_backend || kind().snat ? seen_client().address : Router();
        EXPECT_TRUE(Becomes(kind().translates, Error(client_side, SeenByClient(), quote),
                            kind().verdict, Expected(client_as, ReplyPacket(), quote)))
            << "reply";
      }
      for (const Hook& hook : kind().reply_before) {
        EXPECT_TRUE(Untouched(hook, Error(Router(), SeenByBackend(), quote)));
      }
    }
  }
};

std::vector<FlowCase> Cases() {
  std::vector<FlowCase> cases;
  for (const FlowKind& kind : FlowKinds()) {
    for (const Flavor& flavor : AllFlavors()) cases.push_back({kind, flavor});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Flows, IcmpTest, ::testing::ValuesIn(Cases()), FlowCaseName);

TEST_P(IcmpTest, ErrorsOfAnEstablishedFlowReachWhoeverSentThePacket) {
  Establish();
  CheckErrorsBothWays();
  EXPECT_EQ(AllDrops(), 0u);
  EXPECT_EQ(FlowCount(), 2u);
}

// Path MTU discovery begins with the first packets.
TEST_P(IcmpTest, ErrorsOfAFlowBeingOpenedDoToo) {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  CheckErrorsBothWays();
  EXPECT_EQ(AllDrops(), 0u);
}

// An error is no answer of the backend: a UDP flow is not established by it, and a SYN that is sent
// again after it may still go to another backend.
TEST_P(IcmpTest, AnErrorIsNotAnAnswer) {
  ASSERT_TRUE(Forward(Syn()));
  const Packet seen = MakePacket(flavor(), seen_client(), backend(), Syn());
  const RunResult result = Run(kind().reply_translates, Error(Router(), seen, Quote::kWhole));
  EXPECT_EQ(result.verdict, kind().reply_verdict);
  snat_port_ = 0;
  ASSERT_TRUE(Forward(Syn()));
  EXPECT_EQ(FlowCount(), 0u);
  EXPECT_EQ(ServiceStats(kServiceId).failed, tcp() ? 1u : 0u);
}

TEST_P(IcmpTest, LeavesAloneErrorsAboutOtherPackets) {
  Establish();
  const Packet other = MakePacket(flavor(), {backend().address, 1}, {seen_client().address, 2});
  for (const Hook& hook : {kFromPod1, kToPod1, kFromNet, kToNet}) {
    EXPECT_TRUE(Untouched(hook, Error(Router(), other, Quote::kWhole)));
  }
}

TEST_P(IcmpTest, LeavesAloneErrorsThatAreCutShort) {
  Establish();
  for (const auto& [hook, about] : {std::pair(kind().reply_translates, SeenByBackend()),
                                    std::pair(kind().translates, SeenByClient())}) {
    Packet error = Error(Router(), about, Quote::kWhole);
    const std::string inner = std::get<Payload>(error.back()).bytes;
    for (std::size_t size = 0; size < (flavor().v6 ? 48u : 28u); ++size) {
      std::get<Payload>(error.back()).bytes = inner.substr(0, size);
      EXPECT_TRUE(Untouched(hook, error)) << size << " bytes quoted";
    }
  }
}

TEST_P(IcmpTest, CarriesEveryKindOfError) {
  Establish();
  const auto types = flavor().v6 ? std::vector<std::pair<int, int>>{{1, 0}, {1, 3}, {1, 4}, {2, 0},
                                                                    {3, 0}, {3, 1}, {4, 0}}
                                 : std::vector<std::pair<int, int>>{
                                       {3, 0}, {3, 1}, {3, 3}, {3, 4}, {3, 13}, {11, 0}, {12, 0}};
  for (const auto& [type, code] : types) {
    Packet error = Error(Router(), SeenByBackend(), Quote::kWhole);
    Packet expected = Expected(RouterAsSeen(), ForwardPacket(), Quote::kWhole);
    for (Packet* packet : {&error, &expected}) {
      auto& icmp = std::get<Icmp>((*packet)[2]);
      icmp.type = static_cast<std::uint8_t>(type);
      icmp.code = static_cast<std::uint8_t>(code);
    }
    EXPECT_TRUE(Becomes(kind().reply_translates, error, kind().reply_verdict, expected))
        << type << "/" << code;
  }
}

TEST_P(IcmpTest, CarriesErrorsInTaggedFrames) {
  Establish();
  Packet error = Error(Router(), SeenByBackend(), Quote::kWhole);
  Packet expected = Expected(RouterAsSeen(), ForwardPacket(), Quote::kWhole);
  error.insert(error.begin() + 1, Vlan(7));
  // A redirected packet leaves by another link, where the tag means nothing.
  if (!kind().snat) expected.insert(expected.begin() + 1, Vlan(7));
  EXPECT_TRUE(Becomes(kind().reply_translates, error, kind().reply_verdict, expected));
}

}  // namespace
}  // namespace sluice::testing
