// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_places.h"

#include <linux/if_arp.h>

#include <algorithm>

#include "control/datapath/xdp_features.h"

namespace sluice {
namespace {

// A frame that the program could send, and by whose address it knows its own.
bool IsEthernetUplink(const Interface& interface) {
  return interface.role == Role::kUplink && interface.unsupported.empty() &&
         interface.link.type == ARPHRD_ETHER;
}

// Its driver runs the program for its ports, in whose names the frames come: none would be known.
bool IsBond(const Link& link, XdpMode mode) {
  return mode != XdpMode::kGeneric && (link.kind == "bond" || link.kind == "team");
}

// What the device does with frames that come from another's driver. The stack takes all, and has
// made one buffer of each.
std::uint16_t WayFlags(const Link& device, XdpMode mode) {
  constexpr std::uint16_t kAll = abi::SL_WAY_TAKES_FRAMES | abi::SL_WAY_TAKES_BUFFERS;
  if (mode == XdpMode::kGeneric) return kAll;
  if ((device.xdp_features & kXdpTakesFrames) == 0) return 0;
  if ((device.xdp_features & kXdpTakesFramesInBuffers) == 0) return abi::SL_WAY_TAKES_FRAMES;
  return kAll;
}

}  // namespace

std::string_view XdpModeName(XdpMode mode) {
  switch (mode) {
    case XdpMode::kOff:
      return "off";
    case XdpMode::kNative:
      return "native";
    case XdpMode::kGeneric:
      return "generic";
    case XdpMode::kAuto:
      return "auto";
  }
  return "";
}

std::vector<XdpPlace> FindXdpPlaces(const std::vector<Interface>& interfaces,
                                    const std::map<int, Link>& links, XdpMode mode) {
  std::vector<XdpPlace> places;
  for (const Interface& interface : interfaces) {
    if (!IsEthernetUplink(interface) || IsBond(interface.link, mode)) continue;
    const Link& link = interface.link;
    XdpPlace place{link, link, 0};
    const auto lower = links.find(link.lower);
    // Not of a VLAN in a VLAN, nor of one whose device is in another network namespace.
    if (mode != XdpMode::kGeneric && link.vlan != 0 && !link.peer_elsewhere &&
        lower != links.end() && lower->second.kind != "vlan" && !IsBond(lower->second, mode)) {
      place.device = lower->second;
      place.vlan = link.vlan;
    }
    places.push_back(std::move(place));
  }
  return places;
}

XdpRows MakeXdpRows(const std::vector<XdpPlace>& places, const std::set<int>& attached,
                    XdpMode mode) {
  XdpRows rows;
  for (const XdpPlace& place : places) {
    const auto device = static_cast<std::uint32_t>(place.device.ifindex);
    const auto interface = static_cast<std::uint32_t>(place.interface.ifindex);
    const std::uint16_t flags = WayFlags(place.device, mode);
    const bool here = attached.contains(place.device.ifindex);
    if (here) {
      abi::uplink uplink{};
      uplink.ifindex = interface;
      std::copy(place.interface.mac.begin(), place.interface.mac.end(), uplink.mac);
      rows.uplinks[{.device = device, .vlan = place.vlan}] = uplink;
    }
    if (here || flags != 0) rows.ways[interface] = {device, place.vlan, flags};
    if (flags != 0) rows.ports.insert(device);
  }
  return rows;
}

}  // namespace sluice
