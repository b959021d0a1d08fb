// SPDX-License-Identifier: Apache-2.0
#include "control/source/object_check.h"

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "control/model/cluster_state.h"

namespace sluice {
namespace {

using Id = ValueTree::Id;

constexpr std::size_t kMaxNameLength = 253;      // RFC 1123 subdomain
constexpr std::size_t kMaxNamespaceLength = 63;  // RFC 1123 label
constexpr char kHeadless[] = "None";

// The line of the value at `path` under `object`, as far as the path is there.
std::uint32_t LineOf(const ValueTree& tree, Id object,
                     std::initializer_list<std::string_view> path) {
  Id at = object;
  for (const std::string_view step : path) {
    const Id below = tree.Find(at, step);
    if (below == ValueTree::kNone) break;
    at = below;
  }
  return tree.line(at);
}

// The line of element `index` of the list at spec.ports or ports.
std::uint32_t LineOfElement(const ValueTree& tree, Id list, int index) {
  if (list == ValueTree::kNone) return tree.line(tree.root());
  Id at = tree.first_child(list);
  for (int i = 0; i < index && at != ValueTree::kNone; ++i) at = tree.next(at);
  return tree.line(at == ValueTree::kNone ? list : at);
}

// Lower-case letters, digits, '-' and, if `dots`, '.'; at both ends a letter or digit.
bool IsDnsName(std::string_view name, std::size_t max_length, bool dots) {
  if (name.empty() || name.size() > max_length) return false;
  const auto alphanumeric = [](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c));
  };
  for (const char c : name) {
    if (!alphanumeric(c) && c != '-' && !(dots && c == '.')) return false;
  }
  return alphanumeric(name.front()) && alphanumeric(name.back());
}

bool IsHeadless(const model::ServiceSpec& spec) {
  return spec.cluster_ip() == kHeadless ||
         (spec.cluster_ips_size() > 0 && spec.cluster_ips(0) == kHeadless);
}

std::string_view ProtocolOf(const model::ServicePort& port) {
  return port.protocol().empty() ? std::string_view("TCP") : std::string_view(port.protocol());
}

void CheckServicePorts(const ValueTree& tree, Id object, const model::ServiceSpec& spec,
                       std::vector<FieldProblem>& problems) {
  const Id list = tree.Find(tree.Find(object, "spec"), "ports");
  std::map<std::string_view, int> names;
  std::map<std::pair<std::int32_t, std::string_view>, int> numbers;
  std::map<std::pair<std::int32_t, std::string_view>, int> node_ports;
  for (int i = 0; i < spec.ports_size() && problems.size() < kMaxFieldProblems; ++i) {
    const model::ServicePort& port = spec.ports(i);
    const auto add = [&](std::string message) {
      problems.push_back(
          {LineOfElement(tree, list, i), absl::StrCat("spec.ports[", i, "]", std::move(message))});
    };
    if (!port.has_port()) add(".port is missing");
    if (port.name().empty() && spec.ports_size() > 1) {
      add(".name is missing: with more than one port each needs one");
    }
    const auto [name, name_is_new] = names.try_emplace(port.name(), i);
    if (!name_is_new && !port.name().empty()) {
      add(absl::StrCat(".name: \"", port.name(), "\" is also that of spec.ports[", name->second,
                       "]"));
    }
    const auto [number, number_is_new] = numbers.try_emplace({port.port(), ProtocolOf(port)}, i);
    if (!number_is_new && port.has_port()) {
      add(absl::StrCat(".port: ", port.port(), " is also that of spec.ports[", number->second,
                       "], for the same protocol"));
    }
    if (port.node_port() == 0) continue;
    if (spec.type().empty() || spec.type() == "ClusterIP") {
      add(".nodePort: a Service of type ClusterIP has none: set spec.type to NodePort");
    }
    const auto [same, is_new] = node_ports.try_emplace({port.node_port(), ProtocolOf(port)}, i);
    if (!is_new) {
      add(absl::StrCat(".nodePort: ", port.node_port(), " is also that of spec.ports[",
                       same->second, "], for the same protocol"));
    }
  }
}

}  // namespace

