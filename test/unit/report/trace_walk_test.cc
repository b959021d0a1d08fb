// SPDX-License-Identifier: Apache-2.0
// What the walk of `sluicectl trace` says of each way that a packet may go, for both families.
#include "control/report/trace_walk.h"

#include <netinet/in.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/report/trace_expected.h"
#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TraceWalkTest : public ::testing::TestWithParam<bool> {
 protected:
  // A pod asks for a ClusterIP with an endpoint here and one elsewhere, and gets the latter.
  TraceWalkTest() {
    facts_.interface = "pod0";
    facts_.agent_runs = facts_.agent_synced = true;
    facts_.node_address = At("192.0.2.10", "2001:db8:1::10");
    facts_.answer.sent = {At("203.0.113.9", "2001:db8:3::9"), 40000,
                          At("198.51.100.1", "2001:db8::a"), 80, IPPROTO_TCP};
    facts_.service = "default/web:http";
    abi::service& row = facts_.frontend.emplace();
    row.id = 1;
    row.kind = abi::SL_FRONTEND_CLUSTER_IP;
    row.flags = abi::SL_SERVICE_DENY_EXTERNAL | abi::SL_SERVICE_HAS_ENDPOINTS;
    row.slots[abi::SL_SCOPE_INTERNAL].count = row.slots[abi::SL_SCOPE_EXTERNAL].count = 2;
    Add(1, "node-a", "ready", true);
    Add(2, "node-b", "ready", false);
    Forward(2);
  }

  IpAddress At(const std::string& v4, const std::string& v6) const {
    return Address(GetParam() ? v4 : v6);
  }
  IpAddress EndpointAddress(int host) const {
    return At(absl::StrCat("203.0.113.", host), absl::StrCat("2001:db8:2::", host));
  }
  std::string Place(int host) const { return FormatEndpoint(EndpointAddress(host), 8080); }
  std::string Client() const { return FormatEndpoint(facts_.answer.sent.source, 40000); }

  // In the cluster set when ready, in the maps and in the set of the packet.
  TraceEndpoint& Add(int host, const std::string& node, const std::string& state, bool local) {
    const bool ready = state == "ready";
    TraceEndpoint& endpoint = facts_.endpoints.emplace_back();
    endpoint.backend = {EndpointAddress(host), 8080, node, state, local, ready, ready && local};
    endpoint.agent_knows = endpoint.in_maps = true;
    endpoint.usable = ready;
    endpoint.local = local;
    endpoint.slots = ready ? 1 : 0;
    return endpoint;
  }
  void Forward(int host) {
    facts_.answer.verdict = "forward";
    facts_.answer.backend = Place(host);
    facts_.answer.source = Client();
  }
  void Refuse(const std::string& verdict, const std::string& reason) {
    facts_.answer.verdict = verdict;
    facts_.answer.reason = reason;
    facts_.answer.backend = "";
  }
  void Outside(abi::sl_frontend_kind kind) {
    facts_.hook = TraceHook::kNet;
    facts_.frontend->kind = static_cast<std::uint8_t>(kind);
    facts_.frontend->flags &= static_cast<std::uint16_t>(~abi::SL_SERVICE_DENY_EXTERNAL);
  }
  void Guard(const std::string& v4, const std::string& v6) {
    facts_.frontend->flags |= static_cast<std::uint16_t>(GetParam() ? abi::SL_SERVICE_RANGES_V4
                                                                    : abi::SL_SERVICE_RANGES_V6);
    facts_.ranges.push_back(IpPrefix::Parse(GetParam() ? v4 : v6).value());
  }
  // Nobody in the set of the packet, as the row has it too.
  void Empty() {
    facts_.frontend->slots[facts_.scope()].count = 0;
    for (TraceEndpoint& endpoint : facts_.endpoints) endpoint.slots = 0;
  }
  // The walk; the answer has to be explained by it.
  std::string Walk() const {
    EXPECT_EQ(Disagreement(facts_), "");
    return TraceWalk(facts_);
  }

  TraceFacts facts_;
};

