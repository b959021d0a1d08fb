// SPDX-License-Identifier: Apache-2.0
// What the rows say that the program should answer: the check of a walk against the answer, never a
// replacement of it. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "control/report/trace_facts.h"

namespace sluice::report {

struct TraceExpected {
  enum class Outcome { kNone, kRefuse, kForward };
  Outcome outcome = Outcome::kNone;
  std::uint32_t reason = 0;  // enum sl_reason, of kRefuse
};

// By the order in which the program asks (bpf/core/decide.h, select.h).
TraceExpected ExpectedAnswer(const TraceFacts& facts);

// The loadBalancerSourceRange that lets the client in; null: none does. Meaningful only if the
// frontend asks for one.
const IpPrefix* AllowingRange(const TraceFacts& facts);

// Whether the frontend asks the client's family for a source range.
bool AsksRanges(const TraceFacts& facts);

// Why facts.answer cannot be what the rows lead to, as far as they were read: they were changed
// meanwhile. Empty: it can.
std::string Disagreement(const TraceFacts& facts);

}  // namespace sluice::report
