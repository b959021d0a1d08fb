// SPDX-License-Identifier: Apache-2.0
#include "control/desired/service_frontends.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/base/names.h"

namespace sluice {
namespace {

constexpr std::int32_t kMaxPort = 65535;
constexpr std::uint32_t kDefaultAffinitySeconds = 10800;  // as the API server fills in
constexpr std::uint32_t kMaxAffinitySeconds = 86400;
constexpr char kAlgorithmAnnotation[] = "sluice.io/algorithm";
constexpr char kForwardingAnnotation[] = "sluice.io/forwarding";
constexpr char kHashAnnotation[] = "sluice.io/hash";
constexpr char kHashSource[] = "source";    // by the client's address
constexpr char kHashFlow[] = "5-tuple";     // by all that tells a flow from others, the default
constexpr std::size_t kMaxNameLength = 63;  // abi::service_name; Kubernetes allows no more

bool IsPort(std::int32_t port) { return port >= 1 && port <= kMaxPort; }

std::string PortText(const model::ServicePort& port) {
  return port.name().empty() ? absl::StrCat("port ", port.port())
                             : absl::StrCat("port \"", port.name(), "\" (", port.port(), ")");
}

// 0 and a problem when the datapath cannot carry it.
std::uint32_t ReadProtocol(const model::ServicePort& port, ProblemList& problems) {
  if (port.protocol().empty() || port.protocol() == "TCP") return IPPROTO_TCP;
  if (port.protocol() == "UDP") return IPPROTO_UDP;
  if (port.protocol() == "SCTP") return IPPROTO_SCTP;
  problems.Add(absl::StrCat(PortText(port), ": unknown protocol \"", port.protocol(),
                            "\"; the port is not served"));
  return 0;
}

// Appends what `text` reads as, if the Service has the family.
void ReadAddress(const std::string& field, const std::string& text,
                 const ServiceAddresses& addresses, std::vector<IpAddress>& list,
                 ProblemList& problems) {
  const absl::StatusOr<IpAddress> address = ParseUnicast(text);
  if (!address.ok()) {
    problems.Add(absl::StrCat(field, ": ", address.status().message(), "; it is skipped"));
    return;
  }
  if (!addresses.HasFamilyOf(*address)) {
    problems.Add(absl::StrCat(field, ": ", text,
                              " is skipped, the Service has no ClusterIP of its ", "family"));
    return;
  }
  list.push_back(*address);
}

// Of an unknown mode only so much is known that it is not VIP.
void CheckIpModes(const model::Service& service, ProblemList& problems) {
  for (const model::LoadBalancerIngress& ingress : service.status().load_balancer().ingress()) {
    if (IsCaptured(ingress) || ingress.ip_mode() == "Proxy") continue;
    problems.AddUnknown(absl::StrCat("status.loadBalancer.ingress: ipMode of ", ingress.ip()),
                        ingress.ip_mode(), "taken as Proxy, the address is left to the balancer");
  }
}

}  // namespace

// ipMode Proxy: the balancer wants to see the traffic itself.
bool IsCaptured(const model::LoadBalancerIngress& ingress) {
  return ingress.ip_mode().empty() || ingress.ip_mode() == "VIP";
}

void ProblemList::AddUnknown(std::string_view field, std::string_view value,
                             std::string_view done) {
  Add(absl::StrCat(std::string(field), ": unknown value \"", std::string(value), "\"; ",
                   std::string(done)));
}

absl::StatusOr<IpAddress> ParseUnicast(const std::string& text) {
  absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
  if (!address.ok()) return address;
  const char* kind = address->is_unspecified() ? "the unspecified address"
                     : address->is_loopback()  ? "a loopback address"
                     : address->is_multicast() ? "a multicast address"
                                               : nullptr;
  if (kind != nullptr) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is ", kind));
  return address;
}

std::vector<PortSpec> ReadPorts(const model::Service& service, ProblemList& problems) {
  std::vector<PortSpec> ports;
  std::set<std::pair<std::string, std::uint32_t>> seen;
  for (const model::ServicePort& port : service.spec().ports()) {
    const std::uint32_t protocol = ReadProtocol(port, problems);
    if (protocol == 0) continue;
    if (!IsPort(port.port())) {
      problems.Add(absl::StrCat(PortText(port), ": not within 1-65535; the port is not served"));
      continue;
    }
    if (port.name().size() > kMaxNameLength) {
      problems.Add(absl::StrCat(
          PortText(port), ": the name is longer than 63 characters; the port ", "is not served"));
      continue;
    }
    if (!seen.emplace(port.name(), protocol).second) {
      problems.Add(absl::StrCat(PortText(port), ": a second port of that name and protocol; it is ",
                                "not served"));
      continue;
    }
    std::int32_t node_port = port.node_port();
    if (node_port != 0 && !IsPort(node_port)) {
      problems.Add(absl::StrCat(PortText(port), ": nodePort ", node_port,
                                " is not within 1-65535; it is not served"));
      node_port = 0;
    }
    const bool has_node_port =
        service.spec().type() == "NodePort" || service.spec().type() == "LoadBalancer";
    ports.push_back({port.name(), protocol, static_cast<std::uint16_t>(port.port()),
                     static_cast<std::uint16_t>(has_node_port ? node_port : 0)});
  }
  return ports;
}

ServiceAddresses ReadAddresses(const model::Service& service, ProblemList& problems) {
  ServiceAddresses addresses;
  std::vector<std::string> cluster_ips(service.spec().cluster_ips().begin(),
                                       service.spec().cluster_ips().end());
  if (cluster_ips.empty()) cluster_ips.push_back(service.spec().cluster_ip());
  for (const std::string& text : cluster_ips) {
    const absl::StatusOr<IpAddress> address = ParseUnicast(text);
    if (!address.ok()) {
      problems.Add(absl::StrCat("clusterIPs: ", address.status().message(), "; it is skipped"));
      continue;
    }
    (address->is_v4() ? addresses.has_v4 : addresses.has_v6) = true;
    addresses.cluster.push_back(*address);
  }
  for (const std::string& text : service.spec().external_ips()) {
    ReadAddress("externalIPs", text, addresses, addresses.external, problems);
  }
  if (service.spec().type() == "LoadBalancer") {
    CheckIpModes(service, problems);
    for (const model::LoadBalancerIngress& ingress : service.status().load_balancer().ingress()) {
      if (ingress.ip().empty() || !IsCaptured(ingress)) continue;
      ReadAddress("status.loadBalancer.ingress", ingress.ip(), addresses, addresses.load_balancer,
                  problems);
    }
  }
  return addresses;
}

std::vector<IpPrefix> ReadSourceRanges(const model::Service& service, ServiceAddresses& addresses,
                                       ProblemList& problems) {
  std::vector<IpPrefix> ranges;
  for (const std::string& text : service.spec().load_balancer_source_ranges()) {
    const absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
    if (range.ok()) {
      ranges.push_back(*range);
    } else {
      problems.Add(
          absl::StrCat("loadBalancerSourceRanges: ", range.status().message(), "; it is skipped"));
    }
  }
  if (ranges.empty() && service.spec().load_balancer_source_ranges_size() > 0 &&
      !(addresses.external.empty() && addresses.load_balancer.empty())) {
    problems.Add(
        "loadBalancerSourceRanges: none can be read; external and load balancer addresses are not "
        "served, rather than served to everyone");
    addresses.external.clear();
    addresses.load_balancer.clear();
  }
  std::sort(ranges.begin(), ranges.end());
  ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
  return ranges;
}

std::uint32_t ReadAffinity(const model::Service& service, ProblemList& problems) {
  const std::string& affinity = service.spec().session_affinity();
  if (affinity.empty() || affinity == "None") return 0;
  if (affinity != "ClientIP") {
    problems.AddUnknown("sessionAffinity", affinity, "taken as None");
    return 0;
  }
  const model::ClientIpConfig& config = service.spec().session_affinity_config().client_ip();
  if (!config.has_timeout_seconds()) return kDefaultAffinitySeconds;
  const std::int32_t seconds = config.timeout_seconds();
  if (seconds >= 1 && seconds <= static_cast<std::int32_t>(kMaxAffinitySeconds)) {
    return static_cast<std::uint32_t>(seconds);
  }
  const std::uint32_t used = seconds < 1 ? kDefaultAffinitySeconds : kMaxAffinitySeconds;
  problems.Add(absl::StrCat("sessionAffinityConfig.clientIP.timeoutSeconds: ", seconds,
                            " is not within 1-86400; ", used, " is used"));
  return used;
}

abi::sl_algorithm ReadAlgorithm(const model::Service& service, ProblemList& problems) {
  abi::sl_algorithm algorithm = abi::SL_ALGORITHM_RANDOM;
  std::string hash;
  // In the order of their names: a map of protobuf has none.
  const std::map<std::string, std::string> annotations(service.metadata().annotations().begin(),
                                                       service.metadata().annotations().end());
  for (const auto& [key, value] : annotations) {
    if (key == kAlgorithmAnnotation) {
      if (const auto named = AlgorithmNumber(value); named.has_value()) {
        algorithm = *named;
      } else {
        problems.Add(absl::StrCat("annotation ", key, ": unknown value \"", value,
                                  "\", there are random, maglev and least-connection; taken as "
                                  "random"));
      }
    } else if (key == kHashAnnotation) {
      hash = value;
    } else if (absl::StartsWith(key, kAnnotationPrefix) && key != kForwardingAnnotation) {
      problems.Add(absl::StrCat("annotation ", key, ": not known to this version; it is ignored"));
    }
  }
  if (hash.empty()) return algorithm;
  if (hash != kHashSource && hash != kHashFlow) {
    problems.Add(absl::StrCat("annotation ", kHashAnnotation, ": unknown value \"", hash,
                              "\", there are ", kHashSource, " and ", kHashFlow, "; taken as ",
                              kHashFlow));
  } else if (algorithm != abi::SL_ALGORITHM_MAGLEV) {
    problems.Add(absl::StrCat("annotation ", kHashAnnotation, ": has no effect without ",
                              kAlgorithmAnnotation, ": maglev"));
  } else if (hash == kHashSource) {
    return abi::SL_ALGORITHM_MAGLEV_SOURCE;
  }
  return algorithm;
}

Forwarding ReadForwarding(const model::Service& service, Forwarding otherwise,
                          ProblemList& problems) {
  const auto& annotations = service.metadata().annotations();
  const auto it = annotations.find(kForwardingAnnotation);
  if (it == annotations.end()) return otherwise;
  const std::optional<Forwarding> named = ForwardingNamed(it->second);
  if (!named.has_value()) {
    problems.Add(absl::StrCat("annotation ", kForwardingAnnotation, ": unknown value \"",
                              it->second,
                              "\", there are snat, dsr and hybrid; taken as --forwarding says"));
  }
  return named.value_or(otherwise);
}

bool IsPassedOn(Forwarding forwarding, std::uint32_t protocol) {
  if (protocol == IPPROTO_TCP) return forwarding != Forwarding::kSnat;
  return protocol == IPPROTO_UDP && forwarding == Forwarding::kDsr;
}

void AddTunnelled(std::vector<Frontend>& frontends) {
  std::vector<Frontend> tunnelled;
  for (Frontend frontend : frontends) {
    if (frontend.kind != abi::SL_FRONTEND_NODE_PORT &&
        frontend.kind != abi::SL_FRONTEND_EXTERNAL_IP &&
        frontend.kind != abi::SL_FRONTEND_LOAD_BALANCER) {
      continue;
    }
    frontend.kind = abi::SL_FRONTEND_TUNNELLED;
    frontend.protocol |= abi::SL_PROTOCOL_TUNNELLED;
    tunnelled.push_back(frontend);
  }
  frontends.insert(frontends.end(), tunnelled.begin(), tunnelled.end());
  std::sort(frontends.begin(), frontends.end());
}

std::vector<Frontend> FrontendsOf(const PortSpec& port, const ServiceAddresses& addresses,
                                  const NodeConfig& node, ProblemList& problems) {
  // By address, port and protocol: an address that is external and the load balancer's too is one
  // frontend.
  std::map<std::tuple<IpAddress, std::uint16_t, std::uint32_t>, Frontend> frontends;
  const auto add = [&](const IpAddress& address, std::uint16_t number, abi::sl_frontend_kind kind) {
    frontends.try_emplace({address, number, port.protocol},
                          Frontend{address, number, port.protocol, kind});
  };
  for (const IpAddress& address : addresses.cluster) {
    add(address, port.port, abi::SL_FRONTEND_CLUSTER_IP);
    frontends.try_emplace({address, 0, 0}, Frontend{address, 0, 0, abi::SL_FRONTEND_ADDRESS});
  }
  for (const IpAddress& address : addresses.external) {
    add(address, port.port, abi::SL_FRONTEND_EXTERNAL_IP);
  }
  for (const IpAddress& address : addresses.load_balancer) {
    add(address, port.port, abi::SL_FRONTEND_LOAD_BALANCER);
    if (node.machine_addresses.contains(address)) continue;
    frontends.try_emplace({address, 0, 0},
                          Frontend{address, 0, 0, abi::SL_FRONTEND_EXTERNAL_ADDRESS});
  }
  if (port.node_port != 0 && node.refused_node_ports.contains({port.protocol, port.node_port})) {
    problems.Add(absl::StrCat("node port ", port.node_port, "/", ProtocolName(port.protocol),
                              " is refused: something on this node listens there that it needs; "
                              "--force-node-ports takes it all the same"));
  } else if (port.node_port != 0) {
    for (const IpAddress& address : node.node_port_addresses) {
      if (address.is_loopback() || !addresses.HasFamilyOf(address)) continue;
      add(address, port.node_port, abi::SL_FRONTEND_NODE_PORT);
    }
  }
  std::vector<Frontend> sorted;
  for (auto& [key, frontend] : frontends) sorted.push_back(frontend);
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

}  // namespace sluice
