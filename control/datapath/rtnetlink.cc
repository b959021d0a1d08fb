// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/rtnetlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr int kEventBufferBytes = 4 * 1024 * 1024;  // some thousand links coming up at once
constexpr timeval kAnswerTimeout = {2, 0};
// A dump that the kernel marks as interrupted by a change (EINTR) is asked for again.
constexpr int kDumpAttempts = 5;

using Attributes = std::vector<const nlattr*>;

int KeepAttribute(const nlattr* attribute, void* context) {
  Attributes& found = *static_cast<Attributes*>(context);
  const std::uint16_t type = mnl_attr_get_type(attribute);
  if (type < found.size()) found[type] = attribute;
  return MNL_CB_OK;
}

// The attributes of a message behind a fixed header of `offset` bytes, by type.
Attributes AttributesOf(const nlmsghdr& message, std::size_t offset, std::size_t max) {
  Attributes found(max + 1, nullptr);
  mnl_attr_parse(&message, static_cast<unsigned>(offset), KeepAttribute, &found);
  return found;
}

template <typename T>
const T* PayloadOf(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(T)) return nullptr;
  return static_cast<const T*>(mnl_nlmsg_get_payload(&message));
}

std::optional<std::uint32_t> U32(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_validate(attribute, MNL_TYPE_U32) < 0) return std::nullopt;
  return mnl_attr_get_u32(attribute);
}

int Index(const nlattr* attribute) { return static_cast<int>(U32(attribute).value_or(0)); }

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

std::string KindOf(const nlattr* linkinfo) {
  if (linkinfo == nullptr) return "";
  Attributes nested(IFLA_INFO_KIND + 1, nullptr);
  mnl_attr_parse_nested(linkinfo, KeepAttribute, &nested);
  const nlattr* kind = nested[IFLA_INFO_KIND];
  if (kind == nullptr || mnl_attr_validate(kind, MNL_TYPE_STRING) < 0) return "";
  return mnl_attr_get_str(kind);
}

std::optional<LinkAddress> ParseAddress(const nlmsghdr& message) {
  const auto* header = PayloadOf<ifaddrmsg>(message);
  if (message.nlmsg_type != RTM_NEWADDR || header == nullptr) return std::nullopt;
  const Attributes attributes = AttributesOf(message, sizeof(*header), IFA_FLAGS);
  // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours.
  const nlattr* local =
      attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  const std::optional<IpAddress> address = Address(local);
  if (!address.has_value()) return std::nullopt;
  const std::uint32_t flags = U32(attributes[IFA_FLAGS]).value_or(header->ifa_flags);
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
  const Attributes attributes = AttributesOf(message, sizeof(*header), RTA_TABLE);
  if (U32(attributes[RTA_TABLE]).value_or(header->rtm_table) != RT_TABLE_MAIN) return;
  DefaultRoute route;
  route.v4 = header->rtm_family == AF_INET;
  route.metric = U32(attributes[RTA_PRIORITY]).value_or(0);
  route.source = Address(attributes[RTA_PREFSRC]);
  if (attributes[RTA_MULTIPATH] != nullptr) {
    AddNextHops(attributes[RTA_MULTIPATH], route, out);
  } else if (attributes[RTA_OIF] != nullptr) {
    route.ifindex = Index(attributes[RTA_OIF]);
    out.push_back(route);
  }
}

struct Visit {
  const std::function<void(const nlmsghdr&)>& function;
};

int OnMessage(const nlmsghdr* message, void* context) {
  static_cast<Visit*>(context)->function(*message);
  return MNL_CB_OK;
}

// Sends one dump request and gives each message of its answer to `visit`.
absl::Status Dump(mnl_socket* socket, std::uint16_t type, std::uint8_t family, unsigned sequence,
                  const std::function<void(const nlmsghdr&)>& visit) {
  std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = sequence;
  // All of ifinfomsg, ifaddrmsg and rtmsg begin with the family.
  auto* body = static_cast<char*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  body[0] = static_cast<char>(family);
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) {
    return ErrnoStatus(errno, "rtnetlink request");
  }
  std::vector<char> buffer(kReceiveBytes);
  const unsigned port = mnl_socket_get_portid(socket);
  Visit context{visit};
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t length = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::DeadlineExceededError("rtnetlink does not answer");
      return ErrnoStatus(errno, "rtnetlink answer");
    }
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), sequence, port, OnMessage,
                      &context);
    if (more < 0) return ErrnoStatus(errno, absl::StrCat("rtnetlink dump ", type));
  }
  return absl::OkStatus();
}

