// SPDX-License-Identifier: Apache-2.0
#include "control/model/ip_address.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

IpAddress Address(const std::string& text) { return IpAddress::Parse(text).value(); }
IpPrefix Prefix(const std::string& text) { return IpPrefix::Parse(text).value(); }

TEST(IpAddressTest, ReadsAndWritesBothFamilies) {
  for (const char* text : {"192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1",
                           "fe80::1", "64:ff9b::102:304"}) {
    EXPECT_EQ(Address(text).ToString(), text);
  }
  EXPECT_EQ(Address("2001:DB8:0:0::1").ToString(), "2001:db8::1");
}

TEST(IpAddressTest, RefusesWhatIsNoAddress) {
  const std::vector<std::string> bad = {"",
                                        "192.0.2",
                                        "192.0.2.256",
                                        "192.0.02.1",
                                        "010.0.0.1",
                                        " 192.0.2.1",
                                        "1.2.3.4 ",
                                        "2001:db8:::1",
                                        "fe80::1%eth0",
                                        "2001:db8::1/64",
                                        "a",
                                        "0x7f.1",
                                        std::string("192.0.2.1\0x", 11)};
  for (const std::string& text : bad) {
    EXPECT_THAT(IpAddress::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not an IP address")))
        << text;
  }
  EXPECT_THAT(IpAddress::Parse("::ffff:192.0.2.1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("write it dotted")));
}

TEST(IpAddressTest, KnowsFamilyAndKind) {
  EXPECT_TRUE(Address("192.0.2.1").is_v4());
  EXPECT_FALSE(Address("2001:db8::1").is_v4());
  EXPECT_TRUE(Address("0.0.0.0").is_unspecified());
  EXPECT_TRUE(Address("::").is_unspecified());
  EXPECT_FALSE(Address("0.0.0.1").is_unspecified());
  EXPECT_TRUE(Address("127.255.0.1").is_loopback());
  EXPECT_TRUE(Address("::1").is_loopback());
  EXPECT_FALSE(Address("128.0.0.1").is_loopback());
  EXPECT_FALSE(Address("::2").is_loopback());
  EXPECT_TRUE(Address("224.0.0.1").is_multicast());
  EXPECT_TRUE(Address("239.255.255.255").is_multicast());
  EXPECT_FALSE(Address("240.0.0.1").is_multicast());
  EXPECT_TRUE(Address("ff02::1").is_multicast());
  EXPECT_FALSE(Address("fe80::1").is_multicast());
  EXPECT_TRUE(Address("169.254.1.1").is_link_local());
  EXPECT_TRUE(Address("febf::1").is_link_local());
  EXPECT_FALSE(Address("fec0::1").is_link_local());
}

TEST(IpAddressTest, HoldsIPv4MappedAsTheMapsDo) {
  const abi::addr addr = Address("192.0.2.1").ToAbi();
  const unsigned char expected[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(&addr), 16),
            std::string(reinterpret_cast<const char*>(expected), 16));
  EXPECT_EQ(IpAddress::FromAbi(addr), Address("192.0.2.1"));
  EXPECT_EQ(IpAddress::FromAbi(Address("2001:db8::5").ToAbi()), Address("2001:db8::5"));
}

TEST(IpPrefixTest, ReadsTrimsAndClearsHostBits) {
  EXPECT_EQ(Prefix("10.1.2.3/8").ToString(), "10.0.0.0/8");
  EXPECT_EQ(Prefix(" 203.0.113.0/24\t").ToString(), "203.0.113.0/24");
  EXPECT_EQ(Prefix("2001:db8:ffff::1/33").ToString(), "2001:db8:8000::/33");
  EXPECT_EQ(Prefix("0.0.0.0/0").ToString(), "0.0.0.0/0");
  EXPECT_EQ(Prefix("::/0").ToString(), "::/0");
  EXPECT_EQ(Prefix("192.0.2.7/32").length(), 128u);
  EXPECT_EQ(Prefix("10.0.0.0/8").length(), 104u);
}

TEST(IpPrefixTest, RefusesWhatIsNoPrefix) {
  for (const char* text :
       {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08",
        "10.0.0.0/8x", "10.0.0/8", "fd00::/129", "/8", "10.0.0.0/1000", "10.0.0.0 /8"}) {
    EXPECT_THAT(IpPrefix::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not a CIDR")))
        << text;
  }
}

TEST(IpPrefixTest, ContainsOnlyItsOwnFamily) {
  EXPECT_TRUE(Prefix("10.0.0.0/9").Contains(Address("10.127.255.255")));
  EXPECT_FALSE(Prefix("10.0.0.0/9").Contains(Address("10.128.0.0")));
  EXPECT_TRUE(Prefix("0.0.0.0/0").Contains(Address("255.1.2.3")));
  EXPECT_FALSE(Prefix("0.0.0.0/0").Contains(Address("::1")));
  EXPECT_TRUE(Prefix("::/0").Contains(Address("2001:db8::1")));
  EXPECT_FALSE(Prefix("::/0").Contains(Address("192.0.2.1")));
  EXPECT_TRUE(Prefix("192.0.2.1/32").Contains(Address("192.0.2.1")));
  EXPECT_FALSE(Prefix("192.0.2.1/32").Contains(Address("192.0.2.0")));
}

TEST(IpPrefixTest, MaskCoversTheMappedPart) {
  EXPECT_EQ(IpAddress::FromAbi(Prefix("10.0.0.0/8").MaskAbi()).ToString(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ff00:0");
  EXPECT_EQ(IpAddress::FromAbi(Prefix("fd00::/9").MaskAbi()).ToString(), "ff80::");
}

}  // namespace
}  // namespace sluice
