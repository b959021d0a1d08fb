// SPDX-License-Identifier: Apache-2.0
// What the agent says of itself, taken at one moment by the loop thread and then read by others.
// Values only. The JSON is a contract: sluicectl and scripts read it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/agent/change_observer.h"
#include "control/agent/proxy_metrics.h"
#include "control/agent/socket_sweep.h"
#include "control/apply/reconciler.h"
#include "control/datapath/attachment.h"
#include "control/datapath/listeners.h"
#include "control/desired/desired_state.h"
#include "control/gc/conntrack_sweep.h"
#include "control/gc/snat_ports.h"
#include "control/health/health_server.h"
#include "control/health/proxy_health.h"
#include "control/source/source_status.h"
#include "maps/map_set.h"
#include "maps/reason.h"

namespace sluice {

struct ServiceSnapshot {
  DesiredService service;
  std::uint32_t id = 0;  // 0: not programmed
  // As ClusterState::PackedSlicesOf: they have the names of the backends' nodes, and to look for
  // those is for the thread that answers, not for the loop.
  std::vector<std::string> slices;
  std::vector<std::string> slice_names;
  std::string refused;  // why the maps have not what was asked for; empty: they have
  std::string no_load_balancer_address;  // as WhyNoLoadBalancerAddress
};

// A Service that is there and not served.
struct UnservedService {
  std::string name_space;
  std::string name;
  std::string why;
};

// A sampled drop, with the names of its time.
struct DropSample {
  absl::Time time;
  abi::drop_event event{};
  std::string service;  // "namespace/name:port"; empty: no service's
  std::string interface;
};

// Services of policy Local that have usable endpoints, but none on this node, by family.
struct NoLocalEndpoints {
  std::array<std::uint64_t, kIpFamilies> internal{};
  std::array<std::uint64_t, kIpFamilies> external{};
};

struct Snapshot {
  std::string node_name;
  absl::Time started_at;
  absl::Time taken_at;
  bool synced = false;  // the source has said everything once, and it is in the maps
  bool alive = true;    // as IsAlive
  std::uint64_t source_generation = 0;
  std::uint64_t applied_generation = 0;
  absl::Time last_applied = absl::InfinitePast();
  bool node_eligible = true;  // the Node object is not about to be removed
  std::vector<std::string> degraded;
  SourceStatus source;
  std::vector<ReportedProblem> problems;
  std::vector<Problem> conflicts;
  std::vector<AttachedInterface> interfaces;
  std::string attach;
  std::vector<IpAddress> node_addresses;
  std::map<std::string, bool> features;
  std::vector<ServiceSnapshot> services;  // when asked for
  std::vector<UnservedService> unserved;  // with services
  std::vector<ShadowedPort> shadowed;
  SweepTimeouts timeouts;
  SweepCounts flows;
  std::uint64_t flows_deleted = 0;
  std::uint64_t flows_deleted_v4 = 0;
  std::uint32_t snat_ports = 0;    // that there are, of each address towards each destination
  std::vector<SnatUse> snat_uses;  // at the last sweep; when metrics are asked for
  SocketSweepCounts sockets;
  ChangeCount service_changes;
  ChangeCount endpoint_changes;
  absl::Time last_queued = absl::InfinitePast();
  HealthRequests health_requests;
  ReconcilerCounters counters;
  ProxyMetrics metrics;           // when asked for
  NoLocalEndpoints no_local;      // when asked for
  std::vector<DropSample> drops;  // when asked for; oldest first
};

// Parts that cost something to take.
struct SnapshotParts {
  bool services = false;  // a copy of all of them and of their slices
  bool drops = false;     // a lookup for each
  bool metrics = false;   // a look at every service
};

NoLocalEndpoints CountNoLocalEndpoints(const std::map<ServicePortName, DesiredService>& services);

// Body of GET /v1/snapshot. `maps` may be empty.
std::string SnapshotJson(const Snapshot& snapshot, const std::vector<MapUse>& maps);
// Body of GET /v1/drops: an array, newest last.
std::string DropsJson(const Snapshot& snapshot);

// How other threads reach the loop's state. Thread-safe.
class AgentView {
 public:
  virtual ~AgentView() = default;
  // Errors: DEADLINE_EXCEEDED when the loop does not answer.
  virtual absl::StatusOr<std::shared_ptr<const Snapshot>> TakeSnapshot(SnapshotParts parts) = 0;
  // Returns when everything that the source says now is in the maps. Errors: DEADLINE_EXCEEDED;
  // UNAVAILABLE when the agent is stopping.
  virtual absl::Status WaitForSync(absl::Duration timeout) = 0;
};

}  // namespace sluice
