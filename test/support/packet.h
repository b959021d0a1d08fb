// SPDX-License-Identifier: Apache-2.0
// Frames for tests, written as layers:
//
//   Ethernet() / Vlan(100) / Ipv4{.source = "192.0.2.1", .destination = "198.51.100.1"} /
//       Tcp{.source_port = 4000, .destination_port = 80, .flags = "S"} / Payload("x")
//
// Build() fills in lengths, next-header numbers and checksums; Parse() reads a frame back. An
// optional field that is unset means "the right value": Build() computes it, and Parse() sets it
// only where the frame has something else, so Build(Parse(frame)) == frame for every frame that
// parses. Nothing here shares code with the datapath: it is the tests' second opinion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "maps/abi.h"

namespace sluice::testing {

using Bytes = std::vector<std::uint8_t>;

struct Ethernet {
  std::string source = "02:00:00:00:00:01";
  std::string destination = "02:00:00:00:00:02";
};

struct Vlan {
  std::uint16_t id = 0;
  std::uint16_t tag_ethertype = 0x8100;
};

struct Ipv4 {
  std::string source = {};
  std::string destination = {};
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint16_t id = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;  // in bytes, a multiple of 8
  Bytes options = {};                 // a multiple of 4 bytes
  std::optional<std::uint16_t> total_length = {};
  std::optional<std::uint8_t> protocol = {};
  std::optional<std::uint16_t> checksum = {};
};

struct Ipv6 {
  std::string source = {};
  std::string destination = {};
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;
  std::optional<std::uint16_t> payload_length = {};
  std::optional<std::uint8_t> next_header = {};
};

// Hop-by-hop (0), routing (43) or destination options (60). `body` is what follows the next-header
// and length bytes: 6 bytes and a multiple of 8 more.
struct Ipv6Extension {
  std::uint8_t type = 0;
  Bytes body = {};
  std::optional<std::uint8_t> next_header = {};
};
Ipv6Extension HopByHop();            // padding only
Ipv6Extension DestinationOptions();  // padding only
Ipv6Extension RoutingDone();         // type 2, no segments left: the header destination is final

struct Ipv6Fragment {
  std::uint16_t offset = 0;  // in bytes, a multiple of 8
  bool more = false;
  std::uint32_t id = 0;
  std::optional<std::uint8_t> next_header = {};
};

struct Tcp {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::string flags = "A";  // letters of "FSRPAUEC", in this order
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint16_t window = 65535;
  std::uint16_t urgent = 0;
  Bytes options = {};  // a multiple of 4 bytes
  std::optional<std::uint16_t> checksum = {};
};

struct Udp {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  bool no_checksum = false;  // the checksum field is 0, which IPv4 allows
  std::optional<std::uint16_t> length = {};
  std::optional<std::uint16_t> checksum = {};
};

// `value` is what follows the chunk's type, flags and length; Build() pads it to 4 bytes.
struct SctpChunk {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::string value = {};
};

// What follows as a payload is not padded, so that packets of any length can be made.
struct Sctp {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t tag = 0;
  std::vector<SctpChunk> chunks = {};
  bool no_checksum = false;  // the checksum field is 0: the device is to fill it in
  std::optional<std::uint32_t> checksum = {};
};

// ICMP below Ipv4, ICMPv6 below Ipv6. `rest` is the header's second word: MTU, identifier, ...
// An error message carries the layers of its inner packet next: .../ Icmp{3, 3} / Ipv4{..} /
// Udp{..}
struct Icmp {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint32_t rest = 0;
  std::optional<std::uint16_t> checksum = {};
};

// The first 8 bytes of a TCP, UDP or SCTP header: all that an ICMP error must carry (RFC 792).
struct TransportStub {
  std::uint8_t protocol = 6;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t rest = 0;
};

struct Payload {
  std::string bytes = {};
};

// What follows the IP packet in the frame: Ethernet's padding. Last layer only.
struct Trailer {
  std::string bytes = {};
};

using Layer = std::variant<Ethernet, Vlan, Ipv4, Ipv6, Ipv6Extension, Ipv6Fragment, Tcp, Udp, Sctp,
                           Icmp, TransportStub, Payload, Trailer>;
using Packet = std::vector<Layer>;

// The number that says what comes next, by the first layer of `rest` (59, "nothing", for a
// payload).
std::uint8_t ImpliedNextHeader(std::span<const Layer> rest, bool v6);

Packet operator/(Layer first, Layer second);
Packet operator/(Packet front, Layer last);
Packet operator/(Packet front, const Packet& back);

// The frame. Requires: addresses that parse, sizes as said above (else the program ends: a test
// that is wrong).
Bytes Build(const Packet& packet);

// Reads a frame. Errors: INVALID_ARGUMENT when a header is cut short or contradicts itself.
absl::StatusOr<Packet> Parse(std::span<const std::uint8_t> frame);

// OK if every checksum that the frame holds whole is right: IPv4 headers, TCP, UDP, SCTP, ICMP,
// ICMPv6, those of packets inside ICMP errors too. Errors: DATA_LOSS naming the wrong ones; those
// of Parse.
absl::Status VerifyChecksums(std::span<const std::uint8_t> frame);

// One line a field, "ipv4.source: 192.0.2.1"; inside an ICMP error "inner.ipv4.source".
std::vector<std::string> Describe(const Packet& packet);

// The fields in which two frames differ, one a line ("tcp.flags: expected S, is SA"); empty if the
// frames are equal.
std::string Difference(std::span<const std::uint8_t> expected,
                       std::span<const std::uint8_t> actual);

// The first layer of type T, or null.
template <typename T>
const T* Find(const Packet& packet) {
  for (const Layer& layer : packet) {
    if (const T* found = std::get_if<T>(&layer)) return found;
  }
  return nullptr;
}

// The ports of the first transport header; 0 where there is none.
struct Ports {
  std::uint16_t source = 0;
  std::uint16_t destination = 0;
};
Ports PortsOf(const Packet& packet);

// The network header's addresses, of either family; empty where there is none.
std::string SourceOf(const Packet& packet);
std::string DestinationOf(const Packet& packet);

// Cuts an IP packet (one network layer directly followed by its transport) into fragments of at
// most `size` payload bytes, a multiple of 8. The transport checksum is the whole datagram's.
std::vector<Bytes> Fragments(const Packet& packet, std::size_t size, std::uint32_t id);

// Puts the fragments of one datagram together again, in the order given. Errors: INVALID_ARGUMENT.
absl::StatusOr<Bytes> Reassemble(const std::vector<Bytes>& fragments);

// The address as map keys have it. Requires: text that parses.
abi::addr MapAddress(std::string_view text);
std::string AddressText(const abi::addr& address);

}  // namespace sluice::testing
