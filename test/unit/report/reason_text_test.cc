// SPDX-License-Identifier: Apache-2.0
#include "control/report/reason_text.h"

#include "gtest/gtest.h"

#include "control/base/names.h"
#include "maps/reason.h"

namespace sluice::report {
namespace {

TEST(ReasonTextTest, EveryReasonHasWords) {
  for (std::uint32_t reason = 1; reason < abi::SL_REASON_COUNT; ++reason) {
    EXPECT_NE(ReasonText(reason), "") << ReasonName(reason);
    EXPECT_EQ(ReasonText(ReasonName(reason)), ReasonText(reason));
  }
  EXPECT_EQ(ReasonText(std::uint32_t{0}), "");
  EXPECT_EQ(ReasonText(abi::SL_REASON_COUNT), "");
  EXPECT_EQ(ReasonText("tomorrow"), "");
}

}  // namespace
}  // namespace sluice::report
