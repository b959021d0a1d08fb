// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace_expected.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/report/endpoint_text.h"
#include "maps/reason.h"

namespace sluice::report {
namespace {

using Outcome = TraceExpected::Outcome;

TraceExpected Refuse(std::uint32_t reason) { return {Outcome::kRefuse, reason}; }

TraceExpected ExpectedOfUnknown(const TraceFacts& facts) {
  if (!facts.address_row.has_value()) {
    return facts.service_range.empty() ? TraceExpected{} : Refuse(abi::SL_REASON_NO_SUCH_SERVICE);
  }
  const bool denied = facts.scope() == abi::SL_SCOPE_EXTERNAL &&
                      (facts.address_row->flags & abi::SL_SERVICE_DENY_EXTERNAL) != 0;
  return Refuse(denied ? abi::SL_REASON_EXTERNAL_DENIED : abi::SL_REASON_NO_SUCH_PORT);
}

// Reasons that come up only after an endpoint was chosen, or in the choosing.
bool ComesAfterChoice(const std::string& reason) {
  constexpr std::array kLate = {abi::SL_REASON_SNAT_PORTS,     abi::SL_REASON_NO_ROUTE,
                                abi::SL_REASON_TTL_EXCEEDED,   abi::SL_REASON_TOO_BIG,
                                abi::SL_REASON_REWRITE_FAILED, abi::SL_REASON_BAD_SLOT};
  return std::any_of(kLate.begin(), kLate.end(),
                     [&](std::uint32_t late) { return ReasonName(late) == reason; });
}

bool MayBeChosen(const TraceFacts& facts) {
  const std::string& backend = facts.answer.backend;
  if (facts.flow.has_value()) return backend == facts.flow_backend;
  if (facts.binding.has_value() && facts.binding->over.empty()) {
    return backend == facts.binding->endpoint;
  }
  return std::any_of(
      facts.endpoints.begin(), facts.endpoints.end(), [&](const TraceEndpoint& each) {
        // By affinity that is not seen from here, an endpoint may be used that is in no slot of the
        // set.
        const bool may = each.slots > 0 || (facts.Has(abi::SL_SERVICE_AFFINITY) && each.usable);
        return may && FormatEndpoint(each.backend.address, each.backend.port) == backend;
      });
}

}  // namespace

bool AsksRanges(const TraceFacts& facts) {
  return facts.Has(facts.answer.sent.source.is_v4() ? abi::SL_SERVICE_RANGES_V4
                                                    : abi::SL_SERVICE_RANGES_V6);
}

const IpPrefix* AllowingRange(const TraceFacts& facts) {
  const IpAddress client = facts.GuardedClient();
  for (const IpPrefix& range : facts.ranges) {
    if (range.Contains(client)) return &range;
  }
  return nullptr;
}

TraceExpected ExpectedAnswer(const TraceFacts& facts) {
  if (facts.flow.has_value()) return {Outcome::kForward};
  if (!facts.frontend.has_value()) return ExpectedOfUnknown(facts);
  if (facts.scope() == abi::SL_SCOPE_EXTERNAL && facts.Has(abi::SL_SERVICE_DENY_EXTERNAL)) {
    return Refuse(abi::SL_REASON_EXTERNAL_DENIED);
  }
  if (AsksRanges(facts) && AllowingRange(facts) == nullptr) {
    return Refuse(abi::SL_REASON_SOURCE_DENIED);
  }
  if (facts.frontend->slots[facts.scope()].count == 0) {
    const bool elsewhere = facts.IsLocalSet() && facts.Has(abi::SL_SERVICE_HAS_ENDPOINTS);
    return Refuse(elsewhere ? abi::SL_REASON_NO_LOCAL_BACKEND : abi::SL_REASON_NO_BACKEND);
  }
  return {Outcome::kForward};
}

std::string Disagreement(const TraceFacts& facts) {
  const TraceAnswer& answer = facts.answer;
  const TraceExpected expected = ExpectedAnswer(facts);
  switch (expected.outcome) {
    case Outcome::kNone:
      return answer.verdict == "none" ? "" : "by the maps the packet is no service's";
    case Outcome::kRefuse:
      if (answer.verdict != "forward" && answer.reason == ReasonName(expected.reason)) return "";
      return absl::StrCat("by the maps it is refused: ", std::string(ReasonName(expected.reason)));
    case Outcome::kForward:
      if (answer.verdict != "forward") {
        return ComesAfterChoice(answer.reason) ? "" : "by the maps it is forwarded";
      }
      return MayBeChosen(facts)
                 ? ""
                 : absl::StrCat("by the maps ", answer.backend, " is not to be chosen");
  }
  return "";
}

}  // namespace sluice::report
