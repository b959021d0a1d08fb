// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/rtnetlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstring>

#include "gmock/gmock.h"

namespace sluice {
namespace {

// What the kernel says of a VLAN of device 3, as `ip -d link` shows it.
class VlanMessage {
 public:
  VlanMessage(std::uint16_t id, std::uint16_t protocol) {
    header_ = mnl_nlmsg_put_header(buffer_.data());
    header_->nlmsg_type = RTM_NEWLINK;
    auto* body = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header_, sizeof(ifinfomsg)));
    body->ifi_family = AF_UNSPEC;
    body->ifi_index = 9;
    mnl_attr_put_strz(header_, IFLA_IFNAME, "eth0.5");
    mnl_attr_put_u32(header_, IFLA_LINK, 3);
    nlattr* info = mnl_attr_nest_start(header_, IFLA_LINKINFO);
    mnl_attr_put_strz(header_, IFLA_INFO_KIND, "vlan");
    nlattr* data = mnl_attr_nest_start(header_, IFLA_INFO_DATA);
    mnl_attr_put_u16(header_, IFLA_VLAN_ID, id);
    mnl_attr_put_u16(header_, IFLA_VLAN_PROTOCOL, htons(protocol));
    mnl_attr_nest_end(header_, data);
    mnl_attr_nest_end(header_, info);
  }
  std::optional<Link> Parse() const { return ParseLink(*header_); }

 private:
  std::array<char, 512> buffer_{};
  nlmsghdr* header_ = nullptr;
};

TEST(ParseLinkTest, AVlanHasItsIdAndDevice) {
  const std::optional<Link> link = VlanMessage(5, ETH_P_8021Q).Parse();
  ASSERT_TRUE(link.has_value());
  EXPECT_EQ(link->name, "eth0.5");
  EXPECT_EQ(link->kind, "vlan");
  EXPECT_EQ(link->lower, 3);
  EXPECT_EQ(link->vlan, 5);
}

TEST(ParseLinkTest, TheTagsOfProvidersAreNoVlansOfOurs) {
  const std::optional<Link> link = VlanMessage(5, ETH_P_8021AD).Parse();
  ASSERT_TRUE(link.has_value());
  EXPECT_EQ(link->kind, "vlan");
  EXPECT_EQ(link->vlan, 0);
}

}  // namespace
}  // namespace sluice
