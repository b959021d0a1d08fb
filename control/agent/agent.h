// SPDX-License-Identifier: Apache-2.0
// The agent: the source, the reconciler and the node's datapath on one loop, and what others may
// ask of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"

#include "control/agent/agent_options.h"
#include "control/agent/change_observer.h"
#include "control/agent/event_sink.h"
#include "control/agent/http_server.h"
#include "control/agent/node_datapath.h"
#include "control/agent/notice.h"
#include "control/agent/proxy_metrics.h"
#include "control/agent/snapshot.h"
#include "control/agent/socket_sweep.h"
#include "control/apply/loop_wake.h"
#include "control/apply/reconciler.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/datapath/listeners.h"
#include "control/gc/client_marks.h"
#include "control/gc/conntrack_sweep.h"
#include "control/gc/load_count.h"
#include "control/gc/snat_ports.h"
#include "control/health/health_server.h"
#include "control/kubernetes/api_client.h"
#include "control/kubernetes/http_client.h"
#include "control/source/cluster_source.h"

namespace sluice {

// Thread: loop only, except the functions of AgentView. Its destructor stops serving and leaves the
// datapath working.
class Agent final : public AgentView {
 public:
  // Told once, when everything that the source has said at first is in the maps.
  using ReadySink = std::function<void(const std::string& status)>;

  // Loads the datapath and attaches nothing yet. `options`, `loop` and `clock` must outlive the
  // agent. Errors: those of NodeDatapath::Create, FileSource::Create and LoadApiConfig; NOT_FOUND
  // when there are no manifests.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(const AgentOptions& options, EventLoop& loop,
                                                       const Clock& clock, NoticeSink notice,
                                                       ReadySink ready);
  ~Agent() override;

  // Attaches, follows the source and serves; to be called before the loop runs. Errors: those of
  // the parts; ALREADY_EXISTS for a port in use with --bind-address-hard-fail.
  absl::Status Start();

  absl::StatusOr<std::shared_ptr<const Snapshot>> TakeSnapshot(SnapshotParts parts) override;
  absl::Status WaitForSync(absl::Duration timeout) override;

 private:
  struct PendingSync {
    std::uint64_t generation = 0;
    std::shared_ptr<absl::Notification> done;
  };

  Agent(const AgentOptions& options, EventLoop& loop, const Clock& clock, NoticeSink notice,
        ReadySink ready);
  absl::Status CreateParts();
  absl::Status CreateSource();
  absl::Status CreateFileSource();
  absl::Status CreateKubeSource(const KubeOptions& kube);
  absl::Status Serve();
  absl::Status ServeHealth();
  absl::Status TryMetrics();
  // A port in use is no reason to leave the node without services, unless that is asked for.
  absl::Status ServeFailed(const char* flag, const absl::Status& failed);
  NodeConfig MakeNodeConfig(const model::Node* own_node);
  void OnAddresses();
  void OnRound();
  void CountRound();
  void OnHealthTimer();
  void SayHealth();
  void SayServiceHealth();
  void OnHealthPort(const ObjectName& service, std::uint16_t port, const absl::Status& status);
  void OnServed(const char* flag);
  void Tell(const ClusterEvent& event);
  void ReportNewProblems();
  void CheckListeners();
  void FindShadowedPorts();
  void OnCheckTimer();
  void StartSweeps();
  void SweepStep();
  absl::Status OnSwept();
  void TellOfSnatPorts();
  void TrackWaiting();
  ProxyHealth Health() const;
  std::vector<std::string> Degraded() const;
  Snapshot BuildSnapshot(SnapshotParts parts) const;
  ServiceSnapshot TakeService(const DesiredService& service) const;
  std::vector<DropSample> NameDrops() const;
  bool IsSynced() const;
  bool NodeIsEligible() const;  // not about to be removed
  // Whether `done` was notified before the timeout and before the agent stops.
  bool Await(const absl::Notification& done, absl::Duration timeout) const;

  const AgentOptions& options_;
  EventLoop& loop_;
  const Clock& clock_;
  const NoticeSink notice_;
  const ReadySink ready_;
  const absl::Time started_at_;

  LoopWake wake_;
  std::set<IpAddress> api_servers_;   // that the agent was told of
  std::unique_ptr<HttpClient> http_;  // with api_: when the source is the Kubernetes API
  std::unique_ptr<ApiClient> api_;
  std::unique_ptr<ClusterSource> source_;
  std::unique_ptr<NodeDatapath> node_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<ChangeObserver> observer_;  // between source and reconciler
  std::unique_ptr<EventSink> events_;         // null: nobody to tell
  std::unique_ptr<ClientMarks> client_marks_;
  std::unique_ptr<ConntrackSweep> sweep_;
  std::unique_ptr<LoadCount> load_count_;
  std::unique_ptr<SnatPorts> snat_ports_;
  std::map<SnatPath, std::uint32_t> snat_told_;  // of which somebody was told that they are few
  bool sweep_running_ = false;
  absl::Status sweep_status_;
  std::unique_ptr<SocketSweep> socket_sweep_;
  std::uint64_t backends_retired_ = 0;  // when sockets were looked at for that
  bool asking_node_ = false;            // the reconciler is being told about the node already
  bool ready_said_ = false;
  std::vector<Listener> listeners_;
  absl::Status listeners_status_;
  std::vector<ShadowedPort> shadowed_;
  std::map<std::uint32_t, std::string> socket_owners_;  // by inode, of the listeners that there are
  ProxyMetrics proxy_metrics_;
  std::uint64_t round_started_ns_ = 0;
  std::uint64_t rounds_counted_ = 0;
  std::uint64_t confirmations_counted_ = 0;
  std::uint64_t write_failures_counted_ = 0;
  absl::Duration sweep_time_;  // of the sweep that is running
  std::map<ObjectName, std::string> health_port_problems_;
  std::set<std::string> reported_;  // problems and conflicts that have been logged
  absl::Time last_applied_ = absl::InfinitePast();
  std::uint64_t waiting_since_ns_ = 0;                 // 0: no change waits
  std::map<std::string, std::string> serve_problems_;  // by flag
  std::list<PendingSync> pending_syncs_;
  EventLoop::TimerId check_timer_ = 0;
  EventLoop::TimerId sweep_timer_ = 0;
  EventLoop::TimerId shadow_timer_ = 0;
  EventLoop::TimerId health_timer_ = 0;
  std::atomic<bool> stopping_{false};

  // Last, so that they go first: their threads call what is above.
  std::unique_ptr<HttpServer> local_;
  std::unique_ptr<HealthServer> health_;
  std::unique_ptr<HttpServer> metrics_;
};

}  // namespace sluice
