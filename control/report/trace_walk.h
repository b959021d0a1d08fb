// SPDX-License-Identifier: Apache-2.0
// The readable answer of `sluicectl trace`: the way of the packet through the decisions, and why
// each went as it did. Pure.
#pragma once

#include <span>
#include <string>

#include "control/report/trace_facts.h"

namespace sluice::report {

// The walk of one answer, a line or more for each step. Where the rows do not lead to the answer it
// says so at the end: they were changed between the two looks. Cost: linear in the endpoints, of
// which at most 50 are listed.
std::string TraceWalk(const TraceFacts& facts);

// How often each (verdict, backend, source's address, reason) came, the most frequent first.
std::string TraceCounts(std::span<const TraceAnswer> answers);

}  // namespace sluice::report
