// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy_metrics.h"

#include <algorithm>
#include <utility>

namespace sluice {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void Histogram::Observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(bucket)];
  sum_ += value;
  ++count_;
}

std::vector<std::uint64_t> Histogram::Cumulative() const {
  std::vector<std::uint64_t> cumulative;
  std::uint64_t sum = 0;
  for (const std::uint64_t count : counts_) cumulative.push_back(sum += count);
  return cumulative;
}

std::vector<double> SyncBuckets() {
  std::vector<double> bounds;
  double bound = 0.001;
  for (int i = 0; i < 15; ++i, bound *= 2) bounds.push_back(bound);
  return bounds;
}

std::vector<double> ProgrammingBuckets() {
  std::vector<double> bounds = {0.25, 0.5};
  for (int i = 1; i < 60; ++i) bounds.push_back(i);
  for (int i = 60; i < 120; i += 5) bounds.push_back(i);
  for (int i = 120; i <= 300; i += 30) bounds.push_back(i);
  return bounds;
}

}  // namespace sluice