TEST_P(TraceWalkTest, APodAsksForAClusterIp) {
  facts_.endpoints.front().backend.node = "node-a";
  const std::string walk = Walk();
  const std::string target = FormatEndpoint(facts_.answer.sent.destination, 80);
  EXPECT_THAT(walk, HasSubstr(absl::StrCat("packet     TCP ", Client(), " -> ", target,
                                           ", from a pod: internal traffic, at interface pod0\n"
                                           "frontend   ClusterIP ",
                                           target, "/TCP of default/web:http\n",
                                           "guard      a ClusterIP, asked for from this node: "
                                           "allowed\n"
                                           "set        the cluster's endpoints "
                                           "(internalTrafficPolicy: Cluster)\n"
                                           "endpoints  2 of ",
                                           GetParam() ? "IPv4" : "IPv6", ", 2 candidates\n")));
  EXPECT_THAT(walk, HasSubstr("node-a (this node)  ready  candidate\n"));
  EXPECT_THAT(walk, HasSubstr("node-b              ready  candidate\n"));
  EXPECT_THAT(walk, HasSubstr(absl::StrCat("choice     ", Place(2),
                                           ", at random among 2 "
                                           "candidates\n"
                                           "rewriting  destination ",
                                           target, " -> ", Place(2), "\n           source ",
                                           Client(), " kept\nverdict    forward\n")));
}

TEST_P(TraceWalkTest, TheAlgorithmIsNamed) {
  const auto choice = [&](abi::sl_algorithm algorithm) {
    facts_.frontend->algorithm = static_cast<std::uint8_t>(algorithm);
    return Walk();
  };
  EXPECT_THAT(choice(abi::SL_ALGORITHM_MAGLEV),
              HasSubstr(", by a hash of both ends (maglev) among 2 candidates"));
  EXPECT_THAT(choice(abi::SL_ALGORITHM_MAGLEV_SOURCE),
              HasSubstr(", by a hash of the client's address (maglev) among 2 candidates"));
  EXPECT_THAT(choice(abi::SL_ALGORITHM_LEAST_CONNECTION),
              HasSubstr("fewer connections (least-connection) among 2 candidates"));
}

TEST_P(TraceWalkTest, AClusterIpFromOutside) {
  facts_.hook = TraceHook::kNet;
  Refuse("drop", "external_denied");
  EXPECT_THAT(Walk(), AllOf(HasSubstr("from the network: external traffic"),
                            HasSubstr("denied (--allow-external-cluster-ip is off)\n"
                                      "verdict    drop: external_denied, ClusterIPs are not"),
                            Not(HasSubstr("endpoints"))));
  facts_.frontend->flags ^= abi::SL_SERVICE_DENY_EXTERNAL | abi::SL_SERVICE_MASQUERADE;
  facts_.answer.reason = "";
  Forward(1);
  facts_.answer.source = FormatEndpoint(*facts_.node_address, 20001);
  EXPECT_THAT(Walk(), AllOf(HasSubstr("allowed (--allow-external-cluster-ip)"),
                            HasSubstr("ClusterIPs are masqueraded for the network\n")));
}

TEST_P(TraceWalkTest, SourceRanges) {
  Outside(abi::SL_FRONTEND_LOAD_BALANCER);
  EXPECT_THAT(Walk(), HasSubstr("loadBalancerSourceRanges: none for this family: allowed\n"));
  Guard("192.0.2.0/24", "2001:db8:9::/48");
  Refuse("drop", "source_denied");
  const std::string client = facts_.answer.sent.source.ToString();
  EXPECT_THAT(Walk(),
              HasSubstr(absl::StrCat("loadBalancerSourceRanges: ", client, " is in none of ",
                                     GetParam() ? "192.0.2.0/24" : "2001:db8:9::/48",
                                     ": denied\nverdict    drop: source_denied")));
  Guard("203.0.113.0/24", "2001:db8:3::/48");
  facts_.answer.reason = "";
  Forward(1);
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat(client, " is in ",
                                             GetParam() ? "203.0.113.0/24" : "2001:db8:3::/48",
                                             ": allowed\n")));
}

TEST_P(TraceWalkTest, RangesAreAskedOfThisNodeForItsProcesses) {
  Outside(abi::SL_FRONTEND_LOAD_BALANCER);
  facts_.hook = TraceHook::kHost;
  Guard("203.0.113.0/24", "2001:db8:3::/48");  // has the client named, but not the node
  Refuse("drop", "source_denied");
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat(facts_.node_address->ToString(),
                                             " (this node) is in "
                                             "none of")));
}

