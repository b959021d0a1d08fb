// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_features.h"

#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"

#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"

namespace sluice {
namespace {

// As linux/netdev.h numbers them.
constexpr char kFamily[] = "netdev";
constexpr char kGroup[] = "mgmt";
constexpr std::uint8_t kDeviceGet = 1;        // NETDEV_CMD_DEV_GET
constexpr std::uint16_t kDeviceIfindex = 1;   // NETDEV_A_DEV_IFINDEX
constexpr std::uint16_t kDeviceFeatures = 3;  // NETDEV_A_DEV_XDP_FEATURES

constexpr std::size_t kMaxGroups = 16;

using Request = std::array<char, 256>;

nlmsghdr* Start(Request& request, std::uint16_t family, std::uint16_t flags, std::uint8_t command) {
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = family;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  auto* generic = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(header, sizeof(genlmsghdr)));
  generic->cmd = command;
  generic->version = 1;
  return header;
}

struct Family {
  std::uint16_t id = 0;
  std::uint32_t group = 0;  // of what changes; 0: the family has no such
};

Family ParseFamily(const nlmsghdr& message) {
  Family family;
  const NetlinkAttributes found = AttributesOf(message, sizeof(genlmsghdr), CTRL_ATTR_MCAST_GROUPS);
  family.id = AttributeU16(found[CTRL_ATTR_FAMILY_ID]).value_or(0);
  if (found[CTRL_ATTR_MCAST_GROUPS] == nullptr) return family;
  // They are numbered from 1 on.
  for (const nlattr* group : AttributesIn(*found[CTRL_ATTR_MCAST_GROUPS], kMaxGroups)) {
    if (group == nullptr) continue;
    const NetlinkAttributes facts = AttributesIn(*group, CTRL_ATTR_MCAST_GRP_ID);
    const nlattr* name = facts[CTRL_ATTR_MCAST_GRP_NAME];
    if (name != nullptr && mnl_attr_validate(name, MNL_TYPE_NUL_STRING) == 0 &&
        std::strcmp(mnl_attr_get_str(name), kGroup) == 0) {
      family.group = AttributeU32(facts[CTRL_ATTR_MCAST_GRP_ID]).value_or(0);
    }
  }
  return family;
}

}  // namespace

bool TakesTagsOff(const std::string& device) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_value flags = {.cmd = ETHTOOL_GFLAGS, .data = 0};
  ifreq request = {};
  device.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  request.ifr_data = reinterpret_cast<char*>(&flags);
  return ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0 && (flags.data & ETH_FLAG_RXVLAN) != 0;
}

absl::StatusOr<std::unique_ptr<XdpFeatures>> XdpFeatures::Open() {
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_GENERIC));
  ASSIGN_OR_RETURN(NetlinkSocket events, NetlinkSocket::Open(NETLINK_GENERIC));
  Request request{};
  nlmsghdr* header = Start(request, GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY);
  mnl_attr_put_strz(header, CTRL_ATTR_FAMILY_NAME, kFamily);
  Family family;
  const absl::Status asked =
      socket.Ask(*header, [&](const nlmsghdr& message) { family = ParseFamily(message); });
  if (absl::IsNotFound(asked)) return nullptr;  // before Linux 6.3
  RETURN_IF_ERROR(asked);
  // Without news a device that no longer takes frames would lose them.
  if (family.id == 0 || family.group == 0) return nullptr;
  RETURN_IF_ERROR(events.Join(family.group));
  return absl::WrapUnique(new XdpFeatures(family.id, std::move(events)));
}

absl::Status XdpFeatures::Read(std::map<int, Link>& links) {
  Request request{};
  nlmsghdr* header = Start(request, family_, NLM_F_DUMP, kDeviceGet);
  // A socket for each question: what an answer that broke off has left would be the next one's.
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_GENERIC));
  return socket.Ask(*header, [&](const nlmsghdr& message) {
    if (message.nlmsg_type != family_) return;
    const NetlinkAttributes found = AttributesOf(message, sizeof(genlmsghdr), kDeviceFeatures);
    const auto ifindex = AttributeU32(found[kDeviceIfindex]);
    const auto bits = AttributeU64(found[kDeviceFeatures]);
    const auto link = links.find(static_cast<int>(ifindex.value_or(0)));
    if (link != links.end() && bits.has_value()) link->second.xdp_features = *bits;
  });
}

absl::Status XdpFeatures::Drain() {
  return events_.Drain([](const nlmsghdr&) {});
}

}  // namespace sluice
