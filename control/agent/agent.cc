// SPDX-License-Identifier: Apache-2.0
#include "control/agent/agent.h"

#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "control/agent/endpoints.h"
#include "control/base/errno_status.h"
#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/datapath/loader.h"
#include "maps/names.h"

namespace sluice {
namespace {

constexpr absl::Duration kSweepInterval = absl::Seconds(5);
constexpr absl::Duration kCheckInterval = absl::Seconds(10);  // listeners
constexpr absl::Duration kShadowDelay = absl::Milliseconds(100);
constexpr absl::Duration kAnswerTimeout = absl::Seconds(5);  // of the loop, to other threads
constexpr absl::Duration kStopPoll = absl::Milliseconds(100);
constexpr char kAutoscalerTaint[] = "ToBeDeletedByClusterAutoscaler";

// The ranges from which ClusterIPs are given out when no flag says another: kubeadm's default, and
// one of its kind for IPv6. Nothing is dropped on their account: only a flag can say that they are
// not somebody's network.
std::vector<IpPrefix> DefaultServiceCidrs() {
  std::vector<IpPrefix> cidrs;
  for (const char* text : {"10.96.0.0/12", "fd00:10:96::/112"}) {
    if (const auto cidr = IpPrefix::Parse(text); cidr.ok()) cidrs.push_back(*cidr);
  }
  return cidrs;
}

std::vector<IpAddress> InternalAddresses(const model::Node* node) {
  std::vector<IpAddress> addresses;
  if (node == nullptr) return addresses;
  for (const model::NodeAddress& entry : node->status().addresses()) {
    const bool internal = entry.type() == "InternalIP";
    if (const auto address = IpAddress::Parse(entry.address()); internal && address.ok()) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

bool IsEligible(const model::Node* node) {
  if (node == nullptr) return true;
  const auto& taints = node->spec().taints();
  return !node->metadata().has_deletion_timestamp() &&
         std::none_of(taints.begin(), taints.end(),
                      [](const model::Taint& taint) { return taint.key() == kAutoscalerTaint; });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(const AgentOptions& options, EventLoop& loop,
                                                     const Clock& clock, NoticeSink notice,
                                                     ReadySink ready) {
  auto agent =
      absl::WrapUnique(new Agent(options, loop, clock, std::move(notice), std::move(ready)));
  RETURN_IF_ERROR(agent->CreateParts());
  return agent;
}

Agent::Agent(const AgentOptions& options, EventLoop& loop, const Clock& clock, NoticeSink notice,
             ReadySink ready)
    : options_(options),
      loop_(loop),
      clock_(clock),
      notice_(std::move(notice)),
      ready_(std::move(ready)),
      started_at_(clock.Now()),
      wake_(loop) {}

Agent::~Agent() {
  stopping_ = true;
  loop_.Cancel(check_timer_);
  loop_.Cancel(sweep_timer_);
  loop_.Cancel(shadow_timer_);
  if (source_ != nullptr) source_->Stop();
}

absl::Status Agent::CreateParts() {
  // Before the kernel is touched: an agent that has nothing to follow must not change the node.
  if (::access(options_.manifests.c_str(), R_OK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("--manifests ", options_.manifests));
  }
  FileSourceOptions source;
  source.path = options_.manifests;
  source.state_dir = options_.state_dir;
  source.defaults.service_cidrs =
      options_.service_cidrs.empty() ? DefaultServiceCidrs() : options_.service_cidrs;
  ASSIGN_OR_RETURN(source_, FileSource::Create(std::move(source), loop_, clock_));
  ASSIGN_OR_RETURN(node_, NodeDatapath::Create(options_, loop_, clock_, notice_));

  const MapSet& maps = node_->maps();
  Reconciler::Setup setup;
  setup.tables = MapTables::Of(maps);
  setup.node_name = options_.node_name;
  setup.node_config = [this](const model::Node* own_node) { return MakeNodeConfig(own_node); };
  setup.wake = [this](absl::Duration delay) { wake_.After(delay); };
  setup.source_generation = [this] { return source_->Generation(); };
  setup.on_change = [this] { OnRound(); };
  ReconcilerOptions reconciler;
  reconciler.allow_external_cluster_ip = options_.allow_external_cluster_ip;
  reconciler_ = std::make_unique<Reconciler>(std::move(setup), clock_, reconciler);
  wake_.SetRun([this] { reconciler_->Run(); });

  ASSIGN_OR_RETURN(BpfMap flows,
                   BpfMap::OpenPinned(absl::StrCat(PinFolder(options_.bpffs), "/", names::kFlows)));
  sweep_ = std::make_unique<ConntrackSweep>(
      std::make_unique<BpfFlowCursor>(std::move(flows)),
      ConntrackSweep::Tables{maps.flows(), maps.backends(), maps.service_names()}, clock_,
      options_.timeouts);
  return absl::OkStatus();
}

absl::Status Agent::Start() {
  RETURN_IF_ERROR(reconciler_->Start());
  RETURN_IF_ERROR(node_->Start([this] { OnAddresses(); }));
  CheckListeners();
  RETURN_IF_ERROR(source_->Start(*reconciler_));
  check_timer_ = loop_.RunAfter(kCheckInterval, [this] { OnCheckTimer(); });
  sweep_timer_ = loop_.RunAfter(kSweepInterval, [this] { SweepStep(); });
  return Serve();
}

absl::Status Agent::Serve() {
  const std::string pins = PinFolder(options_.bpffs);
  ASSIGN_OR_RETURN(local_, ServeLocal(options_.state_dir, pins, *this));
  if (!options_.healthz_address.empty()) {
    RETURN_IF_ERROR(
        ServeOn("--healthz-bind-address", ServeHealth(options_.healthz_address, *this), health_));
  }
  if (!options_.metrics_address.empty()) {
    RETURN_IF_ERROR(ServeOn("--metrics-bind-address",
                            ServeMetrics(options_.metrics_address, pins, *this), metrics_));
  }
  return absl::OkStatus();
}

absl::Status Agent::ServeOn(const char* flag, absl::StatusOr<std::unique_ptr<HttpServer>> server,
                            std::unique_ptr<HttpServer>& held) {
  if (server.ok()) {
    held = *std::move(server);
    return absl::OkStatus();
  }
  const absl::Status failed = Annotate(server.status(), flag);
  // A port in use is no reason to leave the node without services, unless asked for.
  if (options_.bind_address_hard_fail || absl::IsInvalidArgument(failed)) return failed;
  serve_problems_.emplace_back(failed.message());
  notice_(Severity::kError, serve_problems_.back());
  return absl::OkStatus();
}

NodeConfig Agent::MakeNodeConfig(const model::Node* own_node) {
  asking_node_ = true;
  node_->SetNodeObject(InternalAddresses(own_node));
  asking_node_ = false;
  NodeConfig config;
  config.node_name = options_.node_name;
  config.node_port_addresses = node_->addresses().node_ports;
  if (!options_.force_node_ports) config.refused_node_ports = RefusedNodePorts(listeners_);
  return config;
}

void Agent::OnAddresses() {
  if (!asking_node_) reconciler_->NodeChanged();
}

bool Agent::IsSynced() const { return reconciler_->sync_state() == SyncState::kSynced; }

void Agent::OnRound() {
  TrackWaiting();
  ReportNewProblems();
  if (!ready_said_) {
    FindShadowedPorts();
  } else if (shadow_timer_ == 0) {
    // It looks at every service, which one change must not pay for.
    shadow_timer_ = loop_.RunAfter(kShadowDelay, [this] {
      shadow_timer_ = 0;
      FindShadowedPorts();
    });
  }
  if (!IsSynced()) return;
  if (!ready_said_) {
    ready_said_ = true;
    node_->EnableServiceRange();
    ready_(absl::StrCat(reconciler_->services().size(), " services, ", node_->interfaces().size(),
                        " interfaces"));
  }
  const std::uint64_t applied = reconciler_->applied_generation();
  pending_syncs_.remove_if([applied](const PendingSync& pending) {
    if (pending.generation > applied) return false;
    if (!pending.done->HasBeenNotified()) pending.done->Notify();
    return true;
  });
}

void Agent::TrackWaiting() {
  const bool waiting = !IsSynced() || reconciler_->applied_generation() < source_->Generation();
  if (!waiting) {
    last_applied_ = clock_.Now();
    waiting_since_ = absl::InfiniteFuture();
  } else if (waiting_since_ == absl::InfiniteFuture()) {
    waiting_since_ = clock_.Now();
  }
}

void Agent::ReportNewProblems() {
  std::set<std::string> now;
  for (const Problem& conflict : reconciler_->conflicts()) {
    now.insert(absl::StrCat(conflict.object, ": ", conflict.message));
  }
  for (const ReportedProblem& problem : reconciler_->problems()) {
    // What has an origin was logged when the source reported it.
    if (problem.origin.empty()) now.insert(absl::StrCat(problem.object, ": ", problem.message));
  }
  for (const std::string& problem : now) {
    if (!reported_.contains(problem)) notice_(Severity::kWarning, problem);
  }
  reported_ = std::move(now);
}

void Agent::CheckListeners() {
  absl::StatusOr<std::vector<Listener>> listeners = ReadListeners();
  listeners_status_ = Annotate(listeners.status(), "read the node's listeners");
  if (!listeners.ok()) return;  // what is known stays, and says that it may be old
  const bool refused = RefusedNodePorts(*listeners) != RefusedNodePorts(listeners_);
  listeners_ = *std::move(listeners);
  FindShadowedPorts();
  if (refused) reconciler_->NodeChanged();
}

void Agent::FindShadowedPorts() {
  std::vector<ShadowedPort> shadowed = FindShadowed(reconciler_->services(), listeners_);
  for (const ShadowedPort& port : shadowed) {
    if (std::find(shadowed_.begin(), shadowed_.end(), port) != shadowed_.end()) continue;
    notice_(Severity::kWarning,
            absl::StrCat("a process of this node listens on ", ProtocolName(port.protocol),
                         " port ", port.port, ", which is a NodePort of Service ", port.service,
                         ": clients from outside reach the service instead"));
  }
  shadowed_ = std::move(shadowed);
}

void Agent::OnCheckTimer() {
  CheckListeners();
  TrackWaiting();
  check_timer_ = loop_.RunAfter(kCheckInterval, [this] { OnCheckTimer(); });
}

void Agent::SweepStep() {
  const absl::StatusOr<bool> ended = sweep_->Step();
  if (!ended.ok() && sweep_status_.ok()) {
    notice_(Severity::kError, absl::StrCat("sweep of flows: ", ended.status().message()));
  }
  sweep_status_ = ended.status();
  const bool more = ended.ok() && !*ended;
  sweep_timer_ =
      loop_.RunAfter(more ? absl::ZeroDuration() : kSweepInterval, [this] { SweepStep(); });
}

Snapshot Agent::BuildSnapshot(SnapshotParts parts) const {
  Snapshot snapshot;
  snapshot.node_name = options_.node_name;
  snapshot.started_at = started_at_;
  snapshot.taken_at = clock_.Now();
  snapshot.synced = IsSynced();
  snapshot.source_generation = source_->Generation();
  snapshot.applied_generation = reconciler_->applied_generation();
  snapshot.last_applied = last_applied_;
  snapshot.waiting_since = waiting_since_;
  snapshot.node_eligible = IsEligible(reconciler_->cluster().own_node());
  snapshot.degraded = node_->Degraded();
  for (std::string& reason : reconciler_->degraded()) {
    snapshot.degraded.push_back(std::move(reason));
  }
  snapshot.degraded.insert(snapshot.degraded.end(), serve_problems_.begin(), serve_problems_.end());
  for (const absl::Status& status : {sweep_status_, listeners_status_}) {
    if (!status.ok()) snapshot.degraded.emplace_back(status.message());
  }
  snapshot.problems = reconciler_->problems();
  snapshot.conflicts = reconciler_->conflicts();
  snapshot.interfaces = node_->interfaces();
  snapshot.attach = AttachModeName(node_->attach_mode());
  snapshot.node_addresses = node_->addresses().node_ports;
  snapshot.features = node_->features().Named();
  snapshot.shadowed = shadowed_;
  snapshot.timeouts = options_.timeouts;
  snapshot.flows = sweep_->counts();
  snapshot.flows_deleted = sweep_->deleted_total();
  if (parts.services) {
    for (const auto& [name, service] : reconciler_->services()) {
      snapshot.services.push_back({service, reconciler_->ServiceId(name)});
    }
  }
  if (parts.drops) snapshot.drops = NameDrops();
  return snapshot;
}

std::vector<DropSample> Agent::NameDrops() const {
  std::vector<DropSample> samples;
  for (const abi::drop_event& event : node_->drops().kept()) {
    DropSample sample;
    sample.event = event;
    const std::uint64_t age_ns = clock_.MonotonicNs() - event.time_ns;
    sample.time = clock_.Now() - absl::Nanoseconds(static_cast<std::int64_t>(age_ns));
    const auto name = node_->maps().service_names().Lookup(event.service_id);
    if (name.ok() && name->has_value() && (*name)->name[0] != '\0') {
      const ServicePortName port = NameOf(**name);
      sample.service = absl::StrCat(port.name_space, "/", port.name,
                                    port.port_name.empty() ? "" : ":", port.port_name);
    }
    std::array<char, IF_NAMESIZE> interface {};
    if (::if_indextoname(event.ifindex, interface.data()) != nullptr) {
      sample.interface = interface.data();
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

bool Agent::Await(const absl::Notification& done, absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  while (!stopping_) {
    const absl::Duration left = deadline - absl::Now();
    if (done.WaitForNotificationWithTimeout(std::min(kStopPoll, left))) return true;
    if (left <= absl::ZeroDuration()) return false;
  }
  return false;
}

absl::StatusOr<std::shared_ptr<const Snapshot>> Agent::TakeSnapshot(SnapshotParts parts) {
  // Shared with the posted call, which may come when nobody waits for it any more.
  struct Answer {
    absl::Notification done;
    std::shared_ptr<const Snapshot> snapshot;
  };
  auto answer = std::make_shared<Answer>();
  loop_.Post([this, answer, parts] {
    answer->snapshot = std::make_shared<const Snapshot>(BuildSnapshot(parts));
    answer->done.Notify();
  });
  if (!Await(answer->done, kAnswerTimeout)) {
    return absl::DeadlineExceededError("the agent's loop does not answer");
  }
  return answer->snapshot;
}

absl::Status Agent::WaitForSync(absl::Duration timeout) {
  auto done = std::make_shared<absl::Notification>();
  loop_.Post([this, done] {
    source_->Refresh();
    pending_syncs_.push_back({source_->Generation(), done});
    // Nothing may be left to do, and then no round would come.
    OnRound();
  });
  if (Await(*done, timeout)) return absl::OkStatus();
  if (stopping_) return absl::UnavailableError("sluiced is stopping");
  return absl::DeadlineExceededError("not everything is in the maps yet; see `sluicectl status`");
}

}  // namespace sluice
