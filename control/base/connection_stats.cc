// SPDX-License-Identifier: Apache-2.0
#include "control/base/connection_stats.h"

#include <numeric>

namespace sluice {

std::uint64_t OpenConnections(const abi::connection_stats& stats) {
  const std::uint64_t ended = stats.closed + stats.reset;
  return stats.established > ended ? stats.established - ended : 0;
}

std::uint64_t CountTimes(std::span<const __u64> histogram) {
  return std::accumulate(histogram.begin(), histogram.end(), std::uint64_t{0});
}

double QuantileMicroseconds(std::span<const __u64> histogram, double quantile) {
  const double wanted = quantile * static_cast<double>(CountTimes(histogram));
  double below = 0;
  double from = 0;
  double to = 1;
  for (const __u64 count : histogram) {
    const auto here = static_cast<double>(count);
    if (count != 0 && below + here >= wanted) return from + (to - from) * (wanted - below) / here;
    below += here;
    from = to;
    to *= 2;
  }
  return 0;
}

}  // namespace sluice
