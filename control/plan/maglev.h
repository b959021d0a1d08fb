// SPDX-License-Identifier: Apache-2.0
// The slots of a service whose backends are chosen by a hash: a Maglev table (Eisenbud et al.,
// Maglev, NSDI 2016, section 3.4). Made of the backends' addresses and nothing else, so that every
// node makes the same, and nearly unchanged when one of many backends comes or goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "control/desired/desired_state.h"

namespace sluice {

// Slots for each backend, at least.
inline constexpr std::uint32_t kMaglevSlotsPerBackend = 100;

// The sizes that a table may have: the largest primes below every other power of two. So the size,
// by a change of which nearly all flows move, changes rarely as a service grows; and a hundred
// backends have 327 slots each, with which less than 1 % of the flows of others move when one of
// them leaves (control/plan/DESIGN.md has the figures: with 100 slots each it were 1.6 %).
inline constexpr std::uint32_t kMaglevTableSizes[] = {
    127, 509, 2039, 8191, 32749, 131071, 524287, 2097143,
};

// The smallest of the sizes that has kMaglevSlotsPerBackend for each of `backends`; the largest for
// more than fit.
std::uint32_t MaglevTableSize(std::size_t backends);

// What each slot holds: an index into `members`, which are in the order of their addresses. Each
// gets slots in turn; a weight would be a number of turns. Empty for no members. Cost: about 1 us
// for 100 slots.
std::vector<std::size_t> BuildMaglevTable(std::span<const BackendAddress> members);

}  // namespace sluice
