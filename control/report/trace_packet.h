// SPDX-License-Identifier: Apache-2.0
// The packets of `sluicectl trace`: the first packet of a flow as a client would send it, and what
// a program made of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "control/model/ip_address.h"

namespace sluice::report {

// One flow's ends. Ports are in host order.
struct PacketEnds {
  IpAddress source;
  std::uint16_t source_port = 0;
  IpAddress destination;
  std::uint16_t destination_port = 0;
  std::uint32_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP

  friend bool operator==(const PacketEnds&, const PacketEnds&) = default;
};

using MacAddress = std::array<std::uint8_t, 6>;

// An Ethernet frame to `receiver` with a TCP SYN, an SCTP INIT or a UDP datagram of a few bytes,
// checksums right, TTL 64. Requires: both addresses of one family, one of these protocols.
std::vector<std::byte> BuildTracePacket(const PacketEnds& ends, const MacAddress& receiver);

// The ends of a frame as BuildTracePacket() makes it and a program may have rewritten it.
// Errors: INVALID_ARGUMENT when it is no such frame (too short, another protocol).
absl::StatusOr<PacketEnds> ReadPacketEnds(std::span<const std::byte> frame);

}  // namespace sluice::report
