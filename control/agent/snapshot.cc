// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot.h"

#include <arpa/inet.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/names.h"
#include "control/desired/endpoint_sets.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

// Names come from manifests; text that is not UTF-8 must not keep the rest from being read.
std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

std::string_view StateName(BackendState state) {
  switch (state) {
    case BackendState::kReady:
      return "ready";
    case BackendState::kTerminating:
      return "terminating";
    case BackendState::kNotReady:
      break;
  }
  return "notReady";
}

std::vector<model::EndpointSlice> Unpack(const std::vector<std::string>& packed) {
  std::vector<model::EndpointSlice> slices(packed.size());
  for (std::size_t i = 0; i < slices.size(); ++i) slices[i].ParseFromString(packed[i]);  // ours
  return slices;
}

// Of the entry's backends, by place.
std::vector<std::string> NodeNames(const ServiceSnapshot& entry, const PortSpec& port,
                                   const std::vector<model::EndpointSlice>& slices,
                                   const std::string& own_node) {
  std::vector<const model::EndpointSlice*> pointers;
  for (const model::EndpointSlice& slice : slices) pointers.push_back(&slice);
  NodeConfig node;
  node.node_name = own_node;
  return NodeNamesOf(entry.service.backends, port, pointers, node);
}

// The slices of the Service: whether they have the port, and which ports they have.
Json SlicesJson(const ServiceSnapshot& entry, const PortSpec& port,
                const std::vector<model::EndpointSlice>& slices) {
  std::set<std::string> ports;
  bool has_port = false;
  for (const model::EndpointSlice& slice : slices) {
    has_port = has_port || HasPort(slice, port);
    for (const model::EndpointPort& each : slice.ports()) {
      ports.insert(
          absl::StrCat(each.name(), "/", each.protocol().empty() ? "TCP" : each.protocol()));
    }
  }
  return {{"names", entry.slice_names}, {"havePort", has_port}, {"ports", ports}};
}

const char* PolicyName(bool local) { return local ? "Local" : "Cluster"; }

Json ServiceJson(const ServiceSnapshot& entry, const std::string& own_node) {
  const ServicePortName& name = entry.service.name;
  const PortSpec port{.name = name.port_name, .protocol = name.protocol};
  const std::vector<model::EndpointSlice> slices = Unpack(entry.slices);
  const std::vector<std::string> nodes = NodeNames(entry, port, slices, own_node);
  Json backends = Json::array();
  for (std::size_t i = 0; i < entry.service.backends.size(); ++i) {
    const DesiredBackend& backend = entry.service.backends[i];
    backends.push_back({{"address", backend.address.address.ToString()},
                        {"port", backend.address.port},
                        {"node", nodes[i]},
                        {"state", StateName(backend.state)},
                        {"local", backend.local},
                        {"inClusterSet", backend.in_cluster_set},
                        {"inLocalSet", backend.in_local_set}});
  }
  return {{"namespace", name.name_space},
          {"name", name.name},
          {"portName", name.port_name},
          {"protocol", ProtocolName(name.protocol)},
          {"type", entry.service.type},
          {"id", entry.id},
          {"internalTrafficPolicy", PolicyName(entry.service.internal_local)},
          {"externalTrafficPolicy", PolicyName(entry.service.external_local)},
          {"refused", entry.refused},
          {"noLoadBalancerAddress", entry.no_load_balancer_address},
          {"slices", SlicesJson(entry, port, slices)},
          {"backends", std::move(backends)}};
}

Json InterfacesJson(const Snapshot& snapshot) {
  Json interfaces = Json::array();
  for (const AttachedInterface& interface : snapshot.interfaces) {
    interfaces.push_back({{"name", interface.name},
                          {"ifindex", interface.ifindex},
                          {"role", RoleName(interface.role)},
                          {"hooks", interface.hooks},
                          {"attach", interface.hooks.empty() ? "" : snapshot.attach},
                          {"error", interface.error}});
  }
  return interfaces;
}

Json ProblemsJson(const Snapshot& snapshot) {
  Json problems = Json::array();
  for (const ReportedProblem& problem : snapshot.problems) {
    problems.push_back(
        {{"origin", problem.origin}, {"object", problem.object}, {"message", problem.message}});
  }
  return problems;
}

// A moment; null when it has not come.
Json MomentJson(absl::Time time) {
  const bool is_moment = time != absl::InfiniteFuture() && time != absl::InfinitePast();
  return is_moment ? Json(TimeText(time)) : Json(nullptr);
}

// Null for a source that has nothing to lose touch with.
Json SourceJson(const SourceStatus& source) {
  if (source.streams.empty()) return nullptr;
  Json streams = Json::array();
  for (const StreamStatus& stream : source.streams) {
    streams.push_back({{"resource", stream.resource},
                       {"synced", stream.synced},
                       {"absent", stream.absent},
                       {"connected", stream.connected},
                       {"error", stream.error},
                       {"failingSince", MomentJson(stream.failing_since)},
                       {"lastHeard", MomentJson(stream.last_heard)},
                       {"resourceVersion", stream.version},
                       {"events", stream.events},
                       {"lists", stream.lists},
                       {"restarts", stream.restarts},
                       {"failures", stream.failures}});
  }
  return {{"server", source.server},
          {"awaySince", MomentJson(source.away_since)},
          {"streams", std::move(streams)}};
}

