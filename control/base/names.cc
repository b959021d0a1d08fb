// SPDX-License-Identifier: Apache-2.0
#include "control/base/names.h"

#include <netinet/in.h>

#include <array>
#include <cstddef>

#include "absl/strings/match.h"

#include "maps/reason.h"
#include "maps/service.h"
#include "maps/trace.h"

namespace sluice {
namespace {

constexpr std::string_view kUnknown = "unknown";

constexpr std::array<std::string_view, 18> kReasons = {
    "none",           "no_backend",       "no_local_backend", "external_denied", "source_denied",
    "no_such_port",   "no_such_service",  "backend_gone",     "no_flow",         "snat_ports",
    "flows_full",     "fragment_unknown", "no_route",         "ttl_exceeded",    "too_big",
    "rewrite_failed", "bad_slot",         "tunnel_denied",
};
static_assert(kReasons.size() == abi::SL_REASON_COUNT, "every reason needs a name, in its order");
static_assert(abi::SL_REASON_BAD_SLOT == 16, "reasons are append only");

}  // namespace

std::string_view ReasonName(std::uint32_t reason) {
  return reason < kReasons.size() ? kReasons[reason] : kUnknown;
}

std::string_view FrontendKindName(std::uint32_t kind) {
  switch (kind) {
    case abi::SL_FRONTEND_CLUSTER_IP:
      return "ClusterIP";
    case abi::SL_FRONTEND_NODE_PORT:
      return "NodePort";
    case abi::SL_FRONTEND_EXTERNAL_IP:
      return "ExternalIP";
    case abi::SL_FRONTEND_LOAD_BALANCER:
      return "LoadBalancer";
    case abi::SL_FRONTEND_ADDRESS:
    case abi::SL_FRONTEND_EXTERNAL_ADDRESS:
      return "Address";
    case abi::SL_FRONTEND_TUNNELLED:
      return "Tunnelled";
    default:
      return kUnknown;
  }
}

bool IsReachedByClients(std::uint32_t kind) {
  return !abi::frontend_is_address(kind) && kind != abi::SL_FRONTEND_TUNNELLED;
}

std::string_view VerdictName(std::uint32_t verdict) {
  switch (verdict) {
    case abi::SL_VERDICT_NONE:
      return "none";
    case abi::SL_VERDICT_FORWARD:
      return "forward";
    case abi::SL_VERDICT_DROP:
      return "drop";
    case abi::SL_VERDICT_REJECT:
      return "reject";
    default:
      return kUnknown;
  }
}

std::string_view AlgorithmName(std::uint32_t algorithm) {
  switch (algorithm) {
    case abi::SL_ALGORITHM_RANDOM:
      return "random";
    case abi::SL_ALGORITHM_MAGLEV:
    case abi::SL_ALGORITHM_MAGLEV_SOURCE:
      return "maglev";
    case abi::SL_ALGORITHM_LEAST_CONNECTION:
      return "least-connection";
    default:
      return kUnknown;
  }
}

std::optional<abi::sl_algorithm> AlgorithmNumber(std::string_view name) {
  for (abi::sl_algorithm algorithm :
       {abi::SL_ALGORITHM_RANDOM, abi::SL_ALGORITHM_MAGLEV, abi::SL_ALGORITHM_LEAST_CONNECTION}) {
    if (name == AlgorithmName(algorithm)) return algorithm;
  }
  return std::nullopt;
}

std::string_view HookName(std::uint32_t hook) {
  switch (hook) {
    case abi::SL_HOOK_FROM_POD:
      return "from_pod";
    case abi::SL_HOOK_TO_POD:
      return "to_pod";
    case abi::SL_HOOK_FROM_NET:
      return "from_net";
    case abi::SL_HOOK_TO_NET:
      return "to_net";
    default:
      return kUnknown;
  }
}

std::string ProtocolName(std::uint32_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    case IPPROTO_SCTP:
      return "SCTP";
    case IPPROTO_ICMP:
      return "ICMP";
    case IPPROTO_ICMPV6:
      return "ICMPv6";
    default:
      return std::to_string(protocol);
  }
}

std::optional<std::uint32_t> ProtocolNumber(std::string_view name) {
  const absl::string_view text(name.data(), name.size());
  if (absl::EqualsIgnoreCase(text, "tcp")) return IPPROTO_TCP;
  if (absl::EqualsIgnoreCase(text, "udp")) return IPPROTO_UDP;
  if (absl::EqualsIgnoreCase(text, "sctp")) return IPPROTO_SCTP;
  return std::nullopt;
}

}  // namespace sluice
