// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot.h"

#include <arpa/inet.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/names.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kLongestWait = absl::Seconds(60);

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

Json ServiceJson(const ServiceSnapshot& entry) {
  Json backends = Json::array();
  for (const DesiredBackend& backend : entry.service.backends) {
    backends.push_back({{"address", backend.address.address.ToString()},
                        {"port", backend.address.port},
                        {"node", backend.node},
                        {"state", StateName(backend.state)}});
  }
  const ServicePortName& name = entry.service.name;
  return {{"namespace", name.name_space},   {"name", name.name},
          {"portName", name.port_name},     {"protocol", ProtocolName(name.protocol)},
          {"type", entry.service.type},     {"id", entry.id},
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
    shadowed.push_back({{"port", port.port},
                        {"protocol", ProtocolName(port.protocol)},
                        {"service", port.service}});
  }
  return shadowed;
}

std::string EndText(const abi::addr& addr, __be16 port) {
  const IpAddress address = IpAddress::FromAbi(addr);
  return address.is_v4() ? absl::StrCat(address.ToString(), ":", ntohs(port))
                         : absl::StrCat("[", address.ToString(), "]:", ntohs(port));
}

}  // namespace

bool IsHealthy(const Snapshot& snapshot) {
  return snapshot.synced && snapshot.taken_at - snapshot.waiting_since <= kLongestWait;
}

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
    json["services"].push_back(ServiceJson(service));
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

std::string HealthJson(const Snapshot& snapshot, bool with_node) {
  const bool healthy = IsHealthy(snapshot);
  const std::string updated =
      snapshot.last_applied == absl::InfinitePast() ? "" : TimeText(snapshot.last_applied);
  Json json;
  json["lastUpdated"] = updated;
  json["currentTime"] = TimeText(snapshot.taken_at);
  if (with_node) json["nodeEligible"] = snapshot.node_eligible;
  json["healthy"] = healthy && (!with_node || snapshot.node_eligible);
  for (const char* family : {"IPv4", "IPv6"}) {
    json["status"][family] = {{"lastUpdated", updated}, {"healthy", healthy}};
  }
  json["degraded"] = snapshot.degraded;
  return Dump(json);
}

}  // namespace sluice
