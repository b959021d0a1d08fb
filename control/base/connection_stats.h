// SPDX-License-Identifier: Apache-2.0
// Reading what the programs count of connections that got their backend at connect().
#pragma once

#include <cstdint>
#include <span>

#include "maps/connection.h"

namespace sluice {

// Those established and not ended. While a connection comes or goes it may be off by one.
std::uint64_t OpenConnections(const abi::connection_stats& stats);

// The time, in microseconds, below which the part `quantile` (0 to 1) of the counted times lie.
// Place i counts times from 2^(i-1) to 2^i us; within a place they are taken as evenly spread, so
// that the answer is off by less than a factor of two. 0 when none was counted.
double QuantileMicroseconds(std::span<const __u64> histogram, double quantile);

// How many times were counted.
std::uint64_t CountTimes(std::span<const __u64> histogram);

}  // namespace sluice
