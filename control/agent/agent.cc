// SPDX-License-Identifier: Apache-2.0
#include "control/agent/agent.h"

#include <malloc.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/agent/api_event_sink.h"
#include "control/agent/endpoints.h"
#include "control/agent/health_checks.h"
#include "control/base/errno_status.h"
#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/datapath/loader.h"
#include "control/datapath/socket_owner.h"
#include "control/kubernetes/api_config.h"
#include "control/kubernetes/curl_client.h"
#include "control/source/file_source.h"
#include "control/source/kube_source.h"
#include "maps/names.h"

namespace sluice {
namespace {

constexpr char kHealthzFlag[] = "--healthz-bind-address";
constexpr char kMetricsFlag[] = "--metrics-bind-address";
constexpr absl::Duration kCheckInterval = absl::Seconds(10);  // listeners, the metrics' port
constexpr absl::Duration kHealthInterval = absl::Seconds(1);
constexpr absl::Duration kShadowDelay = absl::Milliseconds(100);

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

// As kube-proxy takes them: internal addresses first, external ones after them.
std::vector<IpAddress> AddressesOf(const model::Node* node) {
  std::vector<IpAddress> addresses;
  if (node == nullptr) return addresses;
  for (const char* type : {"InternalIP", "ExternalIP"}) {
    for (const model::NodeAddress& entry : node->status().addresses()) {
      const auto address = IpAddress::Parse(entry.address());
      if (entry.type() == type && address.ok()) addresses.push_back(*address);
    }
  }
  return addresses;
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
  loop_.Cancel(health_timer_);
  if (source_ != nullptr) source_->Stop();
}

absl::Status Agent::CreateSource() {
  return options_.kube ? CreateKubeSource(*options_.kube) : CreateFileSource();
}

absl::Status Agent::CreateFileSource() {
  if (::access(options_.manifests.c_str(), R_OK) != 0) {
    const absl::Status failed =
        ErrnoStatus(errno, absl::StrCat("--manifests ", options_.manifests));
    // It may be made later, by who deploys the manifests; until then nothing is programmed.
    if (!absl::IsNotFound(failed)) return failed;
    notice_(Severity::kWarning, absl::StrCat(failed.message(), "; waiting for it"));
  }
  FileSourceOptions source;
  source.path = options_.manifests;
  source.state_dir = options_.state_dir;
  source.defaults.service_cidrs =
      options_.service_cidrs.empty() ? DefaultServiceCidrs() : options_.service_cidrs;
  ASSIGN_OR_RETURN(source_, FileSource::Create(std::move(source), loop_, clock_));
  return absl::OkStatus();
}

absl::Status Agent::CreateKubeSource(const KubeOptions& kube) {
  ASSIGN_OR_RETURN(ApiConfig config, LoadApiConfig(kube, ProcessEnvironment));
  notice_(Severity::kInfo,
          absl::StrCat("following the Kubernetes API at ", absl::StrJoin(config.servers, ", "),
                       " by ", config.source));
  api_servers_ = ServerAddresses(config);
  ASSIGN_OR_RETURN(http_, CurlClient::Create(loop_));
  api_ = std::make_unique<ApiClient>(std::move(config), kube, *http_, loop_, clock_);
  KubeSourceOptions source;
  source.node_name = options_.node_name;
  source.reflector.protobuf = kube.content_type != kContentTypeJson;
  source.on_service_cidrs = [this](std::vector<IpPrefix> cidrs) {
    // What a flag says stands.
    if (options_.service_cidrs.empty()) node_->SetServiceCidrs(std::move(cidrs));
  };
  source.on_recovery = [this](const std::string& what) { notice_(Severity::kInfo, what); };
  source.seed = absl::HashOf(options_.node_name, clock_.MonotonicNs());
  source_ = std::make_unique<KubeSource>(std::move(source), *api_, loop_, clock_);
  events_ = std::make_unique<ApiEventSink>(options_.node_name, *api_, loop_, clock_, notice_);
  return absl::OkStatus();
}

absl::Status Agent::CreateParts() {
  // Before the kernel is touched: an agent that has nothing to follow must not change the node.
  RETURN_IF_ERROR(CreateSource());
  ASSIGN_OR_RETURN(node_, NodeDatapath::Create(options_, loop_, clock_, notice_));

  const MapSet& maps = node_->maps();
  Reconciler::Setup setup;
  setup.tables = MapTables::Of(maps);
  setup.node_name = options_.node_name;
  setup.node_service = options_.node_service;
  setup.node_config = [this](const model::Node* own_node) { return MakeNodeConfig(own_node); };
  setup.wake = [this](absl::Duration delay) { wake_.After(delay); };
  setup.source_generation = [this] { return source_->Generation(); };
  setup.on_change = [this] { OnRound(); };
  ReconcilerOptions reconciler;
  reconciler.rows = {.allow_external_cluster_ip = options_.allow_external_cluster_ip,
                     .service_echo = options_.service_echo};
  reconciler_ = std::make_unique<Reconciler>(std::move(setup), clock_, reconciler);
  observer_ = std::make_unique<ChangeObserver>(*reconciler_, clock_);
  wake_.SetRun([this] {
    round_started_ns_ = clock_.MonotonicNs();
    reconciler_->Run();
  });

  ASSIGN_OR_RETURN(BpfMap flows,
                   BpfMap::OpenPinned(absl::StrCat(PinFolder(options_.bpffs), "/", names::kFlows)));
  client_marks_ = std::make_unique<ClientMarks>(
      maps.clients(), node_->config().hash_seed, node_->config().clients_half,
      [this](std::uint32_t half) { return node_->UseClientsHalf(half); });
  sweep_ = std::make_unique<ConntrackSweep>(
      std::make_unique<BpfFlowCursor>(std::move(flows)),
      ConntrackSweep::Tables{maps.flows(), maps.backends(), maps.service_names()}, clock_,
      options_.timeouts, [this](const FlowRow& row) { client_marks_->See(row); });
  load_count_ = std::make_unique<LoadCount>(maps.loads(), maps.opening(), clock_);
  snat_ports_ = std::make_unique<SnatPorts>(maps.snat_ports(), maps.opening(), clock_,
                                            options_.snat_ports.min, options_.snat_ports.Count());
  return absl::OkStatus();
}

absl::Status Agent::Start() {
  RETURN_IF_ERROR(reconciler_->Start());
  RETURN_IF_ERROR(node_->Start([this] { OnAddresses(); }));
  // Also with --socket-lb off: an agent before this one may have had it on.
  SocketSweepOptions sockets;
  sockets.pin_folder = PinFolder(options_.bpffs);
  sockets.end_lost = options_.reset_removed;
  sockets.has_endpoint = [this](const abi::lost_socket& lost) {
    return reconciler_->HasEndpoint(
        {IpAddress::FromAbi(lost.remote), ntohs(lost.remote_port), lost.protocol});
  };
  socket_sweep_ = std::make_unique<SocketSweep>(std::move(sockets), loop_, clock_, notice_);
  CheckListeners();
  Tell({.kind = "Node",
        .name = options_.node_name,
        .uid = options_.node_name,
        .reason = "Starting",
        .action = "StartKubeProxy"});
  RETURN_IF_ERROR(source_->Start(*observer_));
  check_timer_ = loop_.RunAfter(kCheckInterval, [this] { OnCheckTimer(); });
  StartSweeps();
  return Serve();
}

absl::Status Agent::Serve() {
  ASSIGN_OR_RETURN(local_, ServeLocal(options_.state_dir, PinFolder(options_.bpffs), *this));
  RETURN_IF_ERROR(ServeHealth());
  return TryMetrics();
}

absl::Status Agent::TryMetrics() {
  if (options_.metrics_address.empty() || metrics_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<HttpServer>> metrics =
      ServeMetrics({.address = options_.metrics_address,
                    .pin_folder = PinFolder(options_.bpffs),
                    .configz = options_.configz,
                    .backend_series = options_.metrics_backends},
                   *this);
  if (!metrics.ok()) return ServeFailed(kMetricsFlag, metrics.status());
  metrics_ = *std::move(metrics);
  OnServed(kMetricsFlag);
  return absl::OkStatus();
}

absl::Status Agent::ServeHealth() {
  HealthServerOptions options;
  options.state_dir = options_.state_dir;
  options.keeper = options_.health_keeper != HealthKeeperChoice::kNone;
  options.start_keeper = options_.health_keeper == HealthKeeperChoice::kStart;
  ASSIGN_OR_RETURN(
      health_,
      HealthServer::Create(
          options, clock_,
          [this](const ObjectName& service, std::uint16_t port, const absl::Status& status) {
            loop_.Post([this, service, port, status] { OnHealthPort(service, port, status); });
          },
          [this](const std::string& message) { notice_(Severity::kWarning, message); }));
  if (!options_.healthz_address.empty()) {
    const absl::StatusOr<BindAddress> bind =
        ParseBindAddress(options_.healthz_address, kHealthzPort);
    absl::Status listening = bind.status();
    if (bind.ok()) {
      listening = health_->ListenProxy(bind->host, static_cast<std::uint16_t>(bind->port));
    }
    if (!listening.ok()) RETURN_IF_ERROR(ServeFailed(kHealthzFlag, listening));
  }
  health_->Start();
  OnHealthTimer();
  return absl::OkStatus();
}

absl::Status Agent::ServeFailed(const char* flag, const absl::Status& status) {
  const absl::Status failed = Annotate(status, flag);
  if (options_.bind_address_hard_fail || absl::IsInvalidArgument(failed)) return failed;
  std::string& problem = serve_problems_[flag];
  const bool again = problem == failed.message();
  problem = std::string(failed.message());
  if (!again) notice_(Severity::kError, problem);
  return absl::OkStatus();
}

void Agent::OnServed(const char* flag) {
  if (serve_problems_.erase(flag) > 0) {
    notice_(Severity::kInfo, absl::StrCat(flag, ": the port is free now, and served"));
  }
}

void Agent::OnHealthTimer() {
  TrackWaiting();
  SayHealth();
  health_timer_ = loop_.RunAfter(kHealthInterval, [this] { OnHealthTimer(); });
}

void Agent::SayHealth() {
  if (health_ == nullptr) return;
  ProxyHealth proxy = Health();
  proxy.degraded = Degraded();
  health_->SetProxy(std::move(proxy));
}

ProxyHealth Agent::Health() const {
  ProxyHealth proxy;
  proxy.synced = IsSynced();
  proxy.last_applied = last_applied_;
  if (waiting_since_ns_ != 0) {
    proxy.waiting =
        absl::Nanoseconds(static_cast<std::int64_t>(clock_.MonotonicNs() - waiting_since_ns_));
  }
  proxy.node_eligible = NodeIsEligible();
  return proxy;
}

void Agent::SayServiceHealth() {
  if (health_ == nullptr || !IsSynced()) return;
  const NodePortFlag& flag = options_.node_port_addresses;
  const bool everywhere = !flag.primary && flag.cidrs.empty();
  std::optional<std::vector<IpAddress>> addresses;
  if (!everywhere) addresses = node_->addresses().node_ports;
  health_->SetServices(std::move(addresses),
                       CountHealthChecks(observer_->health_checked(), reconciler_->services()));
}

void Agent::OnHealthPort(const ObjectName& service, std::uint16_t port,
                         const absl::Status& status) {
  if (service.name.empty()) {  // the proxy's own
    if (status.ok()) return OnServed(kHealthzFlag);
    // With --bind-address-hard-fail the agent has ended before a port is tried again.
    return ServeFailed(kHealthzFlag, status).IgnoreError();
  }
  health_port_problems_.erase(service);
  if (status.ok()) return;
  const std::string note = absl::StrCat("node ", options_.node_name,
                                        " failed to start healthcheck \"", service.name_space, "/",
                                        service.name, "\" on port ", port, ": ", status.message());
  health_port_problems_[service] = note;
  notice_(Severity::kError, note);
  Tell({.kind = "Service",
        .name_space = service.name_space,
        .name = service.name,
        .uid = absl::StrCat(service.name_space, "/", service.name),
        .warning = true,
        .reason = "FailedToStartServiceHealthcheck",
        .action = "Listen",
        .note = note});
}

void Agent::Tell(const ClusterEvent& event) {
  if (events_ != nullptr) events_->Emit(event);
}

NodeConfig Agent::MakeNodeConfig(const model::Node* own_node) {
  asking_node_ = true;
  node_->SetNodeObject(AddressesOf(own_node));
  asking_node_ = false;
  NodeConfig config;
  config.node_name = options_.node_name;
  config.node_port_addresses = node_->addresses().node_ports;
  config.machine_addresses = api_servers_;
  config.forwarding = options_.forwarding;
  // Link-local ones come and go with pods' interfaces, and no load balancer has one.
  for (const IpAddress& address : node_->addresses().local) {
    if (!address.is_link_local() && !address.is_loopback()) {
      config.machine_addresses.insert(address);
    }
  }
  if (!options_.force_node_ports) config.refused_node_ports = RefusedNodePorts(listeners_);
  return config;
}

void Agent::OnAddresses() {
  if (!asking_node_) reconciler_->NodeChanged();
}

bool Agent::IsSynced() const { return reconciler_->sync_state() == SyncState::kSynced; }

// Its time, and what it brought into the maps.
void Agent::CountRound() {
  const ReconcilerCounters& counters = reconciler_->counters();
  // In a quiet cluster kube-proxy writes all rules anew each hour; here the maps are looked at.
  if (counters.confirmations != confirmations_counted_) proxy_metrics_.last_sync = clock_.Now();
  confirmations_counted_ = counters.confirmations;
  if (counters.rounds == rounds_counted_) return;  // not a round, or an answer to `sync`
  rounds_counted_ = counters.rounds;
  const std::uint64_t ns = clock_.MonotonicNs() - round_started_ns_;
  const double seconds = static_cast<double>(ns) / 1e9;
  proxy_metrics_.sync.Observe(seconds);
  (ready_said_ ? proxy_metrics_.partial_sync : proxy_metrics_.full_sync).Observe(seconds);
  const bool failed = counters.write_failures != write_failures_counted_;
  write_failures_counted_ = counters.write_failures;
  if (failed) return;
  proxy_metrics_.last_sync = clock_.Now();
  const auto latencies = observer_->TakeApplied();
  for (std::size_t family = 0; family < kIpFamilies; ++family) {
    for (const absl::Duration latency : latencies[family]) {
      proxy_metrics_.programming[family].Observe(absl::ToDoubleSeconds(latency));
    }
  }
}

void Agent::OnRound() {
  CountRound();
  TrackWaiting();
  ReportNewProblems();
  const std::uint64_t retired = reconciler_->counters().backends_retired;
  if (std::exchange(backends_retired_, retired) != retired) {
    socket_sweep_->Soon();
  }
  if (!ready_said_) {
    FindShadowedPorts();
  } else if (shadow_timer_ == 0) {
    // It looks at every service, which one change must not pay for.
    shadow_timer_ = loop_.RunAfter(kShadowDelay, [this] {
      shadow_timer_ = 0;
      FindShadowedPorts();
      SayServiceHealth();
    });
  }
  if (!IsSynced()) return;
  if (!ready_said_) {
    ready_said_ = true;
    ::malloc_trim(0);  // what planning everything at once took
    node_->EnableServiceRange();
    SayServiceHealth();
    SayHealth();
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
  // A start takes as long as the API does, and a service without room is told of, not waited for:
  // to end the agent for either helps nobody.
  const bool waiting = IsSynced() && reconciler_->handled_generation() < source_->Generation();
  if (!waiting) {
    if (IsSynced()) last_applied_ = clock_.Now();
    waiting_since_ns_ = 0;
  } else if (waiting_since_ns_ == 0) {
    waiting_since_ns_ = clock_.MonotonicNs();
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
  std::set<std::uint32_t> inodes;
  for (const Listener& listener : listeners_) inodes.insert(listener.inode);
  std::erase_if(socket_owners_, [&](const auto& owner) { return !inodes.contains(owner.first); });
  FindShadowedPorts();
  if (refused) reconciler_->NodeChanged();
}

void Agent::FindShadowedPorts() {
  std::vector<ShadowedPort> shadowed = FindShadowed(reconciler_->services(), listeners_);
  std::set<std::uint32_t> unknown;
  for (const ShadowedPort& port : shadowed) {
    if (!socket_owners_.contains(port.inode)) unknown.insert(port.inode);
  }
  socket_owners_.merge(FindSocketOwners(unknown));
  for (const std::uint32_t inode : unknown) socket_owners_.try_emplace(inode);  // not again
  for (ShadowedPort& port : shadowed) {
    port.process = socket_owners_[port.inode];
    if (std::find(shadowed_.begin(), shadowed_.end(), port) != shadowed_.end()) continue;
    notice_(Severity::kWarning,
            absl::StrCat(port.process.empty() ? "a process of this node" : port.process,
                         " listens on ", ProtocolName(port.protocol), " port ", port.port,
                         ", which is a NodePort of Service ", port.service,
                         ": clients from outside reach the service instead"));
  }
  shadowed_ = std::move(shadowed);
}

void Agent::OnCheckTimer() {
  CheckListeners();
  TrackWaiting();
  // Another proxy's, whose place this one takes. What would end a start is said, and goes on here.
  TryMetrics().IgnoreError();
  check_timer_ = loop_.RunAfter(kCheckInterval, [this] { OnCheckTimer(); });
}

}  // namespace sluice
