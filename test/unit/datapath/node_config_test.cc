// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_config.h"

#include <cstring>

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

constexpr PortRange kSnat = {20000, 29999};

TEST(CheckSnatPortsTest, TakesARangeOfItsOwn) {
  EXPECT_THAT(CheckSnatPorts(kSnat, {32768, 60999}), IsOk());
}

TEST(CheckSnatPortsTest, RefusesNodePorts) {
  EXPECT_THAT(CheckSnatPorts({25000, 30000}, {32768, 60999}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NodePort")));
}

TEST(CheckSnatPortsTest, RefusesPortsThatTheKernelGivesOut) {
  EXPECT_THAT(CheckSnatPorts(kSnat, {1024, 65000}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ip_local_port_range")));
  EXPECT_THAT(CheckSnatPorts({60999, 61999}, {32768, 60999}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(CheckServiceCidrsTest, AllowsOneAFamily) {
  const IpPrefix v4 = IpPrefix::Parse("10.96.0.0/12").value();
  const IpPrefix v6 = IpPrefix::Parse("fd00::/112").value();
  EXPECT_THAT(CheckServiceCidrs({v4, v6}), IsOk());
  EXPECT_THAT(CheckServiceCidrs({v4, v4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10.96.0.0/12")));
}

TEST(MakeNodeConfigTest, HasAddressesRangesAndPorts) {
  NodeAddresses addresses;
  addresses.source[abi::SL_FAMILY_V4] = IpAddress::Parse("192.0.2.1").value();
  for (const char* text : {"192.0.2.7", "2001:db8::7", "192.0.2.8"}) {
    addresses.snat.push_back(IpAddress::Parse(text).value());
  }
  const abi::node_config config =
      MakeNodeConfig(addresses, kSnat, {IpPrefix::Parse("10.96.0.0/12").value()});
  EXPECT_EQ(IpAddress::FromAbi(config.node_address[abi::SL_FAMILY_V4]).ToString(), "192.0.2.1");
  const abi::addr none{};
  EXPECT_EQ(std::memcmp(&config.node_address[abi::SL_FAMILY_V6], &none, sizeof(none)), 0);
  EXPECT_EQ(IpAddress::FromAbi(config.service_range[abi::SL_FAMILY_V4].prefix).ToString(),
            "10.96.0.0");
  EXPECT_EQ(config.snat_addresses[abi::SL_FAMILY_V4], 2);
  EXPECT_EQ(config.snat_addresses[abi::SL_FAMILY_V6], 1);
  EXPECT_EQ(IpAddress::FromAbi(config.snat_address[abi::SL_FAMILY_V4][1]).ToString(), "192.0.2.8");
  EXPECT_EQ(IpAddress::FromAbi(config.snat_address[abi::SL_FAMILY_V6][0]).ToString(),
            "2001:db8::7");
  // 12 bits of the address behind the 96 of its mapped form.
  EXPECT_EQ(config.service_range[abi::SL_FAMILY_V4].mask.w[0], 0xffffffffu);
  EXPECT_EQ(config.service_range[abi::SL_FAMILY_V4].mask.w[2], 0xffffffffu);
  EXPECT_EQ(config.service_range[abi::SL_FAMILY_V4].mask.w[3], __builtin_bswap32(0xfff00000u));
  EXPECT_EQ(std::memcmp(&config.service_range[abi::SL_FAMILY_V6].mask, &none, sizeof(none)), 0);
  EXPECT_EQ(config.snat_port_min, 20000);
  EXPECT_EQ(config.snat_port_max, 29999);
}

}  // namespace
}  // namespace sluice::testing
