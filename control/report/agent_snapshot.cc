// SPDX-License-Identifier: Apache-2.0
#include "control/report/agent_snapshot.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "control/base/names.h"

namespace sluice::report {
namespace {

// Sets `to` from a field that is there; an absent or null field leaves it. Throws Json::type_error
// for another type or when `object` is none, which Parse() below turns into a Status.
template <typename T>
void Read(const Json& object, const char* field, T& to) {
  object.get_ref<const Json::object_t&>();  // find() takes other types for empty ones
  const auto found = object.find(field);
  if (found != object.end() && !found->is_null()) found->get_to(to);
}

// The elements of an array field; none when it is absent or null.
Json Elements(const Json& object, const char* field) {
  Json elements = Json::array();
  Read(object, field, elements);
  if (!elements.is_array()) {
    // The library's own check, so that the error reads like its others.
    elements.get_ref<const Json::array_t&>();
  }
  return elements;
}

// A sentence, or an object with a sentence as "message" (and what it is about as "object").
std::string Sentence(const Json& element) {
  if (element.is_string()) return element.get<std::string>();
  std::string object;
  std::string message;
  Read(element, "object", object);
  Read(element, "message", message);
  if (message.empty()) return element.dump();
  return object.empty() ? message : absl::StrCat(object, ": ", message);
}

AgentService ReadService(const Json& json) {
  AgentService service;
  Read(json, "namespace", service.name_space);
  Read(json, "name", service.name);
  Read(json, "portName", service.port_name);
  Read(json, "protocol", service.protocol);
  Read(json, "type", service.type);
  Read(json, "id", service.id);
  Read(json, "internalTrafficPolicy", service.internal_policy);
  Read(json, "externalTrafficPolicy", service.external_policy);
  Read(json, "refused", service.refused);
  Read(json, "noLoadBalancerAddress", service.no_load_balancer_address);
  Json slices = Json::object();
  Read(json, "slices", slices);
  Read(slices, "names", service.slices);
  Read(slices, "ports", service.slice_ports);
  Read(slices, "havePort", service.slices_have_port);
  for (const Json& element : Elements(json, "backends")) {
    AgentBackend backend;
    std::string address;
    Read(element, "address", address);
    Read(element, "port", backend.port);
    Read(element, "node", backend.node);
    Read(element, "state", backend.state);
    Read(element, "local", backend.local);
    Read(element, "inClusterSet", backend.in_cluster_set);
    Read(element, "inLocalSet", backend.in_local_set);
    // An address that does not parse matches no row of a map, so nothing could be shown for it.
    if (const auto parsed = IpAddress::Parse(address); parsed.ok()) {
      backend.address = *parsed;
      service.backends.push_back(std::move(backend));
    }
  }
  return service;
}

AgentInterface ReadInterface(const Json& json) {
  AgentInterface interface;
  Read(json, "name", interface.name);
  Read(json, "ifindex", interface.ifindex);
  Read(json, "role", interface.role);
  Read(json, "hooks", interface.hooks);
  Read(json, "attach", interface.attach);
  Read(json, "error", interface.error);
  return interface;
}

AgentSnapshot ReadSnapshot(const Json& json) {
  AgentSnapshot snapshot;
  Read(json, "nodeName", snapshot.node_name);
  Read(json, "startedAt", snapshot.started_at);
  Read(json, "synced", snapshot.synced);
  Read(json, "sourceGeneration", snapshot.source_generation);
  Read(json, "appliedGeneration", snapshot.applied_generation);
  Read(json, "nodeAddresses", snapshot.node_addresses);
  Read(json, "features", snapshot.features);
  Read(json, "timeouts", snapshot.timeouts);
  Read(json, "source", snapshot.source);
  for (const Json& element : Elements(json, "degraded")) {
    snapshot.degraded.push_back(Sentence(element));
  }
  for (const Json& element : Elements(json, "conflicts")) {
    snapshot.conflicts.push_back(Sentence(element));
  }
  for (const Json& element : Elements(json, "problems")) {
    AgentProblem& problem = snapshot.problems.emplace_back();
    Read(element, "origin", problem.origin);
    Read(element, "object", problem.object);
    Read(element, "message", problem.message);
  }
  for (const Json& element : Elements(json, "listenersShadowed")) {
    ShadowedListener& listener = snapshot.listeners_shadowed.emplace_back();
    Read(element, "port", listener.port);
    Read(element, "protocol", listener.protocol);
    Read(element, "service", listener.service);
    Read(element, "process", listener.process);
  }
  for (const Json& element : Elements(json, "interfaces")) {
    snapshot.interfaces.push_back(ReadInterface(element));
  }
  for (const Json& element : Elements(json, "services")) {
    snapshot.services.push_back(ReadService(element));
  }
  for (const Json& element : Elements(json, "servicesNotServed")) {
    AgentUnserved& unserved = snapshot.unserved.emplace_back();
    Read(element, "namespace", unserved.name_space);
    Read(element, "name", unserved.name);
    Read(element, "why", unserved.why);
  }
  return snapshot;
}

std::vector<AgentDrop> ReadDrops(const Json& json) {
  std::vector<AgentDrop> drops;
  for (const Json& element : json.is_array() ? json : Elements(json, "samples")) {
    AgentDrop& drop = drops.emplace_back();
    Read(element, "time", drop.time);
    Read(element, "reason", drop.reason);
    Read(element, "service", drop.service);
    Read(element, "source", drop.source);
    Read(element, "destination", drop.destination);
    Read(element, "protocol", drop.protocol);
    Read(element, "interface", drop.interface);
    Read(element, "hook", drop.hook);
    Read(element, "length", drop.length);
  }
  return drops;
}

// Runs `read` on the parsed body, with the JSON library's exceptions as a Status.
template <typename T>
absl::StatusOr<T> Parse(std::string_view body, T (*read)(const Json&)) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() && !json.is_array()) {
    return absl::InvalidArgumentError("the agent's answer is not JSON");
  }
  try {
    return read(json);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("the agent's answer is not as expected: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<AgentSnapshot> ParseAgentSnapshot(std::string_view body) {
  return Parse<AgentSnapshot>(body, &ReadSnapshot);
}

std::map<ServicePortName, const AgentService*> ServicesByName(const AgentSnapshot* agent) {
  std::map<ServicePortName, const AgentService*> services;
  if (agent == nullptr) return services;
  for (const AgentService& service : agent->services) {
    const std::uint32_t protocol = ProtocolNumber(service.protocol).value_or(0);
    services[{service.name_space, service.name, service.port_name, protocol}] = &service;
  }
  return services;
}

absl::StatusOr<std::vector<AgentDrop>> ParseAgentDrops(std::string_view body) {
  return Parse<std::vector<AgentDrop>>(body, &ReadDrops);
}

}  // namespace sluice::report
