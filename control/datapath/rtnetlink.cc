// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/rtnetlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "control/base/status_macros.h"

namespace sluice {
namespace {

// A dump that the kernel marks as interrupted by a change (EINTR) is asked for again.
constexpr int kDumpAttempts = 5;

template <typename T>
const T* PayloadOf(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(T)) return nullptr;
  return static_cast<const T*>(mnl_nlmsg_get_payload(&message));
}

int Index(const nlattr* attribute) { return static_cast<int>(AttributeU32(attribute).value_or(0)); }

std::optional<IpAddress> Address(const nlattr* attribute) {
  if (attribute == nullptr) return std::nullopt;
  abi::addr addr{};
  const std::uint16_t length = mnl_attr_get_payload_len(attribute);
  if (length == sizeof(addr.w[0])) {
    addr.w[2] = htonl(0xffff);
    std::memcpy(&addr.w[3], mnl_attr_get_payload(attribute), length);
  } else if (length == sizeof(addr)) {
    std::memcpy(&addr, mnl_attr_get_payload(attribute), length);
  } else {
    return std::nullopt;
  }
  return IpAddress::FromAbi(addr);
}

// What IFLA_LINKINFO says: the kind, and which VLAN it is.
void ReadLinkInfo(const nlattr* linkinfo, Link& link) {
  if (linkinfo == nullptr) return;
  const NetlinkAttributes info = AttributesIn(*linkinfo, IFLA_INFO_DATA);
  const nlattr* kind = info[IFLA_INFO_KIND];
  if (kind == nullptr || mnl_attr_validate(kind, MNL_TYPE_STRING) < 0) return;
  link.kind = mnl_attr_get_str(kind);
  if (link.kind != "vlan" || info[IFLA_INFO_DATA] == nullptr) return;
  const NetlinkAttributes vlan = AttributesIn(*info[IFLA_INFO_DATA], IFLA_VLAN_PROTOCOL);
  const auto protocol = AttributeU16(vlan[IFLA_VLAN_PROTOCOL]);
  if (protocol.value_or(htons(ETH_P_8021Q)) != htons(ETH_P_8021Q)) return;
  link.vlan = AttributeU16(vlan[IFLA_VLAN_ID]).value_or(0);
}

std::optional<LinkAddress> ParseAddress(const nlmsghdr& message) {
  const auto* header = PayloadOf<ifaddrmsg>(message);
  if (message.nlmsg_type != RTM_NEWADDR || header == nullptr) return std::nullopt;
  const NetlinkAttributes attributes = AttributesOf(message, sizeof(*header), IFA_FLAGS);
  // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours.
  const nlattr* local =
      attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  const std::optional<IpAddress> address = Address(local);
  if (!address.has_value()) return std::nullopt;
  const std::uint32_t flags = AttributeU32(attributes[IFA_FLAGS]).value_or(header->ifa_flags);
  // Not usable until duplicate address detection is through; the kernel tells when it is.
  if ((flags & IFA_F_DADFAILED) != 0) return std::nullopt;
  if ((flags & IFA_F_TENTATIVE) != 0 && (flags & IFA_F_OPTIMISTIC) == 0) return std::nullopt;
  // IFA_F_SECONDARY and IFA_F_TEMPORARY are one bit: the former for IPv4, the latter for IPv6.
  const bool temporary = header->ifa_family == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0;
  return LinkAddress{static_cast<int>(header->ifa_index), *address,
                     header->ifa_scope == RT_SCOPE_UNIVERSE && !address->is_link_local(),
                     !temporary && (flags & IFA_F_DEPRECATED) == 0};
}

void AddNextHops(const nlattr* multipath, DefaultRoute route, std::vector<DefaultRoute>& out) {
  const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(multipath));
  int left = mnl_attr_get_payload_len(multipath);
  while (left >= static_cast<int>(sizeof(*hop)) && RTNH_OK(hop, left)) {
    route.ifindex = hop->rtnh_ifindex;
    out.push_back(route);
    left -= static_cast<int>(RTNH_ALIGN(hop->rtnh_len));
    hop = RTNH_NEXT(hop);
  }
}

