// SPDX-License-Identifier: Apache-2.0
#include "test/bench/spread.h"

#include <algorithm>

namespace sluice::bench {

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

}  // namespace sluice::bench