TEST_P(TraceWalkTest, PolicyLocalWithNoneHere) {
  Outside(abi::SL_FRONTEND_NODE_PORT);
  facts_.frontend->flags |= abi::SL_SERVICE_LOCAL_EXTERNAL;
  facts_.endpoints.erase(facts_.endpoints.begin());
  Empty();
  Refuse("drop", "no_local_backend");
  EXPECT_THAT(Walk(),
              AllOf(HasSubstr("set        this node's endpoints (externalTrafficPolicy: Local)\n"),
                    HasSubstr(", 0 candidates\n"),
                    HasSubstr("left out: on another node, and the policy is Local\n"),
                    HasSubstr("verdict    drop: no_local_backend, the policy is Local and no")));
  facts_.hook = TraceHook::kPod;
  facts_.endpoints[0].slots = 1;
  facts_.answer.reason = "";
  Forward(2);
  EXPECT_THAT(Walk(), AllOf(HasSubstr("(externalTrafficPolicy: Local is for outside traffic)\n"),
                            HasSubstr(", the only candidate\n")));
}

TEST_P(TraceWalkTest, WhyEndpointsAreLeftOut) {
  Add(3, "node-b", "notReady", false);
  Add(4, "node-b", "terminating", false);
  TraceEndpoint& hinted = Add(5, "node-b", "ready", false);
  hinted.backend.in_cluster_set = false;
  hinted.slots = 0;
  TraceEndpoint& unplaced = Add(6, "node-b", "ready", false);
  unplaced.in_maps = false;
  unplaced.slots = 0;
  TraceEndpoint& gone = Add(7, "", "notReady", false);
  gone.agent_knows = false;
  gone.backend.state = "";
  const std::string walk = Walk();
  EXPECT_THAT(walk, HasSubstr("endpoints  7 of "));
  EXPECT_THAT(walk, HasSubstr("notReady     left out: not ready\n"));
  EXPECT_THAT(walk, HasSubstr("terminating  left out: terminating, while others are ready\n"));
  EXPECT_THAT(walk, HasSubstr("left out: the hints are for other zones or nodes\n"));
  EXPECT_THAT(walk, HasSubstr("left out: not in the maps (not programmed yet, or no room)\n"));
  EXPECT_THAT(walk, HasSubstr("left out: it is gone, and keeps the connections that it has\n"));
}

TEST_P(TraceWalkTest, NobodyIsReady) {
  facts_.endpoints.clear();
  Add(3, "node-b", "notReady", false);
  facts_.frontend->flags &= static_cast<std::uint16_t>(~abi::SL_SERVICE_HAS_ENDPOINTS);
  Empty();
  Refuse("reject", "no_backend");
  EXPECT_THAT(Walk(), HasSubstr("verdict    reject: no_backend, no endpoint is usable"));
}

TEST_P(TraceWalkTest, Affinity) {
  facts_.frontend->flags |= abi::SL_SERVICE_AFFINITY;
  facts_.frontend->affinity_s = 600;
  EXPECT_THAT(Walk(), HasSubstr("guard      session affinity, 600 s: this client is not bound\n"));
  facts_.binding = TraceBinding{Place(2), "", 12};
  EXPECT_THAT(Walk(),
              AllOf(HasSubstr(absl::StrCat("600 s: bound to ", Place(2), " 12 s ago\n")),
                    HasSubstr(absl::StrCat("choice     ", Place(2), ", by session affinity"))));
  facts_.binding = TraceBinding{Place(1), "the time is over", 700};
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat("bound to ", Place(1),
                                             " 700 s ago, which does not "
                                             "count: the time is over\n")));
}

TEST_P(TraceWalkTest, WhyTheSourceIsRewritten) {
  Outside(abi::SL_FRONTEND_NODE_PORT);
  facts_.answer.source = FormatEndpoint(*facts_.node_address, 20001);
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat("source ", Client(), " -> ", facts_.answer.source,
                                             ": the endpoint is on another node")));
  Forward(1);
  EXPECT_THAT(Walk(), HasSubstr(" kept\n"));
  facts_.answer.source = FormatEndpoint(facts_.answer.sent.source, 20001);
  EXPECT_THAT(Walk(), HasSubstr("the client has a connection from that port"));
  facts_.hook = TraceHook::kPod;
  facts_.answer.sent.source = EndpointAddress(1);
  EXPECT_THAT(Walk(), HasSubstr("the client is the endpoint itself"));
}

TEST_P(TraceWalkTest, ProcessesOfTheNodeGetTheirEndpointAtConnect) {
  facts_.hook = TraceHook::kHost;
  EXPECT_THAT(Walk(), AllOf(HasSubstr("from a process of this node: internal traffic"),
                            HasSubstr("at connect(): no packet is rewritten")));
}

