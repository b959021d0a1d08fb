// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace_walk.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "control/base/names.h"
#include "control/report/endpoint_text.h"
#include "control/report/left_out.h"
#include "control/report/output.h"
#include "control/report/reason_text.h"
#include "control/report/trace_expected.h"

namespace sluice::report {
namespace {

constexpr std::size_t kTitleWidth = 11;
constexpr std::size_t kMaxEndpoints = 50;
constexpr std::size_t kMaxRanges = 8;

// Lines that begin with the title of their step.
class Steps {
 public:
  void Add(std::string_view title, std::string_view text) {
    std::string padded(title);
    padded.resize(kTitleWidth, ' ');
    absl::StrAppend(&text_, padded, std::string(text), "\n");
  }
  void AddTable(const std::string& table) {
    for (const absl::string_view line : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
      Add("", std::string_view(line.data(), line.size()));
    }
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string Ends(const PacketEnds& ends) {
  return absl::StrCat(ProtocolName(ends.protocol), " ",
                      FormatEndpoint(ends.source, ends.source_port), " -> ",
                      FormatEndpoint(ends.destination, ends.destination_port));
}

std::string Target(const PacketEnds& ends) {
  return absl::StrCat(FormatEndpoint(ends.destination, ends.destination_port), "/",
                      ProtocolName(ends.protocol));
}

void AddPacket(const TraceFacts& facts, Steps& steps) {
  const char* from = "a pod: internal traffic";
  if (facts.hook == TraceHook::kNet) from = "the network: external traffic";
  if (facts.hook == TraceHook::kHost) from = "a process of this node: internal traffic";
  const bool arrives = facts.hook != TraceHook::kHost && !facts.interface.empty();
  const std::string at = arrives ? absl::StrCat(", at interface ", facts.interface) : "";
  steps.Add("packet", absl::StrCat(Ends(facts.answer.sent), ", from ", from, at));
}

void AddFrontend(const TraceFacts& facts, Steps& steps) {
  const PacketEnds& sent = facts.answer.sent;
  if (facts.frontend.has_value()) {
    steps.Add("frontend", absl::StrCat(std::string(FrontendKindName(facts.frontend->kind)), " ",
                                       Target(sent), " of ", facts.service));
    return;
  }
  const std::string address = sent.destination.ToString();
  const std::string others =
      facts.ports.empty() ? "" : absl::StrCat("; it has ", absl::StrJoin(facts.ports, ", "));
  if (facts.address_row.has_value()) {
    steps.Add("frontend",
              absl::StrCat("none: ", address, " is a ClusterIP, without ",
                           ProtocolName(sent.protocol), " port ", sent.destination_port, others));
  } else if (!facts.service_range.empty()) {
    steps.Add("frontend", absl::StrCat("none: no service has ", address,
                                       ", which is in the services' range ", facts.service_range));
  } else {
    steps.Add("frontend", absl::StrCat("none: no service has ", Target(sent), others));
  }
}

bool IsGuarded(const abi::service& frontend) {
  return frontend.kind == abi::SL_FRONTEND_EXTERNAL_IP ||
         frontend.kind == abi::SL_FRONTEND_LOAD_BALANCER;
}

// Returns whether the packet gets past it.
bool AddScopeGuard(const TraceFacts& facts, Steps& steps) {
  if (facts.frontend->kind != abi::SL_FRONTEND_CLUSTER_IP) return true;
  if (facts.scope() == abi::SL_SCOPE_INTERNAL) {
    steps.Add("guard", "a ClusterIP, asked for from this node: allowed");
    return true;
  }
  const bool denied = facts.Has(abi::SL_SERVICE_DENY_EXTERNAL);
  steps.Add("guard", absl::StrCat("a ClusterIP, asked for from the network: ",
                                  denied ? "denied (--allow-external-cluster-ip is off)"
                                         : "allowed (--allow-external-cluster-ip)"));
  return !denied;
}

bool AddRangeGuard(const TraceFacts& facts, Steps& steps) {
  constexpr char kName[] = "loadBalancerSourceRanges: ";
  if (!IsGuarded(*facts.frontend)) return true;
  if (!AsksRanges(facts)) {
    steps.Add("guard", absl::StrCat(kName, "none for this family: allowed"));
    return true;
  }
  const std::string client = absl::StrCat(facts.GuardedClient().ToString(),
                                          facts.hook == TraceHook::kHost ? " (this node)" : "");
  if (const IpPrefix* range = AllowingRange(facts); range != nullptr) {
    steps.Add("guard", absl::StrCat(kName, client, " is in ", range->ToString(), ": allowed"));
    return true;
  }
  std::vector<std::string> ranges;
  for (const IpPrefix& range : facts.ranges) ranges.push_back(range.ToString());
  if (ranges.size() > kMaxRanges) {
    const std::size_t more = ranges.size() - kMaxRanges;
    ranges.resize(kMaxRanges);
    ranges.push_back(absl::StrCat(more, " more"));
  }
  steps.Add("guard", absl::StrCat(kName, client, " is in none of ", absl::StrJoin(ranges, ", "),
                                  ": denied"));
  return false;
}

void AddAffinity(const TraceFacts& facts, Steps& steps) {
  if (!facts.Has(abi::SL_SERVICE_AFFINITY)) return;
  std::string text = absl::StrCat("session affinity, ", facts.frontend->affinity_s,
                                  " s: this client is not bound");
  if (facts.hook == TraceHook::kHost) {
    text =
        absl::StrCat("session affinity, ", facts.frontend->affinity_s,
                     " s: processes are bound by network namespace, which is not seen from here");
  } else if (facts.binding.has_value()) {
    const TraceBinding& binding = *facts.binding;
    text = absl::StrCat("session affinity, ", facts.frontend->affinity_s, " s: bound to ",
                        binding.endpoint.empty() ? "an endpoint that is gone" : binding.endpoint,
                        " ", binding.idle_s, " s ago",
                        binding.over.empty() ? "" : ", which does not count: ", binding.over);
  }
  steps.Add("guard", text);
}

void AddSet(const TraceFacts& facts, Steps& steps) {
  const bool cluster_ip = facts.frontend->kind == abi::SL_FRONTEND_CLUSTER_IP;
  const char* policy = cluster_ip ? "internalTrafficPolicy" : "externalTrafficPolicy";
  if (facts.IsLocalSet()) {
    steps.Add("set", absl::StrCat("this node's endpoints (", policy, ": Local)"));
  } else if (!cluster_ip && facts.Has(abi::SL_SERVICE_LOCAL_EXTERNAL)) {
    steps.Add("set",
              "the cluster's endpoints (externalTrafficPolicy: Local is for outside traffic)");
  } else {
    steps.Add("set", absl::StrCat("the cluster's endpoints (", policy, ": Cluster)"));
  }
}

std::string Outcome(const TraceFacts& facts, const TraceEndpoint& endpoint) {
  if (!endpoint.agent_knows) {
    if (endpoint.slots > 0) {
      return facts.agent_runs ? "candidate (the agent does not know it any more)" : "candidate";
    }
    if (facts.agent_runs) return "left out: it is gone, and keeps the connections that it has";
    return endpoint.usable ? "left out: not of this set"
                           : "left out: without an agent it is not known why";
  }
  const std::string why(WhyLeftOut(endpoint.backend, facts.IsLocalSet()));
  if (endpoint.slots > 0) {
    return why.empty() ? "candidate"
                       : absl::StrCat("candidate (the agent has left it out since: ", why, ")");
  }
  if (!why.empty()) return absl::StrCat("left out: ", why);
  return endpoint.in_maps ? "left out: not in this set of the maps yet"
                          : "left out: not in the maps (not programmed yet, or no room)";
}

void AddEndpoints(const TraceFacts& facts, Steps& steps) {
  const char* family = facts.answer.sent.destination.is_v4() ? "IPv4" : "IPv6";
  const auto candidates =
      std::count_if(facts.endpoints.begin(), facts.endpoints.end(),
                    [](const TraceEndpoint& endpoint) { return endpoint.slots > 0; });
  steps.Add("endpoints", absl::StrCat(facts.endpoints.size(), " of ", family, ", ", candidates,
                                      candidates == 1 ? " candidate" : " candidates"));
  TextTable table({{"ENDPOINT"}, {"NODE"}, {"STATE"}, {"OUTCOME"}});
  for (std::size_t i = 0; i < std::min(facts.endpoints.size(), kMaxEndpoints); ++i) {
    const TraceEndpoint& endpoint = facts.endpoints[i];
    const std::string& name = endpoint.backend.node;
    const std::string here = name.empty() ? "this node" : absl::StrCat(name, " (this node)");
    table.AddRow({FormatEndpoint(endpoint.backend.address, endpoint.backend.port),
                  endpoint.local ? here : name, endpoint.backend.state, Outcome(facts, endpoint)});
  }
  if (!table.empty()) steps.AddTable(table.Render());
  if (facts.endpoints.size() > kMaxEndpoints) {
    steps.Add("", absl::StrCat("and ", facts.endpoints.size() - kMaxEndpoints,
                               " more; `sluicectl service show` lists all"));
  }
}

// "at random", "by a hash of the client's address (maglev)", ...
std::string HowChosen(const TraceFacts& facts) {
  // A call on a socket has no source port yet.
  const bool host = facts.hook == TraceHook::kHost;
  switch (facts.frontend.has_value() ? facts.frontend->algorithm : 0) {
    case abi::SL_ALGORITHM_MAGLEV:
      return host ? "at random out of its Maglev table, as the call has no port yet,"
                  : "by a hash of both ends (maglev)";
    case abi::SL_ALGORITHM_MAGLEV_SOURCE:
      return "by a hash of the client's address (maglev)";
    case abi::SL_ALGORITHM_LEAST_CONNECTION:
      return "the one of two at random that has fewer connections (least-connection)";
    default:
      return "at random";
  }
}

void AddChoice(const TraceFacts& facts, Steps& steps) {
  const std::string& backend = facts.answer.backend;
  if (facts.answer.verdict != "forward") return;
  const bool bound = facts.binding.has_value() && facts.binding->over.empty();
  if (bound && facts.binding->endpoint == backend) {
    steps.Add("choice", absl::StrCat(backend, ", by session affinity"));
    return;
  }
  const auto candidates =
      std::count_if(facts.endpoints.begin(), facts.endpoints.end(),
                    [](const TraceEndpoint& endpoint) { return endpoint.slots > 0; });
  steps.Add("choice", candidates == 1 ? absl::StrCat(backend, ", the only candidate")
                                      : absl::StrCat(backend, ", ", HowChosen(facts), " among ",
                                                     candidates, " candidates"));
}

bool IsLocalBackend(const TraceFacts& facts) {
  return std::any_of(
      facts.endpoints.begin(), facts.endpoints.end(), [&](const TraceEndpoint& each) {
        return each.local &&
               FormatEndpoint(each.backend.address, each.backend.port) == facts.answer.backend;
      });
}

// Why the source was rewritten: in the order in which the program asks.
std::string WhyRewritten(const TraceFacts& facts) {
  if (facts.flow.has_value()) return "as with the packets of it before";
  const std::string client = FormatEndpoint(facts.answer.sent.source, 0);
  const auto backend = ParseEndpoint(facts.answer.backend);
  if (backend.ok() && FormatEndpoint(backend->address, 0) == client) {
    return "the client is the endpoint itself, and would take its own address for another's";
  }
  if (facts.scope() == abi::SL_SCOPE_EXTERNAL) {
    if (facts.Has(abi::SL_SERVICE_MASQUERADE)) return "ClusterIPs are masqueraded for the network";
    if (!IsLocalBackend(facts)) {
      return "the endpoint is on another node, and its replies have to come back here";
    }
  }
  return "the client has a connection from that port to the endpoint already";
}

void AddRewriting(const TraceFacts& facts, Steps& steps) {
  const TraceAnswer& answer = facts.answer;
  if (answer.verdict != "forward") return;
  const std::string before = FormatEndpoint(answer.sent.source, answer.sent.source_port);
  steps.Add("rewriting",
            absl::StrCat("destination ",
                         FormatEndpoint(answer.sent.destination, answer.sent.destination_port),
                         " -> ", answer.backend));
  if (facts.hook == TraceHook::kHost) {
    steps.Add("", "at connect(): no packet is rewritten, the source is what the kernel chooses");
  } else if (answer.source == before) {
    steps.Add("", absl::StrCat("source ", before, " kept"));
  } else {
    steps.Add("",
              absl::StrCat("source ", before, " -> ", answer.source, ": ", WhyRewritten(facts)));
  }
}

void AddVerdict(const TraceFacts& facts, Steps& steps) {
  const TraceAnswer& answer = facts.answer;
  if (answer.verdict == "none") {
    steps.Add("verdict", "none: it is not sluice's, and goes on untouched");
  } else if (answer.reason.empty()) {
    steps.Add("verdict", answer.verdict);
  } else {
    const std::string words(ReasonText(std::string_view(answer.reason)));
    steps.Add("verdict",
              absl::StrCat(answer.verdict, ": ", answer.reason, words.empty() ? "" : ", ", words));
  }
}

void AddNotes(const TraceFacts& facts, Steps& steps) {
  if (const std::string wrong = Disagreement(facts); !wrong.empty()) {
    steps.Add("note", absl::StrCat("this does not explain the answer (", wrong,
                                   "): the maps were changed meanwhile; ask again"));
  }
  if (!facts.agent_runs && facts.frontend.has_value()) {
    steps.Add("note",
              "no agent runs: nodes and states of endpoints, and those that are in no map, "
              "are not known");
  } else if (facts.agent_runs && !facts.agent_synced) {
    steps.Add("note", "the agent has not put in the maps what its source says");
  }
}

}  // namespace

std::string TraceWalk(const TraceFacts& facts) {
  Steps steps;
  AddPacket(facts, steps);
  AddFrontend(facts, steps);
  if (facts.flow.has_value()) {
    steps.Add("flow", absl::StrCat("an established connection to ", facts.flow_backend,
                                   ": the packet follows it, nothing else is asked"));
  } else if (facts.frontend.has_value() && AddScopeGuard(facts, steps) &&
             AddRangeGuard(facts, steps)) {
    AddAffinity(facts, steps);
    AddSet(facts, steps);
    AddEndpoints(facts, steps);
    AddChoice(facts, steps);
  }
  AddRewriting(facts, steps);
  AddVerdict(facts, steps);
  AddNotes(facts, steps);
  return steps.Take();
}

std::string TraceCounts(std::span<const TraceAnswer> answers) {
  using Key = std::tuple<std::string, std::string, std::string, std::string>;
  std::map<Key, std::uint64_t> counts;
  for (const TraceAnswer& answer : answers) {
    // The port is another one for each try.
    const auto source = ParseEndpoint(answer.source);
    const std::string shown = source.ok() ? source->address.ToString() : answer.source;
    ++counts[{answer.verdict, answer.backend, shown, answer.reason}];
  }
  std::vector<std::pair<Key, std::uint64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  TextTable table(
      {{"COUNT", TextTable::Align::kRight}, {"VERDICT"}, {"BACKEND"}, {"SOURCE"}, {"REASON"}});
  for (const auto& [key, count] : sorted) {
    const auto& [verdict, backend, source, reason] = key;
    table.AddRow({absl::StrCat(count), verdict, backend, source, reason});
  }
  return table.Render();
}

}  // namespace sluice::report
