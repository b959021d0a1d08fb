// SPDX-License-Identifier: Apache-2.0
#include "control/config/apply_config.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/status_macros.h"
#include "control/model/ip_address.h"

namespace sluice {
namespace {

// "--cluster-cidr (clusterCIDR)": whichever of the two somebody has written.
absl::Status In(std::string_view path, const absl::Status& status) {
  const ConfigField* field = FindField(path);
  return Annotate(status, field == nullptr ? std::string(path)
                                           : absl::StrCat("--", std::string(field->flag), " (",
                                                          std::string(path), ")"));
}

absl::Status ApplyAddresses(const KubeProxyConfig& config, AgentOptions& options) {
  if (config.Has("bindAddress")) {
    const auto address = IpAddress::Parse(config.Text("bindAddress"));
    RETURN_IF_ERROR(In("bindAddress", address.status()));
    // kube-proxy takes the family of its servers from it, and binds nothing to it.
    if (!address->is_v4()) {
      options.healthz_address = "[::]:10256";
      options.metrics_address = "[::1]:10249";
    }
  }
  if (config.Has("healthzBindAddress")) {
    options.healthz_address = config.Text("healthzBindAddress");
  }
  if (config.Has("metricsBindAddress")) {
    options.metrics_address = config.Text("metricsBindAddress");
  }
  if (config.Has("bindAddressHardFail")) {
    options.bind_address_hard_fail = config.Bool("bindAddressHardFail");
  }
  return absl::OkStatus();
}

// kube-proxy's key words beside "primary".
absl::StatusOr<NodePortFlag> NodePortAddresses(std::vector<std::string> words) {
  if (std::count(words.begin(), words.end(), "primary") != 0 && words.size() > 1) {
    return absl::InvalidArgumentError("\"primary\" stands alone");
  }
  // Loopback never serves NodePorts, so that the word adds nothing; and alone it leaves nothing.
  const auto local = std::remove(words.begin(), words.end(), "localhost");
  if (local != words.end() && local == words.begin()) {
    return absl::InvalidArgumentError("loopback addresses serve no NodePorts");
  }
  words.erase(local, words.end());
  for (std::string& word : words) {
    if (word == "all") word = "0.0.0.0/0,::/0";
  }
  return ParseNodePortFlag(absl::StrJoin(words, ","));
}

absl::Status ApplyNetwork(const KubeProxyConfig& config, AgentOptions& options) {
  if (config.Has("clusterCIDR")) {
    auto cidrs = ParseCidrs(config.Text("clusterCIDR"));
    RETURN_IF_ERROR(In("clusterCIDR", cidrs.status()));
    options.interfaces.cluster_cidrs = *std::move(cidrs);
  }
  if (config.Has("nodePortAddresses")) {
    auto addresses = NodePortAddresses(config.List("nodePortAddresses"));
    RETURN_IF_ERROR(In("nodePortAddresses", addresses.status()));
    options.node_port_addresses = *std::move(addresses);
  }
  const std::string mode = config.Text("detectLocalMode");
  const bool known = mode.empty() || mode == "ClusterCIDR" || mode == "NodeCIDR" ||
                     mode == "BridgeInterface" || mode == "InterfaceNamePrefix";
  if (!known) {
    return In("detectLocalMode", absl::InvalidArgumentError(absl::StrCat("unknown mode ", mode)));
  }
  // The other ways to tell pods' interfaces are not needed: they are found by what they are.
  const std::string prefix = config.Text("detectLocal.interfaceNamePrefix");
  if (mode == "InterfaceNamePrefix" && !prefix.empty() &&
      options.interfaces.pod_interfaces.empty()) {
    options.interfaces.pod_interfaces = SplitPatterns(absl::StrCat(prefix, "*"));
  }
  return absl::OkStatus();
}

absl::Status ApplyTimeout(const KubeProxyConfig& config, std::string_view path,
                          absl::Duration& timeout) {
  const absl::Duration said = config.Duration(path);
  if (said == absl::ZeroDuration()) return absl::OkStatus();
  if (said < absl::Seconds(1)) {
    return In(path, absl::InvalidArgumentError("a duration of at least 1s"));
  }
  timeout = said;
  return absl::OkStatus();
}

absl::Status ApplyConnection(const KubeProxyConfig& config, KubeOptions& kube) {
  if (config.Has("clientConnection.kubeconfig")) {
    kube.kubeconfig = config.Text("clientConnection.kubeconfig");
  }
  if (config.Has("clientConnection.contentType")) {
    const std::string type = KnownContentType(config.Text("clientConnection.contentType"));
    kube.content_type = type.empty() ? kContentTypeProtobuf : type;
  }
  // Zero stands for the default, and less for no limit, as in client-go.
  const double qps = config.Number("clientConnection.qps");
  if (qps != 0) kube.qps = qps < 0 ? 1e6 : qps;
  const auto burst = config.Integer("clientConnection.burst");
  if (burst != 0) kube.burst = static_cast<int>(std::clamp<std::int64_t>(burst, 1, 1'000'000));
  return absl::OkStatus();
}

}  // namespace

std::string KnownContentType(const std::string& text) {
  std::string type = text.substr(0, text.find(';'));
  absl::StripAsciiWhitespace(&type);
  absl::AsciiStrToLower(&type);
  return type == kContentTypeProtobuf || type == kContentTypeJson ? type : "";
}

absl::Status ApplyConfig(const KubeProxyConfig& config, AgentOptions& options) {
  if (config.Has("hostnameOverride")) options.node_name = config.Text("hostnameOverride");
  RETURN_IF_ERROR(ApplyAddresses(config, options));
  RETURN_IF_ERROR(ApplyNetwork(config, options));
  RETURN_IF_ERROR(
      ApplyTimeout(config, "conntrack.tcpEstablishedTimeout", options.timeouts.tcp_established));
  // Our flows of UDP are those that have been answered: conntrack's streams.
  RETURN_IF_ERROR(ApplyTimeout(config, "conntrack.udpStreamTimeout", options.timeouts.udp));
  if (options.kube.has_value()) RETURN_IF_ERROR(ApplyConnection(config, *options.kube));
  options.configz = config.ConfigzJson();
  return absl::OkStatus();
}

}  // namespace sluice