TEST_P(TraceWalkTest, WithoutAFrontend) {
  facts_.frontend.reset();
  facts_.endpoints.clear();
  facts_.ports = {"443/TCP (default/web:https)"};
  Refuse("none", "");
  const std::string address = facts_.answer.sent.destination.ToString();
  EXPECT_THAT(Walk(), AllOf(HasSubstr("frontend   none: no service has "),
                            HasSubstr("; it has 443/TCP (default/web:https)\n"),
                            HasSubstr("verdict    none: it is not sluice's")));
  facts_.service_range = "198.51.100.0/24";
  Refuse("drop", "no_such_service");
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat("none: no service has ", address,
                                             ", which is in the "
                                             "services' range 198.51.100.0/24\n")));
  facts_.address_row.emplace().flags = abi::SL_SERVICE_DENY_EXTERNAL;
  Refuse("reject", "no_such_port");
  EXPECT_THAT(Walk(), HasSubstr(absl::StrCat("none: ", address,
                                             " is a ClusterIP, without TCP port "
                                             "80; it has 443/TCP (default/web:https)\n")));
  facts_.hook = TraceHook::kNet;
  Refuse("drop", "external_denied");
  EXPECT_THAT(Walk(), HasSubstr("verdict    drop: external_denied"));
}

TEST_P(TraceWalkTest, AConnectionThatIsThereAlready) {
  facts_.flow.emplace();
  facts_.flow_backend = Place(2);
  EXPECT_THAT(Walk(),
              AllOf(HasSubstr(absl::StrCat("flow       an established connection to ", Place(2))),
                    Not(HasSubstr("choice"))));
}

TEST_P(TraceWalkTest, WithoutAnAgent) {
  facts_.agent_runs = facts_.agent_synced = false;
  for (TraceEndpoint& endpoint : facts_.endpoints) {
    endpoint.agent_knows = false;
    endpoint.backend.state = endpoint.backend.node = "";
  }
  facts_.endpoints[0].slots = 0;
  EXPECT_THAT(Walk(), AllOf(HasSubstr("this node  -      left out: not of this set\n"),
                            HasSubstr("note       no agent runs: nodes and states of endpoints")));
}

TEST_P(TraceWalkTest, AStoryThatDoesNotFitIsNotTold) {
  facts_.endpoints[1].slots = 0;
  EXPECT_THAT(TraceWalk(facts_), HasSubstr("note       this does not explain the answer (by the "
                                           "maps "));
  Refuse("drop", "source_denied");
  EXPECT_THAT(Disagreement(facts_), "by the maps it is forwarded");
  Empty();
  EXPECT_THAT(Disagreement(facts_), "by the maps it is refused: no_backend");
  facts_.frontend.reset();
  EXPECT_THAT(Disagreement(facts_), "by the maps the packet is no service's");
}

TEST_P(TraceWalkTest, WhatGoesWrongAfterTheChoiceIsNoContradiction) {
  Refuse("drop", "no_route");
  EXPECT_THAT(Walk(), HasSubstr("verdict    drop: no_route, the node has no route"));
}

TEST_P(TraceWalkTest, OfManyEndpointsTheFirstAreListed) {
  for (int host = 10; host < 90; ++host) Add(host, "node-b", "ready", false);
  EXPECT_THAT(Walk(), HasSubstr("and 32 more; "));
}

INSTANTIATE_TEST_SUITE_P(Families, TraceWalkTest, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "IPv4" : "IPv6"; });

TEST(TraceCountsTest, CountsWhatIsEqualButForTheSourcePort) {
  const std::vector<TraceAnswer> answers = {
      {"forward", "", "", "192.0.2.1:80", "203.0.113.1:1", "", {}},
      {"drop", "", "", "", "203.0.113.1:2", "snat_ports", {}},
      {"forward", "", "", "192.0.2.1:80", "203.0.113.1:3", "", {}},
      {"forward", "", "", "[2001:db8::1]:80", "[2001:db8::9]:3", "", {}}};
  EXPECT_EQ(TraceCounts(answers),
            "COUNT  VERDICT  BACKEND           SOURCE       REASON\n"
            "    2  forward  192.0.2.1:80      203.0.113.1  -\n"
            "    1  drop     -                 203.0.113.1  snat_ports\n"
            "    1  forward  [2001:db8::1]:80  2001:db8::9  -\n");
}

}  // namespace
}  // namespace sluice::report
