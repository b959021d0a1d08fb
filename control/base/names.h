// SPDX-License-Identifier: Apache-2.0
// What people and scripts read for the numbers of the map ABI. The names are a contract: they are
// in JSON output and metric labels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "maps/service.h"

namespace sluice {

// enum sl_reason: "no_backend", ...; "unknown" for a number that this build does not know.
std::string_view ReasonName(std::uint32_t reason);
// enum sl_frontend_kind: "ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "Address".
std::string_view FrontendKindName(std::uint32_t kind);
// Whether clients reach a service there: not the row of an address, nor what stands beside a
// frontend for packets that other nodes pass on.
bool IsReachedByClients(std::uint32_t kind);
// enum sl_algorithm, as the annotation has it: "random", "maglev" (both kinds), "least-connection".
std::string_view AlgorithmName(std::uint32_t algorithm);
// The other way round: SL_ALGORITHM_MAGLEV for "maglev". Empty: no such name.
std::optional<abi::sl_algorithm> AlgorithmNumber(std::string_view name);
// enum sl_verdict: "none", "forward", "drop", "reject".
std::string_view VerdictName(std::uint32_t verdict);
// enum sl_hook: "from_pod", "to_pod", "from_net", "to_net".
std::string_view HookName(std::uint32_t hook);
// IPPROTO_*: "TCP", "UDP", "SCTP", "ICMP", "ICMPv6"; else the number.
std::string ProtocolName(std::uint32_t protocol);
// The other way round, in any letter case. Empty: not TCP, UDP or SCTP.
std::optional<std::uint32_t> ProtocolNumber(std::string_view name);

}  // namespace sluice
