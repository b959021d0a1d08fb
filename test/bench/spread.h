// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace sluice::bench {

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};
// Requires: values not empty.
Spread SpreadOf(std::vector<double> values);

}  // namespace sluice::bench
