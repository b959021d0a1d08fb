// SPDX-License-Identifier: Apache-2.0
#include "control/report/service_notes.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/names.h"
#include "control/report/endpoint_text.h"
#include "control/report/reason_text.h"

namespace sluice::report {
namespace {

enum Family { kV4, kV6, kFamilies };

constexpr std::array<const char*, kFamilies> kFamilyNames = {"IPv4", "IPv6"};

Family FamilyOf(const IpAddress& address) { return address.is_v4() ? kV4 : kV6; }

// Of one family: what its frontends ask for and what there is for them.
struct FamilyFacts {
  bool cluster_ip = false;  // it has a ClusterIP
  bool outside = false;     // it has addresses for clients outside
  // As the rows say it, for when no agent does: nobody at all, or nobody on this node.
  bool nobody = false;
  bool nobody_for_pods = false;
  bool nobody_for_outside = false;
  std::vector<const AgentBackend*> endpoints;

  bool served() const { return cluster_ip || outside; }
  std::size_t Count(bool (*is)(const AgentBackend&)) const {
    return static_cast<std::size_t>(
        std::count_if(endpoints.begin(), endpoints.end(),
                      [&](const AgentBackend* backend) { return is(*backend); }));
  }
};

using Facts = std::array<FamilyFacts, kFamilies>;

bool InClusterSet(const AgentBackend& backend) { return backend.in_cluster_set; }
bool InLocalSet(const AgentBackend& backend) { return backend.in_local_set; }
bool IsReady(const AgentBackend& backend) { return backend.state == "ready"; }
bool IsReadyHere(const AgentBackend& backend) { return IsReady(backend) && backend.local; }

Facts FactsOf(const PinnedState& state, std::uint32_t id, const AgentService* service) {
  Facts facts;
  for (const auto& [key, row] : state.frontends) {
    if (id == 0 || row.id != id || !IsReachedByClients(row.kind)) continue;
    FamilyFacts& family = facts[FamilyOf(IpAddress::FromAbi(key.address))];
    (row.kind == abi::SL_FRONTEND_CLUSTER_IP ? family.cluster_ip : family.outside) = true;
    const bool pods = row.slots[abi::SL_SCOPE_INTERNAL].count == 0;
    const bool outside = row.slots[abi::SL_SCOPE_EXTERNAL].count == 0;
    const bool elsewhere = (row.flags & abi::SL_SERVICE_HAS_ENDPOINTS) != 0;
    family.nobody |= !elsewhere;
    family.nobody_for_pods |= elsewhere && pods;
    family.nobody_for_outside |= elsewhere && outside && row.kind != abi::SL_FRONTEND_CLUSTER_IP;
  }
  if (service == nullptr) return facts;
  for (const AgentBackend& backend : service->backends) {
    facts[FamilyOf(backend.address)].endpoints.push_back(&backend);
  }
  return facts;
}

// "2 not ready, 1 terminating": by state, in the order of usefulness.
std::string StatesText(const FamilyFacts& family) {
  std::vector<std::string> texts;
  for (const auto& [state, words] :
       {std::pair("terminating", "terminating and serving"), std::pair("notReady", "not ready")}) {
    const auto count =
        std::count_if(family.endpoints.begin(), family.endpoints.end(),
                      [&](const AgentBackend* each) { return each->state == state; });
    if (count > 0) texts.push_back(absl::StrCat(count, " ", words));
  }
  return absl::StrJoin(texts, ", ");
}

constexpr char kInternalEmpty[] =
    "internalTrafficPolicy is Local and no usable endpoint is on this node: traffic of its pods to "
    "the ClusterIP is dropped";
constexpr char kExternalEmpty[] =
    "externalTrafficPolicy is Local and no usable endpoint is on this node: traffic from outside "
    "is dropped here";

// By the maps alone.
std::vector<std::string> NotesOfRows(const FamilyFacts& family) {
  std::vector<std::string> notes;
  if (family.nobody) notes.emplace_back("no endpoint takes new connections: traffic is rejected");
  if (family.nobody_for_pods) notes.emplace_back(kInternalEmpty);
  if (family.nobody_for_outside) notes.emplace_back(kExternalEmpty);
  return notes;
}

std::vector<std::string> NotesOfEndpoints(const FamilyFacts& family, const AgentService& service) {
  std::vector<std::string> notes;
  const std::size_t usable = family.Count(InClusterSet);
  const std::size_t local = family.Count(InLocalSet);
  if (family.endpoints.empty()) {
    notes.emplace_back("it has no endpoints: traffic is rejected");
  } else if (usable == 0 && local == 0) {
    notes.push_back(absl::StrCat("none of its ", family.endpoints.size(), " endpoints is ready (",
                                 StatesText(family), "): traffic is rejected"));
  } else if (family.Count(IsReady) == 0) {
    notes.push_back(absl::StrCat("no endpoint is ready; ", usable,
                                 " that are terminating and still serve are used"));
  }
  const bool outside_is_local = service.external_policy == "Local" && family.outside;
  if (outside_is_local && local > 0 && family.Count(IsReady) > 0 &&
      family.Count(IsReadyHere) == 0) {
    notes.push_back(absl::StrCat("externalTrafficPolicy is Local and no endpoint of this node is ",
                                 "ready; ", local,
                                 " terminating here still serve traffic from outside"));
  }
  if (usable == 0 || local > 0) return notes;
  if (service.internal_policy == "Local" && family.cluster_ip) notes.emplace_back(kInternalEmpty);
  if (outside_is_local) notes.emplace_back(kExternalEmpty);
  return notes;
}

// What is said of both families is said once.
void AddFamilyNotes(const Facts& facts, const AgentService* service,
                    std::vector<std::string>& notes) {
  std::array<std::vector<std::string>, kFamilies> each;
  for (const Family family : {kV4, kV6}) {
    if (!facts[family].served()) continue;
    each[family] =
        service == nullptr ? NotesOfRows(facts[family]) : NotesOfEndpoints(facts[family], *service);
  }
  const bool dual = facts[kV4].served() && facts[kV6].served();
  if (!dual || each[kV4] == each[kV6]) {
    const auto& only = facts[kV4].served() ? each[kV4] : each[kV6];
    notes.insert(notes.end(), only.begin(), only.end());
    return;
  }
  for (const Family family : {kV4, kV6}) {
    for (const std::string& note : each[family]) {
      notes.push_back(absl::StrCat(kFamilyNames[family], ": ", note));
    }
  }
}

// Whether some frontend sends new connections to the endpoint: a set that no policy asks for is in
// no map.
bool IsWanted(const AgentBackend& backend, const AgentService& service, const FamilyFacts& family) {
  const bool internal_local = service.internal_policy == "Local";
  const bool external_local = service.external_policy == "Local";
  const bool uses_cluster_set = family.outside || (family.cluster_ip && !internal_local);
  const bool uses_local_set =
      (family.cluster_ip && internal_local) || (family.outside && external_local);
  return (backend.in_cluster_set && uses_cluster_set) || (backend.in_local_set && uses_local_set);
}

// The endpoints that should take connections and do not, by the maps.
void AddUnprogrammed(const PinnedState& state, std::uint32_t id, const ServicePortName& name,
                     const AgentService& service, const Facts& facts,
                     std::vector<std::string>& notes) {
  std::set<BackendAddress> usable;
  for (const auto& [backend_id, row] : state.backends) {
    if (id == 0 || row.service_id != id || !(row.flags & abi::SL_BACKEND_USABLE)) continue;
    usable.insert({IpAddress::FromAbi(row.address), PortOf(row.port), row.protocol});
  }
  std::size_t missing = 0;
  std::string first;
  for (const AgentBackend& backend : service.backends) {
    if (!IsWanted(backend, service, facts[FamilyOf(backend.address)])) continue;
    if (usable.contains({backend.address, backend.port, name.protocol})) continue;
    if (missing++ == 0) first = FormatEndpoint(backend.address, backend.port);
  }
  if (missing == 0) return;
  notes.push_back(absl::StrCat(missing, " endpoint(s) that should take connections are not in the ",
                               "maps yet, the first is ", first));
}

// Why there are no endpoints of the port at all. False: there are, or the slices do not say.
bool AddSliceNotes(const AgentService& service, std::vector<std::string>& notes) {
  if (!service.backends.empty()) return false;
  if (service.slices.empty()) {
    notes.emplace_back(
        "no EndpointSlice names it (label kubernetes.io/service-name): traffic is "
        "rejected");
    return true;
  }
  if (service.slices_have_port) return false;
  const std::string port = service.port_name.empty()
                               ? "no unnamed port"
                               : absl::StrCat("no port \"", service.port_name, "\"");
  const std::string others =
      service.slice_ports.empty()
          ? "none at all"
          : absl::StrCat("\"", absl::StrJoin(service.slice_ports, "\", \""), "\"");
  notes.push_back(absl::StrCat("its EndpointSlices have ", port, " of ", service.protocol,
                               ", they have ", others, ": traffic is rejected"));
  return true;
}

void AddConflicts(const AgentSnapshot& agent, const ServicePortName& name,
                  std::vector<std::string>& notes) {
  const std::string object = absl::StrCat("Service ", name.name_space, "/", name.name, ": ");
  const std::string port = absl::StrCat("of port \"", name.port_name, "\"");
  for (const std::string& conflict : agent.conflicts) {
    if (!absl::StartsWith(conflict, object) || !absl::StrContains(conflict, port)) continue;
    notes.push_back(absl::StrCat("not served: ", conflict.substr(object.size())));
  }
}

bool IsReject(std::uint32_t reason) {
  return reason == abi::SL_REASON_NO_BACKEND || reason == abi::SL_REASON_NO_SUCH_PORT ||
         reason == abi::SL_REASON_BACKEND_GONE || reason == abi::SL_REASON_NO_FLOW;
}

// When the last of those sampled was; empty: none was.
std::string LastTime(std::span<const AgentDrop> samples, const std::string& service,
                     std::string_view reason) {
  std::string last;
  for (const AgentDrop& sample : samples) {  // newest last
    if (sample.service == service && sample.reason == reason) last = sample.time;
  }
  return last;
}

void AddDrops(const PinnedState& state, std::uint32_t id, const ServicePortName& name,
              std::span<const AgentDrop> samples, std::vector<std::string>& notes) {
  std::multimap<std::uint64_t, std::uint32_t, std::greater<>> by_count;
  for (const auto& [key, count] : state.drops) {
    // Of a full table of flows nothing is dropped.
    const bool dropped = key.reason != abi::SL_REASON_FLOWS_FULL && count.packets != 0;
    if (id != 0 && key.service_id == id && dropped) by_count.emplace(count.packets, key.reason);
  }
  for (const auto& [packets, reason] : by_count) {
    const std::string reason_name(ReasonName(reason));
    const std::string last = LastTime(samples, ServiceLabel(name), reason_name);
    notes.push_back(absl::StrCat(packets, packets == 1 ? " packet " : " packets ",
                                 IsReject(reason) ? "rejected: " : "dropped: ", reason_name, " (",
                                 std::string(ReasonText(reason)), ")",
                                 last.empty() ? "" : ", the last sampled at ", last));
  }
}

}  // namespace

std::vector<std::string> ServiceNotes(const PinnedState& state, std::uint32_t id,
                                      const ServicePortName& name, const AgentService* service,
                                      const AgentSnapshot* agent,
                                      std::span<const AgentDrop> samples) {
  std::vector<std::string> notes;
  const Facts facts = FactsOf(state, id, service);
  const bool served = facts[kV4].served() || facts[kV6].served();
  if (service != nullptr && !service->refused.empty()) {
    notes.push_back(absl::StrCat(id == 0 ? "not in the maps: " : "not in the maps as it is now: ",
                                 service->refused));
  } else if (!served) {
    notes.emplace_back(id == 0 ? "not in the maps yet" : "it has no address on this node");
  }
  if (agent == nullptr) {
    notes.emplace_back("no agent runs: endpoints that come or go are not followed");
  } else if (!agent->synced) {
    notes.emplace_back(
        "the agent has not put in the maps what its source says: they may be of before");
  }
  if (service == nullptr || !AddSliceNotes(*service, notes)) AddFamilyNotes(facts, service, notes);
  if (service != nullptr) {
    if (service->refused.empty() && id != 0)
      AddUnprogrammed(state, id, name, *service, facts, notes);
    if (!service->no_load_balancer_address.empty()) {
      notes.push_back(service->no_load_balancer_address);
    }
  }
  if (agent != nullptr) AddConflicts(*agent, name, notes);
  AddDrops(state, id, name, samples, notes);
  return notes;
}

std::vector<AgentProblem> ServiceProblems(const AgentSnapshot& agent, const std::string& name_space,
                                          const std::string& name,
                                          const std::vector<std::string>& slices) {
  std::set<std::string> objects = {absl::StrCat("Service ", name_space, "/", name)};
  for (const std::string& slice : slices) {
    objects.insert(absl::StrCat("EndpointSlice ", name_space, "/", slice));
  }
  std::vector<AgentProblem> problems;
  for (const AgentProblem& problem : agent.problems) {
    if (objects.contains(problem.object)) problems.push_back(problem);
  }
  return problems;
}

}  // namespace sluice::report
