// SPDX-License-Identifier: Apache-2.0
// Which devices' frames sl_xdp has to see, and what it is told of them. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "control/datapath/classify.h"
#include "control/datapath/network_state.h"
#include "maps/row_compare.h"
#include "maps/uplink.h"

namespace sluice {

enum class XdpMode {
  kOff,
  kNative,   // by the driver
  kGeneric,  // by the stack, after the skb: for tests, and devices whose driver has none
  kAuto,     // native where the driver has it
};

// "off", "native", "generic", "auto".
std::string_view XdpModeName(XdpMode mode);

// Where the frames of one uplink are.
struct XdpPlace {
  Link interface;          // the uplink
  Link device;             // whose driver hands its frames over: itself, or what it is a VLAN of
  std::uint16_t vlan = 0;  // what they are tagged with there; 0: nothing

  friend bool operator==(const XdpPlace&, const XdpPlace&) = default;
};

// Of the uplinks among `interfaces`, in their order, bonds left out; `links`: all of the node. In
// mode kGeneric each is its own device, as the stack takes tags off before it runs programs.
std::vector<XdpPlace> FindXdpPlaces(const std::vector<Interface>& interfaces,
                                    const std::map<int, Link>& links, XdpMode mode);

// Rows of the maps that sl_xdp alone uses.
struct XdpRows {
  std::map<abi::uplink_key, abi::uplink> uplinks;
  std::map<std::uint32_t, abi::uplink_way> ways;
  std::set<std::uint32_t> ports;  // devices that take frames from others

  friend bool operator==(const XdpRows&, const XdpRows&) = default;
};

// `attached`: the devices that have the program.
XdpRows MakeXdpRows(const std::vector<XdpPlace>& places, const std::set<int>& attached,
                    XdpMode mode);

}  // namespace sluice
