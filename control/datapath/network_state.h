// SPDX-License-Identifier: Apache-2.0
// What netlink says of the network namespace that the agent runs in. Values only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/model/ip_address.h"

namespace sluice {

struct Link {
  int ifindex = 0;
  std::string name;
  std::string kind;             // IFLA_INFO_KIND: "veth", "vxlan"; empty for hardware
  std::uint16_t type = 0;       // ARPHRD_*
  std::uint32_t flags = 0;      // IFF_*
  bool peer_elsewhere = false;  // its peer (IFLA_LINK) is in another network namespace
  int master = 0;               // ifindex of the bridge, bond or VRF that it belongs to; 0: none
  std::array<std::uint8_t, 6> mac{};  // zeros: it has none of that length
  std::uint32_t mtu = 0;
  int lower = 0;           // IFLA_LINK: ifindex of a veth's peer or a VLAN's device; 0: none
  std::uint16_t vlan = 0;  // its id, if it is an 802.1Q VLAN of `lower`; 0: it is none
  std::uint64_t xdp_features = 0;  // bits of XdpFeature; 0 also where the kernel does not say

  friend bool operator==(const Link&, const Link&) = default;
};

struct LinkAddress {
  int ifindex = 0;
  IpAddress address;
  bool global = false;     // scope global: others may reach the node by it
  bool preferred = false;  // neither deprecated nor temporary: fit to be a source

  friend bool operator==(const LinkAddress&, const LinkAddress&) = default;
};

struct DefaultRoute {
  int ifindex = 0;
  bool v4 = false;
  std::uint32_t metric = 0;
  std::optional<IpAddress> source;  // RTA_PREFSRC

  friend bool operator==(const DefaultRoute&, const DefaultRoute&) = default;
};

struct NetworkState {
  std::map<int, Link> links;  // by ifindex
  std::vector<LinkAddress> addresses;
  std::vector<DefaultRoute> default_routes;

  friend bool operator==(const NetworkState&, const NetworkState&) = default;
};

}  // namespace sluice
