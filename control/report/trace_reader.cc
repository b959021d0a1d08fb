// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace_reader.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/report/map_reader.h"
#include "control/report/pinned_state.h"

namespace sluice::report {
namespace {

constexpr std::size_t kMaxPorts = 4;
constexpr std::uint64_t kTickNs = std::uint64_t{1} << abi::SL_TICK_SHIFT;

abi::sl_family FamilyOf(const IpAddress& address) {
  return address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
}

// "10.96.0.0/16" if the address is in the range, else empty.
std::string RangeText(const abi::addr_range& range, const IpAddress& address) {
  const abi::addr bytes = address.ToAbi();
  unsigned length = 0;
  for (int i = 0; i < 4; ++i) {
    if ((bytes.w[i] & range.mask.w[i]) != range.prefix.w[i]) return "";
    length += static_cast<unsigned>(std::popcount(range.mask.w[i]));
  }
  if (length == 0) return "";  // not set
  return absl::StrCat(IpAddress::FromAbi(range.prefix).ToString(), "/",
                      address.is_v4() ? length - 96 : length);
}

absl::Status ReadAddress(const MapSet& maps, const IpAddress& address, TraceFacts& facts) {
  abi::service_key key{};
  key.address = address.ToAbi();
  ASSIGN_OR_RETURN(facts.address_row, maps.services().Lookup(key));
  ASSIGN_OR_RETURN(const auto rows, maps.services().Dump());
  std::map<std::pair<std::uint16_t, std::uint32_t>, std::uint32_t> ports;
  for (const auto& [each, row] : rows) {
    if (!IsReachedByClients(row.kind) || each.address != key.address) continue;
    ports[{PortOf(each.port), each.protocol}] = row.id;
  }
  for (const auto& [port, id] : ports) {
    if (facts.ports.size() == kMaxPorts) {
      facts.ports.push_back(absl::StrCat(ports.size() - kMaxPorts, " more"));
      break;
    }
    ASSIGN_OR_RETURN(const std::string label, ReadServiceLabel(maps.service_names(), id));
    facts.ports.push_back(
        absl::StrCat(port.first, "/", ProtocolName(port.second), " (", label, ")"));
  }
  return absl::OkStatus();
}

absl::Status ReadFlow(const MapSet& maps, TraceFacts& facts) {
  const PacketEnds& sent = facts.answer.sent;
  abi::flow key{};
  key.source = sent.source.ToAbi();
  key.source_port = htons(sent.source_port);
  key.destination = sent.destination.ToAbi();
  key.destination_port = htons(sent.destination_port);
  key.protocol = sent.protocol;
  ASSIGN_OR_RETURN(const auto entry, maps.flows().Lookup(key));
  if (!entry.has_value() || !(entry->flags & abi::SL_FLOW_FORWARD)) return absl::OkStatus();
  // Such a SYN opens another connection in the place of the one that is over.
  if (!IsOpen(*entry) && (entry->flags & abi::SL_FLOW_CLOSED) == abi::SL_FLOW_CLOSED) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto backend, maps.backends().Lookup(entry->backend_id));
  const bool lives = backend.has_value() && backend->generation == entry->backend_generation &&
                     (backend->flags & abi::SL_BACKEND_PRESENT) != 0;
  if (!lives) return absl::OkStatus();
  facts.flow = *entry;
  facts.flow_backend = FormatAbiEndpoint(entry->new_destination, entry->new_destination_port);
  return absl::OkStatus();
}

absl::Status ReadRanges(const MapSet& maps, TraceFacts& facts) {
  ASSIGN_OR_RETURN(const auto rows, maps.source_ranges().Dump());
  for (const auto& [key, row] : rows) {
    const IpAddress address = IpAddress::FromAbi(key.address);
    const bool v4 = address.is_v4();
    if (key.service_id != facts.frontend->id || v4 != facts.answer.sent.source.is_v4()) continue;
    const unsigned length = key.prefix_len - 32 - (v4 ? 96 : 0);
    auto range = IpPrefix::Parse(absl::StrCat(address.ToString(), "/", length));
    if (range.ok()) facts.ranges.push_back(*range);
  }
  std::sort(facts.ranges.begin(), facts.ranges.end());
  return absl::OkStatus();
}

absl::Status ReadBinding(const MapSet& maps, std::uint64_t now_ns, TraceFacts& facts) {
  abi::affinity_key key{};
  key.service_id = facts.frontend->id;
  key.client = facts.answer.sent.source.ToAbi();
  ASSIGN_OR_RETURN(const auto bound, maps.affinity().Lookup(key));
  if (!bound.has_value()) return absl::OkStatus();
  TraceBinding& binding = facts.binding.emplace();
  const auto now = static_cast<std::uint32_t>(now_ns >> abi::SL_TICK_SHIFT);
  const std::uint64_t idle_ticks = static_cast<std::uint32_t>(now + 1 - bound->last_used);
  // One tick more than it is, as the program has it: clocks of two CPUs may be that far apart.
  const std::uint64_t idle_ns = idle_ticks * kTickNs;
  binding.idle_s = (idle_ns - std::min(idle_ns, kTickNs)) / 1'000'000'000;
  ASSIGN_OR_RETURN(const auto backend, maps.backends().Lookup(bound->backend_id));
  const bool same = backend.has_value() && backend->generation == bound->backend_generation &&
                    (backend->flags & abi::SL_BACKEND_PRESENT) != 0;
  if (same) binding.endpoint = FormatAbiEndpoint(backend->address, backend->port);
  if (idle_ns > facts.frontend->affinity_s * std::uint64_t{1'000'000'000} + kTickNs) {
    binding.over = "the time is over";
  } else if (!same || !(backend->flags & abi::SL_BACKEND_USABLE)) {
    binding.over = "the endpoint takes no new connections";
  } else if (facts.IsLocalSet() && !(backend->flags & abi::SL_BACKEND_LOCAL)) {
    binding.over = "the endpoint is on another node, and the policy is Local";
  }
  return absl::OkStatus();
}

absl::Status ReadEndpoints(const MapSet& maps, const AgentService* service, TraceFacts& facts) {
  std::map<std::uint32_t, std::uint32_t> slots;
  const abi::slot_range& range = facts.frontend->slots[facts.scope()];
  for (std::uint32_t i = 0; i < range.count && range.offset + i < maps.slots().size(); ++i) {
    ++slots[maps.slots().Read(range.offset + i)];
  }
  const bool v4 = facts.answer.sent.destination.is_v4();
  std::map<std::pair<IpAddress, std::uint16_t>, TraceEndpoint> endpoints;
  ASSIGN_OR_RETURN(const auto rows, maps.backends().Dump());
  for (const auto& [id, row] : rows) {
    const IpAddress address = IpAddress::FromAbi(row.address);
    if (row.service_id != facts.frontend->id || address.is_v4() != v4) continue;
    if (!(row.flags & abi::SL_BACKEND_PRESENT) || row.flags & abi::SL_BACKEND_ORPHAN) continue;
    TraceEndpoint& endpoint = endpoints[{address, PortOf(row.port)}];
    endpoint.in_maps = true;
    endpoint.usable = (row.flags & abi::SL_BACKEND_USABLE) != 0;
    endpoint.local = (row.flags & abi::SL_BACKEND_LOCAL) != 0;
    const auto named = slots.find(id);
    if (named != slots.end() && endpoint.usable) endpoint.slots = named->second;
  }
  for (const AgentBackend& backend :
       service == nullptr ? std::vector<AgentBackend>() : service->backends) {
    if (backend.address.is_v4() != v4) continue;
    TraceEndpoint& endpoint = endpoints[{backend.address, backend.port}];
    endpoint.backend = backend;
    endpoint.agent_knows = true;
    endpoint.local = endpoint.in_maps ? endpoint.local : backend.local;
  }
  for (auto& [place, endpoint] : endpoints) {
    endpoint.backend.address = place.first;
    endpoint.backend.port = place.second;
    facts.endpoints.push_back(std::move(endpoint));
  }
  return absl::OkStatus();
}

absl::Status ReadService(const MapSet& maps, const AgentSnapshot* agent, std::uint64_t now_ns,
                         TraceFacts& facts) {
  const std::uint32_t id = facts.frontend->id;
  ASSIGN_OR_RETURN(facts.service, ReadServiceLabel(maps.service_names(), id));
  ASSIGN_OR_RETURN(const auto name, maps.service_names().Lookup(id));
  const auto services = ServicesByName(agent);
  const auto found = services.find(FromAbiName(name.value_or(abi::service_name{})));
  RETURN_IF_ERROR(ReadRanges(maps, facts));
  if (facts.Has(abi::SL_SERVICE_AFFINITY) && facts.hook != TraceHook::kHost) {
    RETURN_IF_ERROR(ReadBinding(maps, now_ns, facts));
  }
  return ReadEndpoints(maps, found == services.end() ? nullptr : found->second, facts);
}

}  // namespace

absl::StatusOr<TraceFacts> ReadTraceFacts(const MapSet& maps, TraceHook hook,
                                          const TraceAnswer& answer, const AgentSnapshot* agent,
                                          std::uint64_t now_ns) {
  TraceFacts facts;
  facts.hook = hook;
  facts.answer = answer;
  facts.agent_runs = agent != nullptr;
  facts.agent_synced = agent != nullptr && agent->synced;
  IpAddress destination = answer.sent.destination;
  const abi::sl_family family = FamilyOf(destination);
  ASSIGN_OR_RETURN(const auto config, maps.config().Lookup(0));
  if (config.has_value()) {
    const IpAddress node = IpAddress::FromAbi(config->node_address[family]);
    if (!node.is_unspecified()) facts.node_address = node;
    facts.service_range = RangeText(config->service_range[family], destination);
  }
  // The node's own processes reach node ports by loopback too.
  const bool loopback = hook == TraceHook::kHost && destination.is_loopback();
  if (loopback && facts.node_address.has_value()) destination = *facts.node_address;
  abi::service_key key{};
  key.address = destination.ToAbi();
  key.port = htons(answer.sent.destination_port);
  key.protocol = answer.sent.protocol;
  ASSIGN_OR_RETURN(facts.frontend, maps.services().Lookup(key));
  if (loopback && facts.frontend.has_value() &&
      facts.frontend->kind != abi::SL_FRONTEND_NODE_PORT) {
    facts.frontend.reset();
  }
  if (hook != TraceHook::kHost) RETURN_IF_ERROR(ReadFlow(maps, facts));
  if (facts.frontend.has_value()) {
    RETURN_IF_ERROR(ReadService(maps, agent, now_ns, facts));
  } else if (!loopback) {
    RETURN_IF_ERROR(ReadAddress(maps, destination, facts));
  }
  return facts;
}

}  // namespace sluice::report
