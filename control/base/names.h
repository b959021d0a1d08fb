// SPDX-License-Identifier: Apache-2.0
// What people and scripts read for the numbers of the map ABI. The names are a contract: they are
// in JSON output and metric labels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// enum sl_reason: "no_backend", ...; "unknown" for a number that this build does not know.
std::string_view ReasonName(std::uint32_t reason);
// enum sl_frontend_kind: "ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "Address".
std::string_view FrontendKindName(std::uint32_t kind);
// enum sl_verdict: "none", "forward", "drop", "reject".
std::string_view VerdictName(std::uint32_t verdict);
// enum sl_hook: "from_pod", "to_pod", "from_net", "to_net".
std::string_view HookName(std::uint32_t hook);
// IPPROTO_*: "TCP", "UDP", "SCTP", "ICMP", "ICMPv6"; else the number.
std::string ProtocolName(std::uint32_t protocol);
// The other way round, in any letter case. Empty: not TCP, UDP or SCTP.
std::optional<std::uint32_t> ProtocolNumber(std::string_view name);

}  // namespace sluice
