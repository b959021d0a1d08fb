// SPDX-License-Identifier: Apache-2.0
#include "control/desired/build_desired_state.h"

#include <string_view>

#include "absl/strings/str_cat.h"

#include "control/desired/desired_tracker.h"
#include "control/desired/endpoint_sets.h"
#include "control/desired/service_frontends.h"
#include "maps/config.h"

namespace sluice {
namespace {

// Of every unknown type the ClusterIP can be served: all that Kubernetes has so far have one.
std::string ReadType(const model::Service& service, ProblemList& problems) {
  const std::string& type = service.spec().type();
  if (type == "ClusterIP" || type == "NodePort" || type == "LoadBalancer") return type;
  if (!type.empty()) problems.AddUnknown("type", type, "taken as ClusterIP");
  return "ClusterIP";
}

// It works through hints alone, which whoever makes the slices puts there; but a word that is not
// understood may have been meant to do something.
void CheckTrafficDistribution(const model::Service& service, ProblemList& problems) {
  const std::string& wanted = service.spec().traffic_distribution();
  if (wanted.empty() || wanted == "PreferSameZone" || wanted == "PreferClose" ||
      wanted == "PreferSameNode") {
    return;
  }
  problems.AddUnknown("trafficDistribution", wanted, "only the hints of the endpoints count");
}

bool ReadPolicy(const char* field, const std::string& policy, ProblemList& problems) {
  if (policy == "Local") return true;
  if (!policy.empty() && policy != "Cluster") {
    problems.AddUnknown(field, policy, "taken as Cluster");
  }
  return false;
}

// Says of each port what all of them have.
void SumUpSets(std::vector<DesiredService>& ports) {
  std::array<bool, 2> in_cluster_set{}, in_local_set{};
  for (const DesiredService& port : ports) {
    for (const DesiredBackend& backend : port.backends) {
      const std::size_t family =
          backend.address.address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
      in_cluster_set[family] |= backend.in_cluster_set;
      in_local_set[family] |= backend.in_local_set;
    }
  }
  for (DesiredService& port : ports) {
    port.some_in_cluster_set = in_cluster_set;
    port.some_in_local_set = in_local_set;
  }
}

}  // namespace

std::optional<Forwarding> ForwardingNamed(std::string_view name) {
  if (name == "snat") return Forwarding::kSnat;
  if (name == "dsr") return Forwarding::kDsr;
  if (name == "hybrid") return Forwarding::kHybrid;
  return std::nullopt;
}

std::string WhyNotServed(const model::Service& service, const NodeConfig& node) {
  const auto& labels = service.metadata().labels();
  const model::ServiceSpec& spec = service.spec();
  const auto proxy = labels.find(kProxyNameLabel);
  if (proxy != labels.end() && proxy->second != node.proxy_name) {
    return absl::StrCat("its label ", kProxyNameLabel, " leaves it to another proxy, \"",
                        proxy->second, "\"");
  }
  if (labels.contains(kHeadlessLabel)) {
    return absl::StrCat("headless (label ", kHeadlessLabel,
                        "): clients have to find the endpoints' ", "own addresses");
  }
  if (spec.type() == "ExternalName") return "of type ExternalName: a name of DNS and no address";
  if (spec.cluster_ip() == "None" ||
      (spec.cluster_ips_size() > 0 && spec.cluster_ips(0) == "None")) {
    return "headless (clusterIP: None): clients get the endpoints' own addresses from DNS";
  }
  if (spec.cluster_ip().empty() && spec.cluster_ips_size() == 0) return "it has no ClusterIP yet";
  return "";
}

std::string WhyNoLoadBalancerAddress(const model::Service& service) {
  if (service.spec().type() != "LoadBalancer") return "";
  bool has_ip = false;
  for (const model::LoadBalancerIngress& ingress : service.status().load_balancer().ingress()) {
    if (ingress.ip().empty()) continue;
    if (IsCaptured(ingress)) return "";
    has_ip = true;
  }
  if (has_ip) {
    return "the addresses of status.loadBalancer are not of ipMode VIP: they are left to the "
           "balancer";
  }
  return service.status().load_balancer().ingress_size() == 0
             ? "status.loadBalancer has no address yet: whatever gives them out has given none"
             : "status.loadBalancer has names only, and no address";
}

BuiltService BuildService(const model::Service& service,
                          std::span<const model::EndpointSlice* const> slices,
                          const NodeConfig& node) {
  BuiltService built;
  built.not_served = WhyNotServed(service, node);
  if (!built.not_served.empty()) return built;
  const model::ObjectMeta& meta = service.metadata();
  ProblemList problems(absl::StrCat("Service ", meta.name_space(), "/", meta.name()),
                       built.problems);
  constexpr std::size_t kMaxNameLength = 63;  // of both, in Kubernetes and in abi::service_name
  if (meta.name().size() > kMaxNameLength || meta.name_space().size() > kMaxNameLength) {
    problems.Add("name or namespace is longer than 63 characters; the Service is not served");
    return built;
  }
  const std::string type = ReadType(service, problems);
  const std::vector<PortSpec> ports = ReadPorts(service, problems);
  ServiceAddresses addresses = ReadAddresses(service, problems);
  const std::vector<IpPrefix> source_ranges = ReadSourceRanges(service, addresses, problems);
  const std::uint32_t affinity_s = ReadAffinity(service, problems);
  const abi::sl_algorithm algorithm = ReadAlgorithm(service, problems);
  const Forwarding forwarding = ReadForwarding(service, node.forwarding, problems);
  const bool internal_local =
      ReadPolicy("internalTrafficPolicy", service.spec().internal_traffic_policy(), problems);
  const bool external_local =
      ReadPolicy("externalTrafficPolicy", service.spec().external_traffic_policy(), problems);
  CheckTrafficDistribution(service, problems);
  CheckSlices(slices, built.problems);
  for (const PortSpec& port : ports) {
    DesiredService desired;
    desired.name = {meta.name_space(), meta.name(), port.name, port.protocol};
    desired.type = type;
    desired.dsr = IsPassedOn(forwarding, port.protocol);
    desired.frontends = FrontendsOf(port, addresses, node, problems);
    // With policy Local nothing is passed on.
    if (desired.dsr && !external_local) AddTunnelled(desired.frontends);
    desired.backends = BackendsOf(port, slices, node, desired.dsr);
    desired.internal_local = internal_local;
    desired.external_local = external_local;
    desired.affinity_s = affinity_s;
    desired.algorithm = algorithm;
    desired.source_ranges = source_ranges;
    built.ports.push_back(std::move(desired));
  }
  SumUpSets(built.ports);
  return built;
}

DesiredState BuildDesiredState(const ClusterState& cluster, const NodeConfig& node) {
  DesiredTracker tracker(node);
  std::set<ServicePortName> changed;
  tracker.UpdateAll(cluster, changed);
  return {tracker.services(), tracker.Problems()};
}

}  // namespace sluice
