// SPDX-License-Identifier: Apache-2.0
#include "control/base/names.h"

#include <netinet/in.h>

#include <set>

#include "gtest/gtest.h"

#include "maps/reason.h"
#include "maps/service.h"
#include "maps/trace.h"

namespace sluice {
namespace {

TEST(NamesTest, EveryReasonHasItsOwnName) {
  std::set<std::string_view> names;
  for (std::uint32_t reason = 0; reason < abi::SL_REASON_COUNT; ++reason) {
    EXPECT_NE(ReasonName(reason), "");
    EXPECT_TRUE(names.insert(ReasonName(reason)).second) << ReasonName(reason);
  }
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(NamesTest, ReasonsAreNamedAsTheAbiNamesThem) {
  EXPECT_EQ(ReasonName(abi::SL_REASON_NO_BACKEND), "no_backend");
  EXPECT_EQ(ReasonName(abi::SL_REASON_EXTERNAL_DENIED), "external_denied");
  EXPECT_EQ(ReasonName(abi::SL_REASON_BACKEND_GONE), "backend_gone");
  EXPECT_EQ(ReasonName(abi::SL_REASON_FLOWS_FULL), "flows_full");
  EXPECT_EQ(ReasonName(abi::SL_REASON_TOO_BIG), "too_big");
  EXPECT_EQ(ReasonName(abi::SL_REASON_BAD_SLOT), "bad_slot");
  EXPECT_EQ(ReasonName(abi::SL_REASON_TUNNEL_DENIED), "tunnel_denied");
  EXPECT_EQ(ReasonName(abi::SL_REASON_COUNT), "unknown");
}

TEST(NamesTest, OtherNumbersHaveTheirNamesToo) {
  EXPECT_EQ(FrontendKindName(abi::SL_FRONTEND_CLUSTER_IP), "ClusterIP");
  EXPECT_EQ(FrontendKindName(abi::SL_FRONTEND_LOAD_BALANCER), "LoadBalancer");
  EXPECT_EQ(FrontendKindName(0), "unknown");
  EXPECT_EQ(VerdictName(abi::SL_VERDICT_REJECT), "reject");
  EXPECT_EQ(HookName(abi::SL_HOOK_TO_NET), "to_net");
}

TEST(NamesTest, ProtocolsGoBothWays) {
  EXPECT_EQ(ProtocolName(IPPROTO_TCP), "TCP");
  EXPECT_EQ(ProtocolName(IPPROTO_ICMPV6), "ICMPv6");
  EXPECT_EQ(ProtocolName(253), "253");
  EXPECT_EQ(ProtocolNumber("udp"), IPPROTO_UDP);
  EXPECT_EQ(ProtocolNumber("SCTP"), IPPROTO_SCTP);
  EXPECT_EQ(ProtocolNumber("ICMP"), std::nullopt);
}

}  // namespace
}  // namespace sluice
