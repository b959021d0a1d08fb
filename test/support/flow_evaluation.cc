// SPDX-License-Identifier: Apache-2.0
#include "test/support/flow_evaluation.h"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

namespace sluice::testing {
namespace {

constexpr std::uint32_t kServiceId = 1;
constexpr std::uint32_t kServiceIdBits = 32;

struct Claim {
  const DesiredService* service = nullptr;
  const Frontend* frontend = nullptr;
};

// Who has the frontend; nobody: null.
Claim FindFrontend(const DesiredState& state, const IpAddress& address, std::uint16_t port,
                   std::uint32_t protocol) {
  for (const auto& [name, service] : state.services) {
    for (const Frontend& frontend : service.frontends) {
      if (frontend.address == address && frontend.port == port && frontend.protocol == protocol) {
        return {&service, &frontend};
      }
    }
  }
  return {};
}

bool Matches(const abi::source_range_key& range, const IpAddress& address) {
  const IpAddress prefix = IpAddress::FromAbi(range.address);
  for (std::uint32_t bit = 0; bit < range.prefix_len - kServiceIdBits; ++bit) {
    const unsigned mask = 0x80U >> (bit % 8);
    if ((prefix.bytes()[bit / 8] & mask) != (address.bytes()[bit / 8] & mask)) return false;
  }
  return true;
}

bool MayEnter(const DesiredService& service, const abi::service& row, const IpAddress& source,
              const std::array<FamilySets, abi::SL_FAMILY_COUNT>& families) {
  const unsigned guard = source.is_v4() ? abi::SL_SERVICE_RANGES_V4 : abi::SL_SERVICE_RANGES_V6;
  if ((row.flags & guard) == 0) return true;
  const auto ranges = SourceRangeKeys(service, kServiceId, families);
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& range) { return Matches(range, source); });
}

FlowAnswer WithoutEndpoint(abi::sl_verdict verdict, abi::sl_reason reason) {
  FlowAnswer answer;
  answer.verdict = verdict;
  answer.reason = reason;
  return answer;
}

// Why an echo to an address whose row is `row` is not answered.
abi::sl_reason EchoReason(const abi::service& row, abi::sl_scope scope) {
  const unsigned local = scope == abi::SL_SCOPE_EXTERNAL ? abi::SL_SERVICE_LOCAL_EXTERNAL
                                                         : abi::SL_SERVICE_LOCAL_INTERNAL;
  if ((row.flags & abi::SL_SERVICE_HAS_ENDPOINTS) == 0) return abi::SL_REASON_NO_BACKEND;
  return row.flags & local ? abi::SL_REASON_NO_LOCAL_BACKEND : abi::SL_REASON_NO_SUCH_PORT;
}

// No service has the port, or there is none to have: is the address one's all the same?
FlowAnswer EvaluateAddress(const DesiredState& state, const NodeSetting& node,
                           const FlowQuestion& question) {
  const Claim claim = FindFrontend(state, question.destination, 0, 0);
  if (claim.service == nullptr) {
    const bool in_range =
        std::any_of(node.service_cidrs.begin(), node.service_cidrs.end(),
                    [&](const IpPrefix& cidr) { return cidr.Contains(question.destination); });
    return in_range ? WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_NO_SUCH_SERVICE)
                    : FlowAnswer{};
  }
  const auto families = SetsOf(*claim.service);
  const abi::service row =
      RowOf(*claim.service, *claim.frontend, families[FamilyOf(question.destination)], node.rows);
  const bool is_external = question.scope == abi::SL_SCOPE_EXTERNAL;
  if (is_external && (row.flags & abi::SL_SERVICE_DENY_EXTERNAL)) {
    return WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_EXTERNAL_DENIED);
  }
  if (!MayEnter(*claim.service, row, question.source, families)) {
    return WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_SOURCE_DENIED);
  }
  if (question.protocol != IPPROTO_ICMP) {
    return WithoutEndpoint(abi::SL_VERDICT_REJECT, abi::SL_REASON_NO_SUCH_PORT);
  }
  const unsigned answers =
      is_external ? abi::SL_SERVICE_ECHO_EXTERNAL : abi::SL_SERVICE_ECHO_INTERNAL;
  if (row.flags & answers) return WithoutEndpoint(abi::SL_VERDICT_FORWARD, abi::SL_REASON_NONE);
  return WithoutEndpoint(abi::SL_VERDICT_DROP, EchoReason(row, question.scope));
}

// The client's address as `backend` sees it.
IpAddress SourceSeen(const abi::service& row, const DesiredBackend& backend,
                     const NodeSetting& node, const FlowQuestion& question) {
  const bool is_external = question.scope == abi::SL_SCOPE_EXTERNAL;
  const bool masquerades = (row.flags & abi::SL_SERVICE_MASQUERADE) != 0;
  const bool is_itself = backend.address.address == question.source;
  const bool replaced = is_itself || (is_external && (!backend.local || masquerades));
  return replaced ? node.address[FamilyOf(question.source)] : question.source;
}

}  // namespace

FlowAnswer EvaluateFlow(const DesiredState& state, const NodeSetting& node,
                        const FlowQuestion& question) {
  const auto [service, frontend] =
      FindFrontend(state, question.destination, question.port, question.protocol);
  if (service == nullptr) return EvaluateAddress(state, node, question);
  const bool is_external = question.scope == abi::SL_SCOPE_EXTERNAL;
  const auto families = SetsOf(*service);
  const FamilySets& family = families[FamilyOf(question.destination)];
  const abi::service row = RowOf(*service, *frontend, family, node.rows);
  if (is_external && (row.flags & abi::SL_SERVICE_DENY_EXTERNAL)) {
    return WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_EXTERNAL_DENIED);
  }
  if (!MayEnter(*service, row, question.source, families)) {
    return WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_SOURCE_DENIED);
  }
  const auto& set = family.sets[SetFor(*service, frontend->kind, question.scope)];
  if (set.empty()) {
    const unsigned local =
        is_external ? abi::SL_SERVICE_LOCAL_EXTERNAL : abi::SL_SERVICE_LOCAL_INTERNAL;
    const bool elsewhere = (row.flags & local) && (row.flags & abi::SL_SERVICE_HAS_ENDPOINTS);
    return elsewhere ? WithoutEndpoint(abi::SL_VERDICT_DROP, abi::SL_REASON_NO_LOCAL_BACKEND)
                     : WithoutEndpoint(abi::SL_VERDICT_REJECT, abi::SL_REASON_NO_BACKEND);
  }
  FlowAnswer answer;
  answer.verdict = abi::SL_VERDICT_FORWARD;
  answer.affinity_s = row.affinity_s;
  for (const std::size_t index : set) {
    const DesiredBackend& backend = service->backends[index];
    answer.endpoints[backend.address] = SourceSeen(row, backend, node, question);
  }
  return answer;
}

}  // namespace sluice::testing
