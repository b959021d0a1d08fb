// SPDX-License-Identifier: Apache-2.0
#include "gtest/gtest.h"

#include "control/datapath/attachment.h"

namespace sluice {
namespace {

TEST(LinkPinNameTest, IsTheInterfaceAndTheHook) {
  EXPECT_EQ(LinkPinName("eth0", "from_net"), "eth0_from_net");
}

TEST(LinkPinNameTest, HasNoDotsAndStaysUnambiguous) {
  EXPECT_EQ(LinkPinName("eth0.100", "to_net"), "eth0%2e100_to_net");
  EXPECT_NE(LinkPinName("a.b", "to_net"), LinkPinName("a%2eb", "to_net"));
}

}  // namespace
}  // namespace sluice
