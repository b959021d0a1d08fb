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

// Slots for each backend, at least, where there is room.
inline constexpr std::uint32_t kMaglevSlotsPerBackend = 100;

// The least that is given up to room: with ten slots or eleven a backend has its share to a tenth.
inline constexpr std::uint32_t kMaglevLeastSlotsPerBackend = 10;

// The sizes that a table may have: the largest primes below every other power of two. So the size,
// by a change of which nearly all flows move, changes rarely as a service grows; and a hundred
// backends have 327 slots each, with which less than 1 % of the flows of others move when one of
// them leaves (control/plan/DESIGN.md has the figures: with 100 slots each it were 1.6 %).
inline constexpr std::uint32_t kMaglevTableSizes[] = {
    127, 509, 2039, 8191, 32749, 131071, 524287, 2097143,
};

// The share of all slots that one table may have. A service can have two that are wide, one for
// each family (the sets of this node are not), and a change makes the new before the old are free:
// so it takes up half of the slots at most.
inline constexpr std::uint32_t kMaglevShareOfSlots = 8;

// The smallest of the sizes that has kMaglevSlotsPerBackend for each of `backends`. Where that is
// more than a table's share of `slots`, the largest that is not, if it has at least
// kMaglevLeastSlotsPerBackend. By the number of backends and a flag alone, not by what is free now:
// nodes with the same flag must come to the same table.
std::uint32_t MaglevTableSize(std::size_t backends, std::uint32_t slots);

// What each of `size` slots holds: an index into `members`, which are in the order of their
// addresses. Each gets slots in turn; a weight would be a number of turns. Empty for no members.
// `size`: a prime. Cost: linear in the slots, each a cache miss in large tables
// (control/plan/DESIGN.md has figures).
std::vector<std::uint32_t> BuildMaglevTable(std::span<const BackendAddress> members,
                                            std::uint32_t size);

}  // namespace sluice
