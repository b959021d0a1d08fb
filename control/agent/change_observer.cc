// SPDX-License-Identifier: Apache-2.0
#include "control/agent/change_observer.h"

#include <utility>

#include "control/model/ip_address.h"

namespace sluice {
namespace {

constexpr char kTriggerAnnotation[] = "endpoints.kubernetes.io/last-change-trigger-time";
// Kept while the maps cannot be written; more would say nothing that these do not.
constexpr std::size_t kMaxPending = 10'000;

ObjectName NameOf(const model::ObjectMeta& metadata) {
  return {metadata.name_space(), metadata.name()};
}

template <typename Entries>
void EraseOlderThan(Entries& entries, std::uint64_t epoch) {
  std::erase_if(entries, [epoch](const auto& entry) { return entry.second.epoch < epoch; });
}

}  // namespace

std::uint16_t HealthCheckPort(const model::Service& service) {
  const model::ServiceSpec& spec = service.spec();
  const std::int32_t port = spec.health_check_node_port();
  const bool asks =
      spec.type() == "LoadBalancer" && spec.external_traffic_policy() == "Local" && port > 0;
  return asks && port <= 65535 ? static_cast<std::uint16_t>(port) : 0;
}

absl::Time TriggerTime(const model::EndpointSlice& slice) {
  const auto& annotations = slice.metadata().annotations();
  const auto found = annotations.find(kTriggerAnnotation);
  absl::Time time;
  std::string error;
  if (found == annotations.end() ||
      !absl::ParseTime(absl::RFC3339_full, found->second, &time, &error)) {
    return absl::InfinitePast();
  }
  return time;
}

ChangeObserver::ChangeObserver(ClusterSink& next, const Clock& clock)
    : next_(next), clock_(clock), started_at_(clock.Now()) {}

void ChangeObserver::Count(ChangeCount& count) {
  if (services_.pending + endpoints_.pending == 0) last_queued_ = clock_.Now();
  ++count.total;
  ++count.pending;
}

void ChangeObserver::SetService(model::Service service) {
  Count(services_);
  const ObjectName name = NameOf(service.metadata());
  if (const std::uint16_t port = HealthCheckPort(service); port != 0) {
    HealthCheckedService checked{.port = port, .epoch = epoch_};
    for (const std::string& text : service.spec().cluster_ips()) {
      const auto address = IpAddress::Parse(text);
      if (address.ok()) (address->is_v4() ? checked.has_v4 : checked.has_v6) = true;
    }
    health_checked_[name] = checked;
  } else {
    health_checked_.erase(name);
  }
  next_.SetService(std::move(service));
}

void ChangeObserver::DeleteService(const std::string& name_space, const std::string& name) {
  Count(services_);
  health_checked_.erase({name_space, name});
  next_.DeleteService(name_space, name);
}

void ChangeObserver::SetEndpointSlice(model::EndpointSlice slice) {
  Count(endpoints_);
  const absl::Time time = TriggerTime(slice);
  if (time != absl::InfinitePast()) {
    Trigger& trigger = triggers_[NameOf(slice.metadata())];
    const bool fresh = trigger.time != time;
    trigger = {time, epoch_};
    const bool v6 = slice.address_type() == "IPv6";
    auto& pending = pending_[static_cast<std::size_t>(v6 ? IpFamily::kV6 : IpFamily::kV4)];
    if (fresh && time > started_at_ && pending.size() < kMaxPending) pending.push_back(time);
  }
  next_.SetEndpointSlice(std::move(slice));
}

void ChangeObserver::DeleteEndpointSlice(const std::string& name_space, const std::string& name) {
  Count(endpoints_);
  triggers_.erase({name_space, name});
  next_.DeleteEndpointSlice(name_space, name);
}

void ChangeObserver::Reset() {
  ++epoch_;
  next_.Reset();
}

void ChangeObserver::Synced() {
  EraseOlderThan(health_checked_, epoch_);
  EraseOlderThan(triggers_, epoch_);
  next_.Synced();
}

std::array<std::vector<absl::Duration>, kIpFamilies> ChangeObserver::TakeApplied() {
  services_.pending = 0;
  endpoints_.pending = 0;
  std::array<std::vector<absl::Duration>, kIpFamilies> latencies;
  const absl::Time now = clock_.Now();
  for (std::size_t family = 0; family < kIpFamilies; ++family) {
    for (const absl::Time time : pending_[family]) latencies[family].push_back(now - time);
    pending_[family].clear();
  }
  return latencies;
}

}  // namespace sluice