absl::StatusOr<NetworkState> ReadOnce() {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return ErrnoStatus(errno, "rtnetlink socket");
  const auto close = absl::MakeCleanup([socket] { mnl_socket_close(socket); });
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
      ::setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                   sizeof(kAnswerTimeout)) < 0) {
    return ErrnoStatus(errno, "rtnetlink socket");
  }
  NetworkState state;
  RETURN_IF_ERROR(Dump(socket, RTM_GETLINK, AF_UNSPEC, 1, [&](const nlmsghdr& message) {
    if (std::optional<Link> link = ParseLink(message)) state.links[link->ifindex] = *link;
  }));
  RETURN_IF_ERROR(Dump(socket, RTM_GETADDR, AF_UNSPEC, 2, [&](const nlmsghdr& message) {
    if (std::optional<LinkAddress> address = ParseAddress(message)) {
      state.addresses.push_back(*address);
    }
  }));
  const auto add_route = [&](const nlmsghdr& message) {
    ParseRoute(message, state.default_routes);
  };
  RETURN_IF_ERROR(Dump(socket, RTM_GETROUTE, AF_INET, 3, add_route));
  RETURN_IF_ERROR(Dump(socket, RTM_GETROUTE, AF_INET6, 4, add_route));
  return state;
}

}  // namespace

std::optional<Link> ParseLink(const nlmsghdr& message) {
  const auto* header = PayloadOf<ifinfomsg>(message);
  if ((message.nlmsg_type != RTM_NEWLINK && message.nlmsg_type != RTM_DELLINK) ||
      header == nullptr || header->ifi_family != AF_UNSPEC) {
    return std::nullopt;  // AF_BRIDGE messages tell of ports and VLANs, not of links
  }
  const Attributes attributes = AttributesOf(message, sizeof(*header), IFLA_LINK_NETNSID);
  if (attributes[IFLA_IFNAME] == nullptr) return std::nullopt;
  Link link;
  link.ifindex = header->ifi_index;
  link.name = mnl_attr_get_str(attributes[IFLA_IFNAME]);
  link.kind = KindOf(attributes[IFLA_LINKINFO]);
  link.type = header->ifi_type;
  link.flags = header->ifi_flags;
  link.peer_elsewhere = attributes[IFLA_LINK_NETNSID] != nullptr;
  link.master = Index(attributes[IFLA_MASTER]);
  link.mtu = U32(attributes[IFLA_MTU]).value_or(0);
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

absl::StatusOr<std::unique_ptr<RtnlEvents>> RtnlEvents::Open() {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket == nullptr) return ErrnoStatus(errno, "rtnetlink socket");
  auto events = absl::WrapUnique(new RtnlEvents(socket));
  // Best effort: without CAP_NET_ADMIN the default size stays, and an overrun costs one more dump.
  ::setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBufferBytes,
               sizeof(kEventBufferBytes));
  constexpr unsigned kGroups =
      RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (mnl_socket_bind(socket, kGroups, MNL_SOCKET_AUTOPID) < 0) {
    return ErrnoStatus(errno, "rtnetlink groups");
  }
  return events;
}

RtnlEvents::~RtnlEvents() { mnl_socket_close(socket_); }

int RtnlEvents::fd() const { return mnl_socket_get_fd(socket_); }

absl::Status RtnlEvents::Drain(const std::function<void(const nlmsghdr&)>& visit) {
  std::vector<char> buffer(kReceiveBytes);
  Visit context{visit};
  while (true) {
    const ssize_t length = mnl_socket_recvfrom(socket_, buffer.data(), buffer.size());
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::OkStatus();
      if (errno == ENOBUFS) return absl::UnavailableError("rtnetlink dropped messages");
      return ErrnoStatus(errno, "rtnetlink events");
    }
    if (mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 0, 0, OnMessage, &context) <
        0) {
      return ErrnoStatus(errno, "rtnetlink events");
    }
  }
}

}  // namespace sluice
