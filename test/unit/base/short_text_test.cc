// SPDX-License-Identifier: Apache-2.0
#include "control/base/short_text.h"

#include "gtest/gtest.h"

namespace sluice {
namespace {

TEST(ShortTextTest, WhatFitsStaysAsItIs) {
  EXPECT_EQ(ShortText("", 3), "");
  EXPECT_EQ(ShortText("abc", 3), "abc");
}

TEST(ShortTextTest, WhatIsLongerIsCutAndSaysSo) { EXPECT_EQ(ShortText("abcd", 3), "abc..."); }

TEST(ShortTextTest, NoCharacterIsCutInItsMiddle) {
  EXPECT_EQ(ShortText("a\xe2\x82\xac", 2), "a...");
  EXPECT_EQ(ShortText("a\xe2\x82\xac", 3), "a...");
  EXPECT_EQ(ShortText("a\xe2\x82\xac", 4), "a\xe2\x82\xac");
  EXPECT_EQ(ShortText("\x80\x80\x80", 2), "...");  // no UTF-8 at all
}

TEST(ShortTextTest, IsOneLine) { EXPECT_EQ(ShortText("a\nb\tc\x7f", 9), "a b c "); }

}  // namespace
}  // namespace sluice