void ParseRoute(const nlmsghdr& message, std::vector<DefaultRoute>& out) {
  const auto* header = PayloadOf<rtmsg>(message);
  if (message.nlmsg_type != RTM_NEWROUTE || header == nullptr || header->rtm_dst_len != 0 ||
      header->rtm_type != RTN_UNICAST || (header->rtm_flags & RTM_F_CLONED) != 0) {
    return;
  }
  const NetlinkAttributes attributes = AttributesOf(message, sizeof(*header), RTA_TABLE);
  if (AttributeU32(attributes[RTA_TABLE]).value_or(header->rtm_table) != RT_TABLE_MAIN) return;
  DefaultRoute route;
  route.v4 = header->rtm_family == AF_INET;
  route.metric = AttributeU32(attributes[RTA_PRIORITY]).value_or(0);
  route.source = Address(attributes[RTA_PREFSRC]);
  if (attributes[RTA_MULTIPATH] != nullptr) {
    AddNextHops(attributes[RTA_MULTIPATH], route, out);
  } else if (attributes[RTA_OIF] != nullptr) {
    route.ifindex = Index(attributes[RTA_OIF]);
    out.push_back(route);
  }
}

// Sends one dump request and gives each message of its answer to `visit`.
absl::Status Dump(NetlinkSocket& socket, std::uint16_t type, std::uint8_t family,
                  const NetlinkVisitor& visit) {
  std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  // All of ifinfomsg, ifaddrmsg and rtmsg begin with the family.
  auto* body = static_cast<char*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  body[0] = static_cast<char>(family);
  return socket.Ask(*header, visit);
}

absl::StatusOr<NetworkState> ReadOnce() {
  ASSIGN_OR_RETURN(NetlinkSocket socket, NetlinkSocket::Open(NETLINK_ROUTE));
  NetworkState state;
  RETURN_IF_ERROR(Dump(socket, RTM_GETLINK, AF_UNSPEC, [&](const nlmsghdr& message) {
    if (std::optional<Link> link = ParseLink(message)) state.links[link->ifindex] = *link;
  }));
  RETURN_IF_ERROR(Dump(socket, RTM_GETADDR, AF_UNSPEC, [&](const nlmsghdr& message) {
    if (std::optional<LinkAddress> address = ParseAddress(message)) {
      state.addresses.push_back(*address);
    }
  }));
  const auto add_route = [&](const nlmsghdr& message) {
    ParseRoute(message, state.default_routes);
  };
  RETURN_IF_ERROR(Dump(socket, RTM_GETROUTE, AF_INET, add_route));
  RETURN_IF_ERROR(Dump(socket, RTM_GETROUTE, AF_INET6, add_route));
  return state;
}

}  // namespace

std::optional<Link> ParseLink(const nlmsghdr& message) {
  const auto* header = PayloadOf<ifinfomsg>(message);
  if ((message.nlmsg_type != RTM_NEWLINK && message.nlmsg_type != RTM_DELLINK) ||
      header == nullptr || header->ifi_family != AF_UNSPEC) {
    return std::nullopt;  // AF_BRIDGE messages tell of ports and VLANs, not of links
  }
  const NetlinkAttributes attributes = AttributesOf(message, sizeof(*header), IFLA_LINK_NETNSID);
  if (attributes[IFLA_IFNAME] == nullptr) return std::nullopt;
  Link link;
  link.ifindex = header->ifi_index;
  link.name = mnl_attr_get_str(attributes[IFLA_IFNAME]);
  ReadLinkInfo(attributes[IFLA_LINKINFO], link);
  link.type = header->ifi_type;
  link.flags = header->ifi_flags;
  link.peer_elsewhere = attributes[IFLA_LINK_NETNSID] != nullptr;
  link.master = Index(attributes[IFLA_MASTER]);
  link.mtu = AttributeU32(attributes[IFLA_MTU]).value_or(0);
  link.lower = Index(attributes[IFLA_LINK]);
  const nlattr* mac = attributes[IFLA_ADDRESS];
  if (mac != nullptr && mnl_attr_get_payload_len(mac) == link.mac.size()) {
    std::memcpy(link.mac.data(), mnl_attr_get_payload(mac), link.mac.size());
  }
  return link;
}

absl::StatusOr<NetworkState> ReadNetworkState() {
  absl::StatusOr<NetworkState> state;
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    state = ReadOnce();
    if (!absl::IsUnavailable(state.status())) break;
  }
  return state;
}

absl::StatusOr<NetlinkSocket> OpenNetworkEvents() {
  constexpr unsigned kGroups =
      RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  return NetlinkSocket::Open(NETLINK_ROUTE, kGroups);
}

}  // namespace sluice
