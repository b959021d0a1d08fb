// SPDX-License-Identifier: Apache-2.0
// Reconciler: keeps the maps equal to what the cluster wants. Takes what a source says, folds
// bursts of it into one plan, carries the plan out, tries again what failed, and looks now and then
// whether the maps still hold what was written.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "control/apply/map_tables.h"
#include "control/apply/map_writer.h"
#include "control/apply/node_rows.h"
#include "control/base/clock.h"
#include "control/desired/desired_tracker.h"
#include "control/desired/node_table.h"
#include "control/model/cluster_state.h"
#include "control/plan/planner.h"
#include "control/source/cluster_source.h"

namespace sluice {

struct ReconcilerOptions {
  RowOptions rows = {};
  // The first change is followed at once, others that come within this time of it together.
  absl::Duration min_interval = absl::Milliseconds(10);
  // Between tries after a failure: doubled with each, from the first to the last.
  absl::Duration retry_min = absl::Milliseconds(100);
  absl::Duration retry_max = absl::Seconds(30);
  // Between looks at whether the maps hold what was written.
  absl::Duration verify_interval = absl::Minutes(5);
  // Of one plan, when all services are planned: everything at once would be held in memory once
  // more.
  std::size_t services_per_plan = 1024;
};

enum class SyncState {
  kAwaiting,  // the source has not said everything yet: nothing is programmed
  kSyncing,   // it has, and the maps are not there yet
  kSynced,    // the maps have held all that was asked for at least once since
};

// A problem with what the source said, or with following it.
struct ReportedProblem {
  std::string origin;  // file or stream; empty for what shows only when objects meet
  std::string object;
  std::string message;

  friend auto operator<=>(const ReportedProblem&, const ReportedProblem&) = default;
};

struct ReconcilerCounters {
  std::uint64_t events = 0;        // objects set or deleted by the source
  std::uint64_t rounds = 0;        // of planning and writing
  std::uint64_t empty_rounds = 0;  // of those, rounds with nothing to write
  std::uint64_t rows_written = 0;
  std::uint64_t backends_retired = 0;
  std::uint64_t write_failures = 0;    // rounds that stopped at a failure
  std::uint64_t refused_services = 0;  // service ports that a round left out for want of room
  std::uint64_t confirmations = 0;     // looks at the maps that found what was written
  std::uint64_t verifications = 0;
  std::uint64_t rows_drifted = 0;  // rows that somebody else had changed
};

// Thread: loop only.
class Reconciler final : public ClusterSink {
 public:
  // What is known about this node, asked again after every change of its Node object (null: there
  // is none) and by NodeChanged(). A zone left empty is filled in from the Node's label.
  using NodeConfigSource = std::function<NodeConfig(const model::Node* own_node)>;
  // Asks to have Run() called after `delay`, in place of an earlier request. See loop_wake.h.
  using WakeAfter = std::function<void(absl::Duration delay)>;

  struct Setup {
    MapTables tables;
    std::string node_name;
    ObjectName node_service;  // whose slices say which nodes run sluice
    NodeConfigSource node_config;
    WakeAfter wake;
    std::function<std::uint64_t()> source_generation;  // ClusterSource::Generation()
    // After a round, and after a look that found the maps as written; the accessors tell more.
    std::function<void()> on_change = [] {};
  };

  // `clock` must outlive this.
  Reconciler(Setup setup, const Clock& clock, const ReconcilerOptions& options);

  // Reads the maps; to be called once, before the source is started. Errors: those of reading.
  absl::Status Start();
  // Does what is due, and asks to be woken for what is due later.
  void Run();
  // Something that NodeConfigSource looks at may have changed.
  void NodeChanged();

  void SetService(model::Service service) override;
  void DeleteService(const std::string& name_space, const std::string& name) override;
  void SetEndpointSlice(model::EndpointSlice slice) override;
  void DeleteEndpointSlice(const std::string& name_space, const std::string& name) override;
  void SetNode(model::Node node) override;
  void DeleteNode(const std::string& name) override;
  void Synced() override;
  void Reset() override;
  void ReportProblem(const std::string& origin, const std::string& object,
                     const std::string& message) override;
  void ClearProblems(const std::string& origin) override;

