// SPDX-License-Identifier: Apache-2.0
// What the agent says of itself to other threads.
#include <net/if.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/agent/agent.h"

namespace sluice {
namespace {

constexpr absl::Duration kAnswerTimeout = absl::Seconds(5);  // of the loop, to other threads
constexpr absl::Duration kStopPoll = absl::Milliseconds(100);
constexpr char kAutoscalerTaint[] = "ToBeDeletedByClusterAutoscaler";

}  // namespace

bool Agent::NodeIsEligible() const {
  const model::Node* node = reconciler_->cluster().own_node();
  if (node == nullptr) return true;
  const auto& taints = node->spec().taints();
  return !node->metadata().has_deletion_timestamp() &&
         std::none_of(taints.begin(), taints.end(),
                      [](const model::Taint& taint) { return taint.key() == kAutoscalerTaint; });
}

std::vector<std::string> Agent::Degraded() const {
  std::vector<std::string> degraded = node_->Degraded();
  for (std::string& reason : reconciler_->degraded()) degraded.push_back(std::move(reason));
  for (const auto& [flag, problem] : serve_problems_) degraded.push_back(problem);
  for (const auto& [service, problem] : health_port_problems_) degraded.push_back(problem);
  for (const auto& [path, used] : snat_ports_->nearly_full()) {
    degraded.push_back(NearlyFullText(path, used, snat_ports_->count()));
  }
  for (const StreamStatus& stream : source_->Status().streams) {
    if (stream.failing_since == absl::InfiniteFuture()) continue;
    degraded.push_back(absl::StrCat(
        "the API's ", stream.resource, " have not been followed since ",
        absl::FormatTime(absl::RFC3339_sec, stream.failing_since, absl::LocalTimeZone()), ": ",
        stream.error));
  }
  const absl::Status sockets = socket_sweep_ ? socket_sweep_->status() : absl::OkStatus();
  for (const absl::Status& status : {sweep_status_, listeners_status_, sockets}) {
    if (!status.ok()) degraded.emplace_back(status.message());
  }
  return degraded;
}

ServiceSnapshot Agent::TakeService(const DesiredService& service) const {
  const ObjectName object{service.name.name_space, service.name.name};
  const ClusterState& cluster = reconciler_->cluster();
  ServiceSnapshot taken;
  taken.service = service;
  taken.id = reconciler_->ServiceId(service.name);
  taken.slices = cluster.PackedSlicesOf(object);
  taken.slice_names = cluster.SliceNamesOf(object);
  const auto refused = reconciler_->refused().find(service.name);
  if (refused != reconciler_->refused().end()) {
    taken.refused = std::string(refused->second.message());
  }
  // The object is unpacked for that: only where it may have something to say.
  const model::Service* found =
      service.type == "LoadBalancer" ? cluster.FindService(object) : nullptr;
  if (found != nullptr) taken.no_load_balancer_address = WhyNoLoadBalancerAddress(*found);
  return taken;
}

Snapshot Agent::BuildSnapshot(SnapshotParts parts) const {
  Snapshot snapshot;
  snapshot.node_name = options_.node_name;
  snapshot.started_at = started_at_;
  snapshot.taken_at = clock_.Now();
  snapshot.synced = IsSynced();
  snapshot.alive = IsAlive(Health());
  snapshot.source_generation = source_->Generation();
  snapshot.applied_generation = reconciler_->applied_generation();
  snapshot.last_applied = last_applied_;
  snapshot.node_eligible = NodeIsEligible();
  snapshot.degraded = Degraded();
  snapshot.source = source_->Status();
  snapshot.service_changes = observer_->services();
  snapshot.endpoint_changes = observer_->endpoints();
  snapshot.last_queued = observer_->last_queued();
  if (health_ != nullptr) snapshot.health_requests = health_->requests();
  snapshot.counters = reconciler_->counters();
  if (parts.metrics) {
    snapshot.metrics = proxy_metrics_;
    snapshot.snat_uses = snat_ports_->use();
    snapshot.no_local = CountNoLocalEndpoints(reconciler_->services());
  }
  snapshot.problems = reconciler_->problems();
  snapshot.conflicts = reconciler_->conflicts();
  snapshot.interfaces = node_->interfaces();
  snapshot.attach = AttachModeName(node_->attach_mode());
  snapshot.node_addresses = node_->addresses().node_ports;
  snapshot.features = node_->features().Named();
  snapshot.features["hostSockets"] = node_->serves_sockets();
  snapshot.features["podSockets"] = node_->serves_pod_sockets();
  if (socket_sweep_ != nullptr) snapshot.sockets = socket_sweep_->counts();
  snapshot.shadowed = shadowed_;
  snapshot.timeouts = options_.timeouts;
  snapshot.flows = sweep_->counts();
  snapshot.flows_deleted = sweep_->deleted_total();
  snapshot.flows_deleted_v4 = sweep_->deleted_v4();
  snapshot.snat_ports = snat_ports_->count();
  if (parts.services) {
    for (const auto& [name, service] : reconciler_->services()) {
      snapshot.services.push_back(TakeService(service));
    }
    for (const auto& [name, why] : reconciler_->not_served()) {
      snapshot.unserved.push_back({name.name_space, name.name, why});
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
