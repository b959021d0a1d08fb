// SPDX-License-Identifier: Apache-2.0
#include "control/source/service_defaults.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

constexpr char kHeadless[] = "None";
constexpr std::int32_t kDefaultAffinitySeconds = 10800;  // 3 h, as Kubernetes

const char* FamilyName(bool v4) { return v4 ? "IPv4" : "IPv6"; }

// The addresses that the manifest gives, as text: clusterIPs, else clusterIP.
std::vector<std::string> NamedAddresses(const model::ServiceSpec& spec) {
  if (spec.cluster_ips_size() > 0) return {spec.cluster_ips().begin(), spec.cluster_ips().end()};
  if (!spec.cluster_ip().empty()) return {spec.cluster_ip()};
  return {};
}

bool HasNodePorts(const model::ServiceSpec& spec) {
  if (spec.type() == "NodePort") return true;
  return spec.type() == "LoadBalancer" && (!spec.has_allocate_load_balancer_node_ports() ||
                                           spec.allocate_load_balancer_node_ports());
}

bool HasHealthCheckNodePort(const model::ServiceSpec& spec) {
  return spec.type() == "LoadBalancer" && spec.external_traffic_policy() == "Local";
}

void FillConstants(model::ServiceSpec& spec) {
  if (spec.type().empty()) spec.set_type("ClusterIP");
  if (spec.session_affinity().empty()) spec.set_session_affinity("None");
  if (spec.session_affinity() == "ClientIP") {
    model::ClientIpConfig& config = *spec.mutable_session_affinity_config()->mutable_client_ip();
    if (!config.has_timeout_seconds()) config.set_timeout_seconds(kDefaultAffinitySeconds);
  }
  const bool external = spec.type() == "NodePort" || spec.type() == "LoadBalancer" ||
                        (spec.type() == "ClusterIP" && spec.external_ips_size() > 0);
  if (external && spec.external_traffic_policy().empty()) {
    spec.set_external_traffic_policy("Cluster");
  }
  if (spec.type() != "ExternalName" && spec.internal_traffic_policy().empty()) {
    spec.set_internal_traffic_policy("Cluster");
  }
  for (model::ServicePort& port : *spec.mutable_ports()) {
    if (port.protocol().empty()) port.set_protocol("TCP");
    const model::IntOrString& target = port.target_port();
    if (target.int_val() == 0 && target.str_val().empty()) {
      port.mutable_target_port()->set_type(0);
      port.mutable_target_port()->set_int_val(port.port());
    }
  }
}

// Whether each family is asked for, in the order of spec.clusterIPs.
struct Families {
  std::vector<bool> v4;       // the families asked for
  bool must_be_both = false;  // RequireDualStack
};

Families FamiliesOf(const model::ServiceSpec& spec, const std::vector<IpAddress>& named,
                    bool default_v4) {
  Families families;
  for (const std::string& family : spec.ip_families()) families.v4.push_back(family == "IPv4");
  if (families.v4.empty()) {
    for (const IpAddress& address : named) families.v4.push_back(address.is_v4());
  }
  if (families.v4.empty()) families.v4.push_back(default_v4);
  const std::string& policy = spec.ip_family_policy();
  const bool single = policy == "SingleStack" || (policy.empty() && families.v4.size() == 1);
  if (single) {
    families.v4.resize(1);
  } else if (families.v4.size() == 1) {
    families.v4.push_back(!families.v4[0]);
  }
  families.must_be_both = policy == "RequireDualStack" || (policy.empty() && !single);
  return families;
}

}  // namespace

void FillEndpointSlice(model::EndpointSlice& slice) {
  for (model::EndpointPort& port : *slice.mutable_ports()) {
    if (port.protocol().empty()) port.set_protocol("TCP");
  }
}