  SyncState sync_state() const { return sync_state_; }
  // All that the source has said up to this generation of it is in the maps. Refused or failed
  // services hold it back.
  std::uint64_t applied_generation() const;
  // As applied_generation(), and a service that was refused for want of room does not hold it back:
  // that is answered by degraded(), and by no wait.
  std::uint64_t handled_generation() const;
  // Why the maps are not what was asked for, one line each; empty: they are, or soon will be.
  std::vector<std::string> degraded() const;
  std::vector<ReportedProblem> problems() const;  // sorted; without conflicts
  std::vector<Problem> conflicts() const { return tracker_.Conflicts(); }
  // Desired, also where it is not in the maps yet.
  const std::map<ServicePortName, DesiredService>& services() const { return tracker_.services(); }
  // Services that are there and not served, with the reason in words.
  const std::map<ObjectName, std::string>& not_served() const { return tracker_.not_served(); }
  // Service ports that stay as they were for want of room in a map, and what the planner said.
  const std::map<ServicePortName, absl::Status>& refused() const { return refused_; }
  // The id in the maps; 0: none yet.
  std::uint32_t ServiceId(const ServicePortName& name) const { return state_->ServiceId(name); }
  // {id, generation} of the backends whose live connections are counted (sl_loads). Cost: linear in
  // the services.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> CountedBackends() const;
  // Whether some service has such an endpoint, by the maps.
  bool HasEndpoint(const BackendAddress& address) const;
  std::size_t slices_without_service() const { return tracker_.slices_without_service(); }
  const ClusterState& cluster() const { return cluster_; }
  const NodeConfig& node_config() const { return tracker_.node(); }
  const NodeTable& nodes() const { return nodes_; }
  const ReconcilerCounters& counters() const { return counters_; }

 private:
  static constexpr std::uint64_t kNever = UINT64_MAX;

  struct Round {
    std::size_t plans = 0;
    std::size_t rows = 0;  // written
    absl::Status status;   // of writing
    std::vector<RefusedService> refused;
    std::vector<CapacityShortage> shortages;
  };

  void Event();
  void RequestRun(std::uint64_t at_ns);
  void Arm();
  bool HasChanges() const;
  bool HasWork() const { return HasChanges() || !refused_.empty(); }
  std::uint64_t GenerationOf(bool busy, std::uint64_t round) const;
  NodeConfig AskNodeConfig() const;
  void TakeChanges();
  void FollowNodes(const Changes& changes, std::set<ServicePortName>& changed);
  void Reconcile();
  void PlanAndWrite(const std::vector<ServicePortName>& names, bool more_follows, Round& round);
  void AfterRound(const Round& round);
  void Verify();
  std::uint64_t Now() const { return clock_.MonotonicNs(); }

  Setup setup_;
  const Clock& clock_;
  ReconcilerOptions options_;
  MapWriter writer_;
  NodeRows node_rows_;
  ClusterState cluster_;
  NodeTable nodes_;
  DesiredTracker tracker_;
  std::optional<MapState> state_;
  SyncState sync_state_ = SyncState::kAwaiting;

  bool events_pending_ = false;  // in cluster_, not in tracker_ yet
  bool plan_all_ = true;         // every service and every name in the maps
  std::set<ServicePortName> dirty_;
  std::map<ServicePortName, absl::Status> refused_;
  std::vector<CapacityShortage> shortages_;
  absl::Status write_status_;
  std::uint64_t applied_generation_ = 0;
  std::uint64_t handled_generation_ = 0;

  std::uint64_t run_at_ns_ = kNever;
  std::uint64_t last_round_ns_ = 0;
  std::uint64_t blocked_until_ns_ = 0;  // after a failed write
  std::uint64_t retry_refused_at_ns_ = kNever;
  std::uint64_t verify_at_ns_ = kNever;
  absl::Duration retry_delay_;

  std::map<std::string, std::vector<ReportedProblem>> source_problems_;  // by origin
  ReconcilerCounters counters_;
};

}  // namespace sluice