Json ShadowedJson(const Snapshot& snapshot) {
  Json shadowed = Json::array();
  for (const ShadowedPort& port : snapshot.shadowed) {
    Json entry = {
        {"port", port.port}, {"protocol", ProtocolName(port.protocol)}, {"service", port.service}};
    if (!port.process.empty()) entry["process"] = port.process;
    shadowed.push_back(std::move(entry));
  }
  return shadowed;
}

std::string EndText(const abi::addr& addr, __be16 port) {
  return IpAddress::FromAbi(addr).WithPort(ntohs(port));
}

}  // namespace

std::string SnapshotJson(const Snapshot& snapshot, const std::vector<MapUse>& maps) {
  Json json;
  json["nodeName"] = snapshot.node_name;
  json["startedAt"] = TimeText(snapshot.started_at);
  json["synced"] = snapshot.synced;
  json["sourceGeneration"] = snapshot.source_generation;
  json["appliedGeneration"] = snapshot.applied_generation;
  json["degraded"] = snapshot.degraded;
  json["source"] = SourceJson(snapshot.source);
  json["problems"] = ProblemsJson(snapshot);
  json["conflicts"] = Json::array();
  for (const Problem& conflict : snapshot.conflicts) {
    json["conflicts"].push_back({{"object", conflict.object}, {"message", conflict.message}});
  }
  json["interfaces"] = InterfacesJson(snapshot);
  json["nodeAddresses"] = Json::array();
  for (const IpAddress& address : snapshot.node_addresses) {
    json["nodeAddresses"].push_back(address.ToString());
  }
  json["features"] = snapshot.features;
  json["services"] = Json::array();
  for (const ServiceSnapshot& service : snapshot.services) {
    json["services"].push_back(ServiceJson(service, snapshot.node_name));
  }
  json["servicesNotServed"] = Json::array();
  for (const UnservedService& service : snapshot.unserved) {
    json["servicesNotServed"].push_back(
        {{"namespace", service.name_space}, {"name", service.name}, {"why", service.why}});
  }
  json["listenersShadowed"] = ShadowedJson(snapshot);
  json["timeouts"] = {{"tcpEstablished", absl::FormatDuration(snapshot.timeouts.tcp_established)},
                      {"tcpClosing", absl::FormatDuration(snapshot.timeouts.tcp_closing)},
                      {"tcpReset", absl::FormatDuration(snapshot.timeouts.tcp_reset)},
                      {"udp", absl::FormatDuration(snapshot.timeouts.udp)}};
  json["maps"] = Json::object();
  for (const MapUse& map : maps) json["maps"][map.name] = {{"used", map.used}, {"size", map.size}};
  return Dump(json);
}

std::string DropsJson(const Snapshot& snapshot) {
  Json drops = Json::array();
  for (const DropSample& sample : snapshot.drops) {
    const abi::drop_event& event = sample.event;
    drops.push_back({{"time", TimeText(sample.time)},
                     {"reason", ReasonName(event.reason)},
                     {"service", sample.service},
                     {"source", EndText(event.flow.source, event.flow.source_port)},
                     {"destination", EndText(event.flow.destination, event.flow.destination_port)},
                     {"protocol", ProtocolName(event.flow.protocol)},
                     {"interface", sample.interface},
                     {"hook", HookName(event.hook)},
                     {"length", event.length}});
  }
  return Dump(drops);
}

NoLocalEndpoints CountNoLocalEndpoints(const std::map<ServicePortName, DesiredService>& services) {
  // Several ports of one Service count as one.
  std::array<std::set<std::pair<std::string, std::string>>, kIpFamilies> internal, external;
  for (const auto& [name, service] : services) {
    if (!service.internal_local && !service.external_local) continue;
    std::array<bool, kIpFamilies> usable{}, local{};
    for (const DesiredBackend& backend : service.backends) {
      const std::size_t family = backend.address.address.is_v4() ? 0 : 1;
      usable[family] |= backend.in_cluster_set;
      local[family] |= backend.in_local_set;
    }
    for (std::size_t family = 0; family < kIpFamilies; ++family) {
      if (!usable[family] || local[family]) continue;
      if (service.internal_local) internal[family].emplace(name.name_space, name.name);
      if (service.external_local) external[family].emplace(name.name_space, name.name);
    }
  }
  NoLocalEndpoints counts;
  for (std::size_t family = 0; family < kIpFamilies; ++family) {
    counts.internal[family] = internal[family].size();
    counts.external[family] = external[family].size();
  }
  return counts;
}

}  // namespace sluice
