// SPDX-License-Identifier: Apache-2.0
#include "control/desired/desired_tracker.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

Age AgeOf(const model::Service& service) {
  if (!service.metadata().has_creation_timestamp()) return {};
  return {service.metadata().creation_timestamp().seconds(),
          service.metadata().creation_timestamp().nanos()};
}

}  // namespace

void DesiredTracker::Update(const ObjectName& name, const ClusterState& cluster,
                            std::set<ServicePortName>& changed) {
  const model::Service* service = cluster.FindService(name);
  const std::vector<const model::EndpointSlice*> slices = cluster.SlicesOf(name);
  if (service == nullptr && !slices.empty()) {
    slices_without_service_[name] = slices.size();
  } else {
    slices_without_service_.erase(name);
  }

  BuiltService built;
  if (service != nullptr) {
    built = BuildService(*service, slices, node_);
  } else if (!slices.empty()) {
    const model::ObjectMeta& first = slices.front()->metadata();
    built.problems.push_back(
        {absl::StrCat("EndpointSlice ", first.name_space(), "/", first.name()),
         absl::StrCat("Service ", name.name_space, "/", name.name, " is not there; ", slices.size(),
                      " slice(s) of it are kept until it is")});
  }
  SetProblems(name, std::move(built.problems));
  if (built.not_served.empty()) {
    not_served_.erase(name);
  } else {
    not_served_[name] = std::move(built.not_served);
  }
  TakeOver(name, std::move(built.ports), service == nullptr ? Age{} : AgeOf(*service), changed);
}

std::vector<ServicePortName> DesiredTracker::PortsOf(const ObjectName& service) const {
  std::vector<ServicePortName> ports;
  for (auto it = services_.lower_bound({service.name_space, service.name, "", 0});
       it != services_.end() && it->first.name_space == service.name_space &&
       it->first.name == service.name;
       ++it) {
    ports.push_back(it->first);
  }
  return ports;
}

std::size_t DesiredTracker::slices_without_service() const {
  std::size_t sum = 0;
  for (const auto& [service, slices] : slices_without_service_) sum += slices;
  return sum;
}

void DesiredTracker::TakeOver(const ObjectName& service, std::vector<DesiredService> ports,
                              const Age& age, std::set<ServicePortName>& changed) {
  const std::vector<ServicePortName> ports_before = PortsOf(service);
  std::set<ServicePortName> touched;
  std::set<ServicePortName> names;
  for (DesiredService& port : ports) {
    const ServicePortName name = port.name;
    const bool answers = port.some_in_cluster_set[0] || port.some_in_cluster_set[1];
    claims_.Set(name, age, answers, std::exchange(port.frontends, {}), touched);
    const auto [it, is_new] = services_.try_emplace(name);
    port.frontends = it->second.frontends;  // as won so far; settled below
    if (is_new || it->second != port) {
      changed.insert(name);
      it->second = std::move(port);
    }
    names.insert(name);
  }
  for (const ServicePortName& name : ports_before) {
    if (names.contains(name)) continue;
    claims_.Remove(name, touched);
    services_.erase(name);
    changed.insert(name);
  }
  for (const ServicePortName& name : touched) {
    const auto it = services_.find(name);
    if (it == services_.end()) continue;
    std::vector<Frontend> won = claims_.Won(name);
    if (won == it->second.frontends) continue;
    it->second.frontends = std::move(won);
    changed.insert(name);
  }
}

void DesiredTracker::UpdateAll(const ClusterState& cluster, std::set<ServicePortName>& changed) {
  std::set<ObjectName> names;
  for (const auto& [name, service] : services_) names.insert({name.name_space, name.name});
  for (const auto& [name, problems] : problems_) names.insert(name);
  for (const auto& [name, why] : not_served_) names.insert(name);
  cluster.ForEachService([&](const model::Service& service) {
    names.insert({service.metadata().name_space(), service.metadata().name()});
  });
  cluster.ForEachEndpointSlice([&](const model::EndpointSlice& slice) {
    ObjectName name = ServiceOf(slice);
    if (!name.name.empty()) names.insert(std::move(name));
  });
  for (const ObjectName& name : names) Update(name, cluster, changed);
}

void DesiredTracker::SetMachineAddresses(std::set<IpAddress> addresses, const ClusterState& cluster,
                                         std::set<ServicePortName>& changed) {
  std::vector<IpAddress> difference;
  std::set_symmetric_difference(addresses.begin(), addresses.end(), node_.machine_addresses.begin(),
                                node_.machine_addresses.end(), std::back_inserter(difference));
  if (difference.empty()) return;
  node_.machine_addresses = std::move(addresses);
  // By what the Services say, not by what they have: another's claim may have come first.
  std::set<ObjectName> concerned;
  cluster.ForEachService([&](const model::Service& service) {
    for (const model::LoadBalancerIngress& entry : service.status().load_balancer().ingress()) {
      const absl::StatusOr<IpAddress> address = IpAddress::Parse(entry.ip());
      if (address.ok() && std::binary_search(difference.begin(), difference.end(), *address)) {
        concerned.insert({service.metadata().name_space(), service.metadata().name()});
      }
    }
  });
  for (const ObjectName& name : concerned) Update(name, cluster, changed);
}

void DesiredTracker::SetProblems(const ObjectName& service, std::vector<Problem> problems) {
  if (problems.empty()) {
    problems_.erase(service);
  } else {
    problems_[service] = std::move(problems);
  }
}

std::vector<Problem> DesiredTracker::ObjectProblems() const {
  std::vector<Problem> all;
  for (const auto& [service, problems] : problems_) {
    all.insert(all.end(), problems.begin(), problems.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

std::vector<Problem> DesiredTracker::Problems() const {
  std::vector<Problem> all = ObjectProblems();
  const std::vector<Problem> conflicts = Conflicts();
  all.insert(all.end(), conflicts.begin(), conflicts.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace sluice
