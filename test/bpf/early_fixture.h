// SPDX-License-Identifier: Apache-2.0
// What tests of sl_xdp share: frames as it sends them, and the kinds of flow that it knows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/bpf/flow_case.h"

namespace sluice::testing {

// As datapath_fixture.cc has the neighbours.
inline constexpr char kRouter[] = "02:00:00:00:01:01";
inline constexpr char kNode2[] = "02:00:00:00:01:20";
inline constexpr char kPod2[] = "02:00:00:00:02:02";

// `packet` as a frame from a device of the node to a neighbour, one hop on.
inline Packet Sent(const std::string& device, const std::string& neighbour, const Packet& packet) {
  Packet sent = Hop(packet);
  sent.front() = Ethernet{.source = MacOf(device), .destination = neighbour};
  return sent;
}

inline Packet Tagged(Packet packet, std::uint16_t id) {
  packet.insert(packet.begin() + 1, Vlan{.id = id});
  return packet;
}

inline std::vector<FlowCase> CasesOf(const std::string& kind) {
  std::vector<Flavor> flavors = AllFlavors();
  for (const Flavor& flavor : SctpFlavors()) flavors.push_back(flavor);
  std::vector<FlowCase> cases;
  for (const FlowKind& candidate : FlowKinds()) {
    if (candidate.name != kind) continue;
    for (const Flavor& flavor : flavors) cases.push_back({candidate, flavor});
  }
  return cases;
}

}  // namespace sluice::testing