std::size_t ServiceDefaults::AddressHash::operator()(const IpAddress& address) const {
  const auto& bytes = address.bytes();
  return StableHash({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

ServiceDefaults::ServiceDefaults(ServiceDefaultsConfig config, Allocations remembered)
    : config_(std::move(config)),
      port_pool_(AllocationPool::OfPorts(config_.min_node_port, config_.max_node_port)) {
  for (const IpPrefix& prefix : config_.service_cidrs) {
    pools_.push_back({prefix, AllocationPool::OfPrefix(prefix)});
  }
  // A value that two Services hold in the file (edited by hand) stays with the first.
  for (auto& [name, allocation] : remembered) {
    for (std::optional<IpAddress>* slot : {&allocation.v4, &allocation.v6}) {
      if (*slot && !given_addresses_.try_emplace(**slot, name).second) slot->reset();
    }
    std::erase_if(allocation.node_ports, [&](const auto& port) {
      return !given_ports_.try_emplace(port.second, name).second;
    });
    std::uint16_t& health = allocation.health_check_node_port;
    if (health != 0 && !given_ports_.try_emplace(health, name).second) health = 0;
    if (!allocation.empty()) allocations_.emplace(name, allocation);
  }
}

void ServiceDefaults::Set(const model::Service& service) {
  const ObjectName name{service.metadata().name_space(), service.metadata().name()};
  Entry entry;
  for (const std::string& text : NamedAddresses(service.spec())) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
    if (address.ok()) entry.addresses.push_back(*address);
  }
  for (const model::ServicePort& port : service.spec().ports()) {
    if (port.node_port() != 0) {
      entry.node_ports.push_back(static_cast<std::uint16_t>(port.node_port()));
    }
  }
  if (service.spec().health_check_node_port() != 0) {
    entry.node_ports.push_back(static_cast<std::uint16_t>(service.spec().health_check_node_port()));
  }
  entry.wire = service.SerializeAsString();
  const auto [it, is_new] = services_.try_emplace(name);
  if (!is_new) Unclaim(it->second);
  it->second = std::move(entry);
  Claim(name, it->second);
  dirty_.insert(name);
}

void ServiceDefaults::Remove(const ObjectName& name) {
  const auto it = services_.find(name);
  if (it == services_.end()) return;
  Unclaim(it->second);
  services_.erase(it);
  dirty_.erase(name);
  problems_.erase(name);
  const auto given = allocations_.find(name);
  if (given == allocations_.end()) return;
  Free(given->second);
  allocations_.erase(given);
  allocations_changed_ = true;
}

void ServiceDefaults::ForgetAbsent() {
  std::erase_if(allocations_, [this](const auto& given) {
    if (services_.contains(given.first)) return false;
    Free(given.second);
    allocations_changed_ = true;
    return true;
  });
}

void ServiceDefaults::Claim(const ObjectName& name, const Entry& entry) {
  for (const IpAddress& address : entry.addresses) {
    ++named_addresses_[address];
    const auto holder = given_addresses_.find(address);
    if (holder != given_addresses_.end()) TakeFrom(ObjectName(holder->second), address);
  }
  for (const std::uint16_t port : entry.node_ports) {
    ++named_ports_[port];
    const auto holder = given_ports_.find(port);
    // A Service may write down the node port that it was given: then its other port moves.
    if (holder != given_ports_.end()) TakeFrom(ObjectName(holder->second), port);
  }
  dirty_.insert(name);
}

void ServiceDefaults::Unclaim(const Entry& entry) {
  for (const IpAddress& address : entry.addresses) {
    if (--named_addresses_[address] == 0) named_addresses_.erase(address);
  }
  for (const std::uint16_t port : entry.node_ports) {
    if (--named_ports_[port] == 0) named_ports_.erase(port);
  }
}

void ServiceDefaults::TakeFrom(const ObjectName& holder, const IpAddress& address) {
  given_addresses_.erase(address);
  Allocation& given = allocations_[holder];
  (address.is_v4() ? given.v4 : given.v6).reset();
  if (given.empty()) allocations_.erase(holder);
  allocations_changed_ = true;
  if (services_.contains(holder)) dirty_.insert(holder);
}

void ServiceDefaults::TakeFrom(const ObjectName& holder, std::uint16_t port) {
  given_ports_.erase(port);
  Allocation& given = allocations_[holder];
  std::erase_if(given.node_ports, [port](const auto& entry) { return entry.second == port; });
  if (given.health_check_node_port == port) given.health_check_node_port = 0;
  if (given.empty()) allocations_.erase(holder);
  allocations_changed_ = true;
  if (services_.contains(holder)) dirty_.insert(holder);
}

void ServiceDefaults::Free(const Allocation& allocation) {
  for (const std::optional<IpAddress>& address : {allocation.v4, allocation.v6}) {
    if (address) given_addresses_.erase(*address);
  }
  for (const auto& [purpose, port] : allocation.node_ports) given_ports_.erase(port);
  if (allocation.health_check_node_port != 0) {
    given_ports_.erase(allocation.health_check_node_port);
  }
}

void ServiceDefaults::Reserve(const ObjectName& name, const Allocation& allocation) {
  for (const std::optional<IpAddress>& address : {allocation.v4, allocation.v6}) {
    if (address) given_addresses_[*address] = name;
  }
  for (const auto& [purpose, port] : allocation.node_ports) given_ports_[port] = name;
  if (allocation.health_check_node_port != 0) {
    given_ports_[allocation.health_check_node_port] = name;
  }
}

ServiceDefaults::Outcome ServiceDefaults::Resolve() {
  for (Pool& pool : pools_) pool.exhausted = false;
  ports_exhausted_ = false;
  // Who went without may find something free now.
  for (const auto& [name, problem] : problems_) dirty_.insert(name);
  problems_.clear();
  Outcome outcome;
  for (const ObjectName& name : std::exchange(dirty_, {})) {
    outcome.services.push_back(Complete(name, services_.at(name)));
  }
  outcome.allocations_changed = std::exchange(allocations_changed_, false);
  return outcome;
}

model::Service ServiceDefaults::Complete(const ObjectName& name, const Entry& entry) {
  model::Service service;
  service.ParseFromString(entry.wire);  // our own bytes
  model::ServiceSpec& spec = *service.mutable_spec();
  FillConstants(spec);

  Allocation before;
  if (const auto it = allocations_.find(name); it != allocations_.end()) before = it->second;
  Free(before);
  Allocation given = before;
  CompleteAddresses(name, entry, spec, given);
  CompletePorts(name, spec, given);
  Reserve(name, given);
  if (given == before) return service;
  allocations_changed_ = true;
  if (given.empty()) {
    allocations_.erase(name);
  } else {
    allocations_[name] = std::move(given);
  }
  return service;
}

void ServiceDefaults::CompleteAddresses(const ObjectName& name, const Entry& entry,
                                        model::ServiceSpec& spec, Allocation& given) {
  const Allocation before = given;
  given.v4.reset();
  given.v6.reset();
  const std::vector<std::string> named = NamedAddresses(spec);
  const bool headless = !named.empty() && named[0] == kHeadless;
  // An address that does not parse is reported by those who read it, and takes its place here.
  if (spec.type() == "ExternalName" || headless || entry.addresses.size() != named.size()) return;

  const bool default_v4 = pools_.empty() || pools_[0].prefix.is_v4();
  const Families families = FamiliesOf(spec, entry.addresses, default_v4);
  std::vector<IpAddress> addresses = entry.addresses;
  for (const bool v4 : families.v4) {
    const bool have = std::any_of(addresses.begin(), addresses.end(),
                                  [v4](const IpAddress& address) { return address.is_v4() == v4; });
    if (have || addresses.size() >= families.v4.size()) continue;
    Pool* pool = PoolOf(v4);
    if (pool == nullptr) {
      const bool optional = !families.must_be_both && families.v4.size() == 2;
      if (optional && v4 != families.v4[0]) continue;
      Complain(name, absl::StrCat("needs an ", FamilyName(v4),
                                  " address, and --service-cidr has none of that family"));
      continue;
    }
    (v4 ? given.v4 : given.v6) = v4 ? before.v4 : before.v6;
    const std::optional<IpAddress>& address = GiveAddress(name, *pool, given);
    if (address) addresses.push_back(*address);
  }
  if (addresses.empty()) return;
  spec.clear_cluster_ips();
  spec.clear_ip_families();
  for (const IpAddress& address : addresses) {
    spec.add_cluster_ips(address.ToString());
    spec.add_ip_families(FamilyName(address.is_v4()));
  }
  spec.set_cluster_ip(spec.cluster_ips(0));
  if (spec.ip_family_policy().empty()) {
    spec.set_ip_family_policy(addresses.size() == 2 ? "RequireDualStack" : "SingleStack");
  }
}

ServiceDefaults::Pool* ServiceDefaults::PoolOf(bool v4) {
  const auto pool = std::find_if(pools_.begin(), pools_.end(), [v4](const Pool& candidate) {
    return candidate.prefix.is_v4() == v4;
  });
  return pool == pools_.end() ? nullptr : &*pool;
}

const std::optional<IpAddress>& ServiceDefaults::GiveAddress(const ObjectName& name, Pool& pool,
                                                             Allocation& given) {
  std::optional<IpAddress>& slot = pool.prefix.is_v4() ? given.v4 : given.v6;
  const auto is_free = [this](const IpAddress& address) {
    return !named_addresses_.contains(address) && !given_addresses_.contains(address);
  };
  if (slot && pool.prefix.Contains(*slot) && is_free(*slot)) return slot;
  slot.reset();
  if (!pool.exhausted) {
    const std::uint64_t seed =
        StableHash(absl::StrCat(name.name_space, "/", name.name, "/address"));
    const std::optional<std::uint64_t> place = pool.places.Choose(
        seed, [&](std::uint64_t candidate) { return is_free(AddressAt(pool.prefix, candidate)); });
    if (place) slot = AddressAt(pool.prefix, *place);
    pool.exhausted = !place.has_value();
  }
  if (!slot) {
    Complain(name, absl::StrCat("got no cluster address: all of --service-cidr ",
                                pool.prefix.ToString(), " are taken: give it a larger one"));
  }
  return slot;
}

void ServiceDefaults::CompletePorts(const ObjectName& name, model::ServiceSpec& spec,
                                    Allocation& given) {
  const Allocation before = std::exchange(given, {given.v4, given.v6, {}, 0});
  std::map<std::string, model::ServicePort*> wanted;  // by purpose
  if (HasNodePorts(spec)) {
    for (model::ServicePort& port : *spec.mutable_ports()) {
      if (port.node_port() == 0) wanted[absl::StrCat(port.port(), "/", port.protocol())] = &port;
    }
  }
  const bool wants_health = HasHealthCheckNodePort(spec) && spec.health_check_node_port() == 0;
  // First those that stay, so that no new port takes the place of one of them.
  for (const auto& [purpose, port] : wanted) {
    const auto old = before.node_ports.find(purpose);
    if (old == before.node_ports.end() || !IsFreeNodePort(old->second)) continue;
    given.node_ports[purpose] = old->second;
    given_ports_[old->second] = name;
  }
  if (wants_health && IsFreeNodePort(before.health_check_node_port)) {
    given.health_check_node_port = before.health_check_node_port;
    given_ports_[given.health_check_node_port] = name;
  }
  for (const auto& [purpose, port] : wanted) {
    if (!given.node_ports.contains(purpose)) {
      const std::uint16_t chosen = ChooseNodePort(name, purpose);
      if (chosen == 0) continue;
      given.node_ports[purpose] = chosen;
    }
    port->set_node_port(given.node_ports[purpose]);
  }
  if (wants_health && given.health_check_node_port == 0) {
    given.health_check_node_port = ChooseNodePort(name, "health check");
  }
  if (wants_health && given.health_check_node_port != 0) {
    spec.set_health_check_node_port(given.health_check_node_port);
  }
}

bool ServiceDefaults::IsFreeNodePort(std::uint16_t port) const {
  return port >= config_.min_node_port && port <= config_.max_node_port &&
         !named_ports_.contains(port) && !given_ports_.contains(port);
}

std::uint16_t ServiceDefaults::ChooseNodePort(const ObjectName& name, const std::string& purpose) {
  if (!ports_exhausted_) {
    const std::uint64_t seed =
        StableHash(absl::StrCat(name.name_space, "/", name.name, "/", purpose));
    const std::optional<std::uint64_t> place =
        port_pool_.Choose(seed, [this](std::uint64_t candidate) {
          return IsFreeNodePort(static_cast<std::uint16_t>(candidate));
        });
    if (place) {
      // Taken at once, so that the next port of the same Service gets another.
      given_ports_[static_cast<std::uint16_t>(*place)] = name;
      return static_cast<std::uint16_t>(*place);
    }
    ports_exhausted_ = true;
  }
  Complain(name, absl::StrCat("got no node port for ", purpose, ": all of ", config_.min_node_port,
                              "-", config_.max_node_port, " are taken"));
  return 0;
}

void ServiceDefaults::Complain(const ObjectName& name, const std::string& message) {
  std::string& problem = problems_[name];
  absl::StrAppend(&problem, problem.empty() ? "" : "; ", message);
}

}  // namespace sluice
