// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/port_ranges.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

PortSet Set(const char* text) { return PortSet::Parse(text).value(); }

TEST(PortRangeTest, IsReadWithBothEnds) {
  EXPECT_THAT(ParsePortRange("20000-29999"), IsOkAndHolds(PortRange{20000, 29999}));
  EXPECT_THAT(ParsePortRange("80"), IsOkAndHolds(PortRange{80, 80}));
  for (const char* bad : {"", "0-5", "5-4", "1-65536", "a-b", "-", "1-", "1-2-3"}) {
    EXPECT_THAT(ParsePortRange(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

TEST(PortSetTest, IsWrittenAsTheKernelWritesIt) {
  EXPECT_EQ(Set("").ToString(), "");
  EXPECT_EQ(Set("8080,20000-29999").ToString(), "8080,20000-29999");
  EXPECT_THAT(PortSet::Parse("1,x"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PortSetTest, JoinsWhatTouches) {
  EXPECT_EQ(Set("1-2,3-4").ToString(), "1-4");
  EXPECT_EQ(Set("30000-32767,20000-29999").ToString(), "20000-32767");
  EXPECT_EQ(Set("5-9,1-20,7").ToString(), "1-20");
  EXPECT_EQ(Set("1,3").ToString(), "1,3");
  EXPECT_EQ(Set("65535,65534").ToString(), "65534-65535");
}

TEST(PortSetTest, WithoutTakesOutExactlyTheOther) {
  EXPECT_EQ(Set("1-10").Without(Set("4-6")).ToString(), "1-3,7-10");
  EXPECT_EQ(Set("1-10").Without(Set("1-10")).ToString(), "");
  EXPECT_EQ(Set("1-10,20").Without(Set("10-20")).ToString(), "1-9");
  EXPECT_EQ(Set("1-10").Without(Set("")).ToString(), "1-10");
  EXPECT_EQ(Set("1-65535").Without(Set("1,65535")).ToString(), "2-65534");
}

TEST(PortSetTest, WhatWasAddedCanBeTakenBack) {
  const PortSet before = Set("8080,20500-20600");
  PortSet merged = before;
  merged.Add({20000, 29999});
  const PortSet added = merged.Without(before);
  EXPECT_EQ(added.ToString(), "20000-20499,20601-29999");
  EXPECT_EQ(merged.Without(added), before);
}

TEST(PortSysctlTest, TheKernelsOwnValuesAreUnderstood) {
  EXPECT_THAT(ReadEphemeralPorts(), IsOk());
  EXPECT_THAT(ReadReservedPorts(), IsOk());
  EXPECT_THAT(ForwardingEnabled(true), IsOk());
  EXPECT_THAT(ForwardingEnabled(false), IsOk());
}

}  // namespace
}  // namespace sluice::testing
