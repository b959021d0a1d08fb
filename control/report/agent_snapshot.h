// SPDX-License-Identifier: Apache-2.0
// What a running agent says of itself (GET /v1/snapshot): the things that are in no map. Values
// only. Everything that the pinned maps hold is read from the maps, agent or not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "control/desired/desired_state.h"
#include "control/model/ip_address.h"
#include "control/report/json.h"

namespace sluice::report {

struct AgentBackend {
  IpAddress address;
  std::uint16_t port = 0;
  std::string node;   // empty: not said
  std::string state;  // "ready", "terminating", "notReady"
  bool local = false;
  bool in_cluster_set = false;  // takes new connections where the policy is Cluster
  bool in_local_set = false;    // and where it is Local
};

struct AgentService {
  std::string name_space;
  std::string name;
  std::string port_name;
  std::string protocol;  // "TCP"
  std::string type;      // "ClusterIP", "NodePort", "LoadBalancer"
  std::uint32_t id = 0;
  std::vector<AgentBackend> backends;
  std::string internal_policy;  // "Cluster", "Local"; empty: an agent that does not say
  std::string external_policy;
  std::string refused;                   // why it is not in the maps as it should be
  std::string no_load_balancer_address;  // why it has none that sluice could serve
  std::vector<std::string> slices;       // names
  std::vector<std::string> slice_ports;  // "name/TCP": of all slices
  bool slices_have_port = false;         // some slice has this port
};

// A Service that is there and not served.
struct AgentUnserved {
  std::string name_space;
  std::string name;
  std::string why;
};

struct AgentProblem {
  std::string origin;  // file or stream
  std::string object;
  std::string message;
};

// A socket of the host that listens on a port which a NodePort takes.
struct ShadowedListener {
  std::uint16_t port = 0;
  std::string protocol;
  std::string service;
  std::string process;  // empty: not known
};

struct AgentInterface {
  std::string name;
  std::uint32_t ifindex = 0;
  std::string role;  // "pod", "uplink"
  std::vector<std::string> hooks;
  std::string attach;  // "tcx", "clsact"
  std::string error;   // empty: attached
};

struct AgentSnapshot {
  std::string node_name;
  std::string started_at;  // RFC 3339
  bool synced = false;
  std::uint64_t source_generation = 0;
  std::uint64_t applied_generation = 0;
  std::vector<std::string> degraded;  // reasons; empty: healthy
  Json source;                        // how the Kubernetes API is followed; null: it is not
  std::vector<AgentProblem> problems;
  std::vector<std::string> conflicts;  // each names both Services and what they claim
  std::vector<AgentInterface> interfaces;
  std::vector<std::string> node_addresses;
  Json features = Json::object();  // name -> true or false
  std::vector<AgentService> services;
  std::vector<AgentUnserved> unserved;
  std::vector<ShadowedListener> listeners_shadowed;
  Json timeouts = Json::object();  // name -> value, as the agent gives them
};

// Reads the body of GET /v1/snapshot. Fields that are missing keep their defaults, so that an older
// agent can be asked; unknown ones are ignored.
// Errors: INVALID_ARGUMENT when it is not JSON or a field has another type than above.
absl::StatusOr<AgentSnapshot> ParseAgentSnapshot(std::string_view body);

// The services of `agent` by what identifies them in the maps. Null: none.
std::map<ServicePortName, const AgentService*> ServicesByName(const AgentSnapshot* agent);

// A dropped packet's sample (GET /v1/drops).
struct AgentDrop {
  std::string time;  // RFC 3339
  std::string reason;
  std::string service;  // "namespace/name:port", or empty
  std::string source;
  std::string destination;
  std::string protocol;
  std::string interface;
  std::string hook;
  std::uint64_t length = 0;  // bytes
};

// Reads the body of GET /v1/drops: an array, newest last, or an object with such an array as
// "samples". Errors: as ParseAgentSnapshot.
absl::StatusOr<std::vector<AgentDrop>> ParseAgentDrops(std::string_view body);

}  // namespace sluice::report
