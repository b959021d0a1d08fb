// SPDX-License-Identifier: Apache-2.0
#include "control/desired/endpoint_sets.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/desired/node_table.h"

namespace sluice {
namespace {

// One appearance of an endpoint in a slice.
struct Candidate {
  const model::Endpoint* endpoint = nullptr;
  BackendState state = BackendState::kReady;
  bool terminating = false;
  bool local = false;

  // Which of two with the same address counts: the one that is not terminating, then the one of
  // more use.
  auto Rank() const { return std::tuple(terminating, state, !local, NodeName()); }
  std::string_view NodeName() const { return endpoint->node_name(); }
};

Candidate Judge(const model::Endpoint& endpoint, const NodeConfig& node) {
  const model::EndpointConditions& conditions = endpoint.conditions();
  const bool ready = !conditions.has_ready() || conditions.ready();
  const bool serving = conditions.has_serving() ? conditions.serving() : ready;
  Candidate candidate;
  candidate.endpoint = &endpoint;
  candidate.terminating = conditions.terminating();
  if (ready) {
    candidate.state = BackendState::kReady;
  } else if (serving && candidate.terminating) {
    candidate.state = BackendState::kTerminating;
  } else {
    candidate.state = BackendState::kNotReady;
  }
  candidate.local = endpoint.has_node_name() && !endpoint.node_name().empty() &&
                    endpoint.node_name() == node.node_name;
  return candidate;
}

bool Counts(const model::EndpointSlice& slice) {
  return !slice.metadata().labels().contains(kHeadlessLabel);
}

// Errors: INVALID_ARGUMENT saying what is wrong with the endpoint's address.
absl::StatusOr<IpAddress> AddressOf(const model::Endpoint& endpoint,
                                    const model::EndpointSlice& slice) {
  if (endpoint.addresses_size() == 0)
    return absl::InvalidArgumentError("an endpoint has no address");
  absl::StatusOr<IpAddress> address = ParseUnicast(endpoint.addresses(0));
  if (!address.ok()) return address;
  const char* family = address->is_v4() ? "IPv4" : "IPv6";
  if (slice.address_type() != family) {
    return absl::InvalidArgumentError(absl::StrCat("\"", endpoint.addresses(0), "\" is ", family,
                                                   ", but the slice's addressType is \"",
                                                   slice.address_type(), "\""));
  }
  return address;
}

bool IsPort(std::int32_t port) { return port >= 1 && port <= 65535; }

// The slice's ports that stand for `port`; different slices may give different numbers.
std::vector<std::uint16_t> TargetPorts(const PortSpec& port, const model::EndpointSlice& slice) {
  std::vector<std::uint16_t> targets;
  for (const model::EndpointPort& target : slice.ports()) {
    const std::string protocol = target.protocol().empty() ? "TCP" : target.protocol();
    if (target.name() == port.name && protocol == ProtocolName(port.protocol) &&
        IsPort(target.port())) {
      targets.push_back(static_cast<std::uint16_t>(target.port()));
    }
  }
  return targets;
}

enum class Topology { kAnywhere, kSameNode, kSameZone };

bool HintsNode(const model::Endpoint& endpoint, const std::string& node) {
  const auto& hints = endpoint.hints().for_nodes();
  return std::any_of(hints.begin(), hints.end(), [&](const auto& h) { return h.name() == node; });
}

bool HintsZone(const model::Endpoint& endpoint, const std::string& zone) {
  const auto& hints = endpoint.hints().for_zones();
  return !zone.empty() &&
         std::any_of(hints.begin(), hints.end(), [&](const auto& h) { return h.name() == zone; });
}

// Hints count only when every ready endpoint has one of the kind and some is for this node.
Topology ChooseTopology(const std::vector<const Candidate*>& ready, const NodeConfig& node) {
  bool all_have_node = true, some_for_node = false;
  bool all_have_zone = true, some_for_zone = false;
  for (const Candidate* candidate : ready) {
    const model::Endpoint& endpoint = *candidate->endpoint;
    all_have_node = all_have_node && endpoint.hints().for_nodes_size() > 0;
    all_have_zone = all_have_zone && endpoint.hints().for_zones_size() > 0;
    some_for_node = some_for_node || HintsNode(endpoint, node.node_name);
    some_for_zone = some_for_zone || HintsZone(endpoint, node.zone);
  }
  if (all_have_node && some_for_node) return Topology::kSameNode;
  if (all_have_zone && some_for_zone) return Topology::kSameZone;
  return Topology::kAnywhere;
}

bool Fits(const Candidate& candidate, Topology topology, const NodeConfig& node) {
  switch (topology) {
    case Topology::kAnywhere:
      return true;
    case Topology::kSameNode:
      return HintsNode(*candidate.endpoint, node.node_name);
    case Topology::kSameZone:
      return HintsZone(*candidate.endpoint, node.zone);
  }
  return true;
}

using CandidateMap = std::map<BackendAddress, Candidate>;

CandidateMap CandidatesOf(const PortSpec& port, std::span<const model::EndpointSlice* const> slices,
                          const NodeConfig& node) {
  CandidateMap candidates;
  for (const model::EndpointSlice* slice : slices) {
    if (!Counts(*slice)) continue;
    const std::vector<std::uint16_t> targets = TargetPorts(port, *slice);
    if (targets.empty()) continue;
    for (const model::Endpoint& endpoint : slice->endpoints()) {
      const absl::StatusOr<IpAddress> address = AddressOf(endpoint, *slice);
      if (!address.ok()) continue;
      const Candidate candidate = Judge(endpoint, node);
      for (std::uint16_t target : targets) {
        const auto [it, is_new] =
            candidates.try_emplace(BackendAddress{*address, target, port.protocol}, candidate);
        if (!is_new && candidate.Rank() < it->second.Rank()) it->second = candidate;
      }
    }
  }
  return candidates;
}

// Fills in the sets of one family's endpoints.
void MakeSets(const CandidateMap& candidates, bool v4, const NodeConfig& node,
              std::vector<DesiredBackend>& backends) {
  std::vector<const Candidate*> ready;
  bool local_ready = false;
  for (const auto& [address, candidate] : candidates) {
    if (address.address.is_v4() != v4 || candidate.state != BackendState::kReady) continue;
    ready.push_back(&candidate);
    local_ready = local_ready || candidate.local;
  }
  const Topology topology = ChooseTopology(ready, node);
  for (const auto& [address, candidate] : candidates) {
    if (address.address.is_v4() != v4) continue;
    const bool is_ready = candidate.state == BackendState::kReady;
    const bool falls_back = candidate.state == BackendState::kTerminating;
    DesiredBackend backend;
    backend.address = address;
    backend.state = candidate.state;
    backend.local = candidate.local;
    backend.in_cluster_set =
        ready.empty() ? falls_back : is_ready && Fits(candidate, topology, node);
    backend.in_local_set = candidate.local && (local_ready ? is_ready : falls_back);
    backends.push_back(backend);
  }
}

// False, with one line for the whole slice, when its endpoints are not named by IP addresses.
bool CheckAddressType(const model::EndpointSlice& slice, ProblemList& problems) {
  const std::string& type = slice.address_type();
  if (type == "IPv4" || type == "IPv6") return true;
  const std::string skipped =
      absl::StrCat("its ", slice.endpoints_size(), " endpoint(s) are skipped");
  if (type == "FQDN") {
    problems.Add(absl::StrCat("addressType: FQDN: names are not looked up; ", skipped));
  } else {
    problems.AddUnknown("addressType", type, skipped);
  }
  return false;
}

// Whether Kubernetes has it, whatever becomes of it here.
bool IsProtocol(const std::string& protocol) {
  return protocol.empty() || protocol == "TCP" || protocol == "UDP" || protocol == "SCTP";
}

}  // namespace

void CheckSlices(std::span<const model::EndpointSlice* const> slices,
                 std::vector<Problem>& problems) {
  for (const model::EndpointSlice* slice : slices) {
    if (!Counts(*slice)) continue;
    ProblemList list(absl::StrCat("EndpointSlice ", slice->metadata().name_space(), "/",
                                  slice->metadata().name()),
                     problems);
    const bool has_addresses = CheckAddressType(*slice, list);
    for (const model::Endpoint& endpoint : slice->endpoints()) {
      if (!has_addresses) break;
      const absl::StatusOr<IpAddress> address = AddressOf(endpoint, *slice);
      if (!address.ok()) {
        list.Add(absl::StrCat(address.status().message(), "; the endpoint is skipped"));
      }
    }
    for (const model::EndpointPort& port : slice->ports()) {
      // A slice without a port number is for consumers other than proxies.
      if (port.has_port() && !IsPort(port.port())) {
        list.Add(absl::StrCat("port \"", port.name(), "\": ", port.port(),
                              " is not within 1-65535; it is skipped"));
      } else if (!IsProtocol(port.protocol())) {
        list.AddUnknown(absl::StrCat("port \"", port.name(), "\": protocol"), port.protocol(),
                        "the port is skipped");
      }
    }
  }
}

std::vector<DesiredBackend> BackendsOf(const PortSpec& port,
                                       std::span<const model::EndpointSlice* const> slices,
                                       const NodeConfig& node, bool with_nodes) {
  const CandidateMap candidates = CandidatesOf(port, slices, node);
  std::vector<DesiredBackend> backends;
  backends.reserve(candidates.size());
  MakeSets(candidates, true, node, backends);
  MakeSets(candidates, false, node, backends);
  for (DesiredBackend& backend : backends) {
    if (!with_nodes || node.nodes == nullptr || backend.local) continue;
    backend.node = node.nodes->IndexOf(candidates.at(backend.address).NodeName());
  }
  std::sort(backends.begin(), backends.end());
  return backends;
}

bool HasPort(const model::EndpointSlice& slice, const PortSpec& port) {
  return Counts(slice) && !TargetPorts(port, slice).empty();
}

std::vector<std::string> NodeNamesOf(std::span<const DesiredBackend> backends, const PortSpec& port,
                                     std::span<const model::EndpointSlice* const> slices,
                                     const NodeConfig& node) {
  const CandidateMap candidates = CandidatesOf(port, slices, node);
  std::vector<std::string> names;
  names.reserve(backends.size());
  for (const DesiredBackend& backend : backends) {
    const auto it = candidates.find(backend.address);
    names.emplace_back(it == candidates.end() ? "" : it->second.NodeName());
  }
  return names;
}

}  // namespace sluice
