// SPDX-License-Identifier: Apache-2.0
// The cluster from the Kubernetes API: Services, EndpointSlices, this node's Node and, where they
// are served, ServiceCIDRs, each followed by a list and a watch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/kubernetes/api_client.h"
#include "control/model/ip_address.h"
#include "control/model/service_cidr.pb.h"
#include "control/source/cluster_source.h"
#include "control/source/kube_reflector.h"

namespace sluice {

struct KubeSourceOptions {
  std::string node_name;
  ReflectorOptions reflector;
  // Told the ranges of ClusterIPs, at most one a family, whenever they change.
  std::function<void(std::vector<IpPrefix>)> on_service_cidrs = [](std::vector<IpPrefix>) {};
  // Told, for the log, that a kind is followed again after a failure.
  std::function<void(const std::string&)> on_recovery = [](const std::string&) {};
  std::uint64_t seed = 0;  // of the randomness in waiting times
};

// Failures are reported to the sink and change nothing else; see DESIGN.md. Synced() is said when
// Services, EndpointSlices and the own Node are known: without the Node no endpoint would be this
// node's, so that a wrong name must not reach the maps. Nothing is ever reset: what a new list
// lacks is deleted one by one.
// Thread: loop only.
class KubeSource final : public ClusterSource {
 public:
  // `api`, `loop` and `clock` must outlive the source.
  KubeSource(KubeSourceOptions options, ApiClient& api, EventLoop& loop, const Clock& clock);
  ~KubeSource() override;

  // Never fails: what goes wrong may pass.
  absl::Status Start(ClusterSink& sink) override;
  void Stop() override;
  // Objects told to the sink so far.
  std::uint64_t Generation() const override { return generation_; }
  // Tries at once what waits for a retry. What the API holds at this moment may come later.
  void Refresh() override;
  SourceStatus Status() const override;

 private:
  class Follower;
  // A kind with what to do for its objects.
  struct Handler {
    ResourceKind kind;
    const char* title;  // "Service"
    std::function<void(google::protobuf::Message&)> set;
    std::function<void(const ObjectName&)> remove;
  };

  std::vector<Handler> Handlers();
  void OnSet(const Handler& handler, google::protobuf::Message& object);
  void OnSkip(const Handler& handler, const ObjectName& name, const std::string& why);
  void ClearSkip(const Handler& handler, const ObjectName& name);
  void OnProgress(const Follower& follower);
  void SetNode(model::Node node);
  void DeleteNode(const std::string& name);
  void ReportNode();
  void Report(const std::string& origin, const std::string& object, const std::string& message);
  void CheckApiAddress(const model::Service& service);
  void SetServiceCidr(const std::string& name, const model::ServiceCidr* cidr);
  void TellServiceCidrs();
  const StreamStatus& StreamOf(std::size_t place) const;
  void MaybeSync();

  const KubeSourceOptions options_;
  ApiClient& api_;
  EventLoop& loop_;
  const Clock& clock_;
  ClusterSink* sink_ = nullptr;
  std::vector<std::unique_ptr<Follower>> followers_;
  std::map<std::string, std::string> reported_;  // origin -> message
  std::set<std::string> skipped_;                // origins
  bool node_seen_ = false;
  bool node_gone_ = false;
  std::map<std::string, std::vector<IpPrefix>> service_cidrs_;  // by ServiceCIDR
  std::vector<IpPrefix> told_cidrs_;
  bool synced_ = false;
  std::uint64_t generation_ = 0;
};

}  // namespace sluice