void CheckMetadata(const ValueTree& tree, Id object, const model::ObjectMeta& metadata,
                   std::vector<FieldProblem>& problems) {
  if (metadata.name().empty()) {
    problems.push_back({LineOf(tree, object, {"metadata"}), "metadata.name is missing"});
  } else if (!IsDnsName(metadata.name(), kMaxNameLength, /*dots=*/true)) {
    problems.push_back({LineOf(tree, object, {"metadata", "name"}),
                        absl::StrCat("metadata.name: \"", metadata.name(),
                                     "\" is not a name: use a-z, 0-9, '-' and '.', at most 253")});
  }
  if (metadata.name_space().empty()) return;
  if (!IsDnsName(metadata.name_space(), kMaxNamespaceLength, /*dots=*/false)) {
    problems.push_back({LineOf(tree, object, {"metadata", "namespace"}),
                        absl::StrCat("metadata.namespace: \"", metadata.name_space(),
                                     "\" is not a name: use a-z, 0-9 and '-', at most 63")});
  }
}

void CheckObject(const ValueTree& tree, Id object, const model::Service& service,
                 std::vector<FieldProblem>& problems, std::vector<FieldProblem>& /*remarks*/) {
  const model::ServiceSpec& spec = service.spec();
  if (spec.type() == "ExternalName") return;
  const bool headless = IsHeadless(spec);
  if (spec.ports_size() == 0 && !headless) {
    problems.push_back({LineOf(tree, object, {"spec", "ports"}),
                        "spec.ports is missing: a Service needs at least one port"});
  }
  if (headless && (spec.type() == "NodePort" || spec.type() == "LoadBalancer")) {
    problems.push_back({LineOf(tree, object, {"spec", "clusterIP"}),
                        absl::StrCat("spec.clusterIP: a Service of type ", spec.type(),
                                     " cannot be headless (None)")});
  }
  if (!spec.cluster_ip().empty() && spec.cluster_ips_size() > 0 &&
      spec.cluster_ips(0) != spec.cluster_ip()) {
    problems.push_back(
        {LineOf(tree, object, {"spec", "clusterIPs"}),
         absl::StrCat("spec.clusterIPs[0] is \"", spec.cluster_ips(0), "\" and spec.clusterIP \"",
                      spec.cluster_ip(), "\": they have to be the same")});
  }
  if (spec.cluster_ips_size() > 2) {
    problems.push_back({LineOf(tree, object, {"spec", "clusterIPs"}),
                        "spec.clusterIPs: at most one address a family"});
  }
  const bool same_family_twice =
      spec.ip_families_size() == 2 && spec.ip_families(0) == spec.ip_families(1);
  if (spec.ip_families_size() > 2 || same_family_twice) {
    problems.push_back({LineOf(tree, object, {"spec", "ipFamilies"}),
                        "spec.ipFamilies: IPv4 and IPv6 at most once each"});
  }
  CheckServicePorts(tree, object, spec, problems);
}

void CheckObject(const ValueTree& tree, Id object, const model::EndpointSlice& slice,
                 std::vector<FieldProblem>& problems, std::vector<FieldProblem>& remarks) {
  if (slice.address_type().empty()) {
    problems.push_back({tree.line(object), "addressType is missing: write IPv4 or IPv6"});
  }
  std::map<std::string_view, int> names;
  const Id ports = tree.Find(object, "ports");
  for (int i = 0; i < slice.ports_size() && problems.size() < kMaxFieldProblems; ++i) {
    const auto [name, is_new] = names.try_emplace(slice.ports(i).name(), i);
    if (is_new) continue;
    problems.push_back({LineOfElement(tree, ports, i),
                        absl::StrCat("ports[", i, "].name: \"", slice.ports(i).name(),
                                     "\" is also that of ports[", name->second, "]")});
  }
  // Walked along with the tree, so that naming a line stays linear.
  const Id endpoints = tree.Find(object, "endpoints");
  Id at = endpoints == ValueTree::kNone ? ValueTree::kNone : tree.first_child(endpoints);
  for (int i = 0; i < slice.endpoints_size() && problems.size() < kMaxFieldProblems; ++i) {
    if (slice.endpoints(i).addresses_size() == 0) {
      problems.push_back({at == ValueTree::kNone ? tree.line(object) : tree.line(at),
                          absl::StrCat("endpoints[", i, "].addresses is missing")});
    }
    if (at != ValueTree::kNone) at = tree.next(at);
  }
  if (ServiceOf(slice).name.empty()) {
    remarks.push_back({LineOf(tree, object, {"metadata", "labels"}),
                       absl::StrCat("metadata.labels: ", kServiceNameLabel,
                                    " is missing, so no Service uses these endpoints")});
  }
}

void CheckObject(const ValueTree& /*tree*/, Id /*object*/, const model::Node& /*node*/,
                 std::vector<FieldProblem>& /*problems*/, std::vector<FieldProblem>& /*remarks*/) {}

}  // namespace sluice
