// SPDX-License-Identifier: Apache-2.0
// What kube-proxy counts of its own work, under its names, so that dashboards and alerts go on. A
// value: the loop counts, others read a copy.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

#include "control/agent/change_observer.h"

namespace sluice {

// A histogram as Prometheus has it.
class Histogram {
 public:
  // `bounds`: upper bounds of the buckets, ascending; a last one without a bound is added.
  explicit Histogram(std::vector<double> bounds);
  void Observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  // How many values were at most bounds()[i]; the last is count().
  std::vector<std::uint64_t> Cumulative() const;
  double sum() const { return sum_; }
  std::uint64_t count() const { return count_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  double sum_ = 0;
  std::uint64_t count_ = 0;
};

// kube-proxy's buckets, in seconds.
std::vector<double> SyncBuckets();         // from 1 ms, doubled, 15 of them
std::vector<double> ProgrammingBuckets();  // from 250 ms to 5 minutes

struct ProxyMetrics {
  // Each round writes both families, so that these have no family of their own.
  Histogram sync{SyncBuckets()};
  Histogram full_sync{SyncBuckets()};     // those that looked at everything
  Histogram partial_sync{SyncBuckets()};  // those that looked at what had changed
  absl::Time last_sync = absl::InfinitePast();
  std::array<Histogram, kIpFamilies> programming{Histogram(ProgrammingBuckets()),
                                                 Histogram(ProgrammingBuckets())};
  Histogram sweep{SyncBuckets()};  // of conntrack: time on the loop, waiting left out
};

}  // namespace sluice
