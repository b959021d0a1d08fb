// SPDX-License-Identifier: Apache-2.0
// Stands between the source and the reconciler, passes everything on, and keeps what the reconciler
// has no use for: how many changes wait, since when endpoints have been other, and which Services
// ask for a health check port.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/health/health_server.h"
#include "control/model/cluster_state.h"
#include "control/source/cluster_source.h"

namespace sluice {

enum class IpFamily { kV4, kV6 };
inline constexpr std::size_t kIpFamilies = 2;

// Of Services or EndpointSlices.
struct ChangeCount {
  std::uint64_t total = 0;
  std::uint64_t pending = 0;  // not in the maps yet
};

// A Service that has a healthCheckNodePort, by the rules of kube-proxy.
struct HealthCheckedService {
  std::uint16_t port = 0;
  bool has_v4 = false;  // a ClusterIP of the family
  bool has_v6 = false;
  std::uint64_t epoch = 0;  // of the last Set
};

// Whether `service` asks for a port, and which. 0: none.
std::uint16_t HealthCheckPort(const model::Service& service);
// When the endpoints of the slice changed, as the annotation endpoints.kubernetes.io/
// last-change-trigger-time says it; InfinitePast when it does not.
absl::Time TriggerTime(const model::EndpointSlice& slice);

// Thread: loop only.
class ChangeObserver final : public ClusterSink {
 public:
  // `next` and `clock` must outlive this.
  ChangeObserver(ClusterSink& next, const Clock& clock);

  void SetService(model::Service service) override;
  void DeleteService(const std::string& name_space, const std::string& name) override;
  void SetEndpointSlice(model::EndpointSlice slice) override;
  void DeleteEndpointSlice(const std::string& name_space, const std::string& name) override;
  void SetNode(model::Node node) override { next_.SetNode(std::move(node)); }
  void DeleteNode(const std::string& name) override { next_.DeleteNode(name); }
  void Synced() override;
  void Reset() override;
  void ReportProblem(const std::string& origin, const std::string& object,
                     const std::string& message) override {
    next_.ReportProblem(origin, object, message);
  }
  void ClearProblems(const std::string& origin) override { next_.ClearProblems(origin); }

  // All that was said is in the maps: how long ago endpoints changed that were waiting for it, by
  // family. Changes from before this process began are left out, as kube-proxy leaves them: they
  // would count the time that nobody ran.
  std::array<std::vector<absl::Duration>, kIpFamilies> TakeApplied();

  const ChangeCount& services() const { return services_; }
  const ChangeCount& endpoints() const { return endpoints_; }
  const std::map<ObjectName, HealthCheckedService>& health_checked() const {
    return health_checked_;
  }
  // When the first of the changes came that are pending; InfinitePast: never one came.
  absl::Time last_queued() const { return last_queued_; }

 private:
  struct Trigger {
    absl::Time time;
    std::uint64_t epoch = 0;  // of the last Set of the slice
  };

  void Count(ChangeCount& count);

  ClusterSink& next_;
  const Clock& clock_;
  const absl::Time started_at_;
  std::uint64_t epoch_ = 0;
  ChangeCount services_;
  ChangeCount endpoints_;
  absl::Time last_queued_ = absl::InfinitePast();
  std::map<ObjectName, HealthCheckedService> health_checked_;
  std::map<ObjectName, Trigger> triggers_;  // of slices that have one: the same is told once
  std::array<std::vector<absl::Time>, kIpFamilies> pending_;
};

}  // namespace sluice
