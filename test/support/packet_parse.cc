// SPDX-License-Identifier: Apache-2.0
// Frames to layers, and what is wrong with them.
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/status_macros.h"
#include "test/support/packet.h"
#include "test/support/wire.h"

namespace sluice::testing {
namespace {

using View = std::span<const std::uint8_t>;

std::uint16_t Be16(View bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
std::uint32_t Be32(View bytes, std::size_t at) {
  return static_cast<std::uint32_t>(Be16(bytes, at)) << 16 | Be16(bytes, at + 2);
}
std::string Text(View bytes) { return {bytes.begin(), bytes.end()}; }

class Parser {
 public:
  absl::Status Frame(View frame) {
    if (frame.size() < 14) return Short("ethernet");
    packet_.push_back(Ethernet{.source = MacText(frame.subspan(6, 6)),
                               .destination = MacText(frame.subspan(0, 6))});
    std::uint16_t ethertype = Be16(frame, 12);
    View rest = frame.subspan(14);
    while (ethertype == 0x8100 || ethertype == 0x88a8) {
      if (rest.size() < 4) return Short("vlan");
      packet_.push_back(Vlan{Be16(rest, 0), ethertype});
      ethertype = Be16(rest, 2);
      rest = rest.subspan(4);
    }
    if (ethertype == 0x0800) return V4(rest);
    if (ethertype == 0x86dd) return V6(rest);
    Rest(rest);
    return absl::OkStatus();
  }

  Packet& packet() { return packet_; }
  const std::vector<std::string>& wrong() const { return wrong_; }

 private:
  // What the layers above the network layer need of it.
  struct Scope {
    Bytes pseudo = {};  // both addresses
    bool v6 = false;
    bool cut = false;  // only the packet's beginning is here (inside an ICMP error)
    bool fragment = false;
  };

  absl::Status Short(const char* what) const {
    return absl::InvalidArgumentError(absl::StrCat(prefix_, what, ": cut short"));
  }
  void Rest(View bytes) {
    if (!bytes.empty()) packet_.push_back(Payload{Text(bytes)});
  }
  // Bytes behind the IP packet: Ethernet padding. Inside an ICMP error nothing can follow.
  void Tail(View bytes) {
    if (!bytes.empty()) packet_.push_back(Trailer{Text(bytes)});
  }

  void Wrong(const char* name) { wrong_.push_back(absl::StrCat(prefix_, name)); }

  // Sets the layer's number where it is not the one that Build() would put there.
  template <typename T>
  void KeepNumber(std::size_t own, std::uint8_t number, bool v6) {
    const std::span<const Layer> rest = std::span<const Layer>(packet_).subspan(own + 1);
    if (ImpliedNextHeader(rest, v6) == number) return;
    T& layer = std::get<T>(packet_[own]);
    if constexpr (requires { layer.protocol; }) {
      layer.protocol = number;
    } else {
      layer.next_header = number;
    }
  }

  absl::Status V4(View bytes) {
    if (bytes.size() < 20 || bytes[0] >> 4 != 4) return Short("ipv4");
    const std::size_t header = static_cast<std::size_t>(bytes[0] & 15) * 4;
    const std::size_t total = Be16(bytes, 2);
    if (header < 20 || bytes.size() < header || total < header) return Short("ipv4 options");
    const bool cut = total > bytes.size();
    if (cut && !inner()) return Short("ipv4 body");
    const std::uint16_t fragment = Be16(bytes, 6);
    Ipv4 layer{.source = Ipv4Text(bytes.subspan(12, 4)),
               .destination = Ipv4Text(bytes.subspan(16, 4)),
               .ttl = bytes[8],
               .tos = bytes[1],
               .id = Be16(bytes, 4),
               .dont_fragment = (fragment & 0x4000) != 0,
               .more_fragments = (fragment & 0x2000) != 0,
               .fragment_offset = static_cast<std::uint16_t>((fragment & 0x1fff) * 8)};
    layer.options.assign(bytes.begin() + 20, bytes.begin() + static_cast<std::ptrdiff_t>(header));
    if (InternetChecksum(bytes.first(header)) != 0) {
      layer.checksum = Be16(bytes, 10);
      Wrong("ipv4.checksum");
    }
    if (cut) layer.total_length = static_cast<std::uint16_t>(total);
    const std::size_t end = std::min(total, bytes.size());
    const Scope scope{.pseudo = Bytes(bytes.begin() + 12, bytes.begin() + 20),
                      .v6 = false,
                      .cut = cut,
                      .fragment = (fragment & 0x3fff) != 0};
    const std::size_t own = packet_.size();
    packet_.push_back(layer);
    RETURN_IF_ERROR(Transport(bytes[9], bytes.subspan(header, end - header), scope));
    KeepNumber<Ipv4>(own, bytes[9], false);
    Tail(bytes.subspan(end));
    return absl::OkStatus();
  }

  absl::Status V6(View bytes) {
    if (bytes.size() < 40 || bytes[0] >> 4 != 6) return Short("ipv6");
    const std::size_t total = 40u + Be16(bytes, 4);
    const bool cut = total > bytes.size();
    if (cut && !inner()) return Short("ipv6 body");
    Ipv6 layer{.source = Ipv6Text(bytes.subspan(8, 16)),
               .destination = Ipv6Text(bytes.subspan(24, 16)),
               .hop_limit = bytes[7],
               .traffic_class = static_cast<std::uint8_t>(Be16(bytes, 0) >> 4),
               .flow_label = Be32(bytes, 0) & 0xfffff};
    if (cut) layer.payload_length = Be16(bytes, 4);
    const std::size_t end = std::min(total, bytes.size());
    Scope scope{.pseudo = Bytes(bytes.begin() + 8, bytes.begin() + 40), .v6 = true, .cut = cut};
    const std::size_t own = packet_.size();
    packet_.push_back(layer);
    RETURN_IF_ERROR(Extensions(bytes[6], bytes.subspan(40, end - 40), scope));
    KeepNumber<Ipv6>(own, bytes[6], true);
    Tail(bytes.subspan(end));
    return absl::OkStatus();
  }

  absl::Status Extensions(std::uint8_t number, View bytes, Scope& scope) {
    const std::size_t own = packet_.size();
    if (number == IPPROTO_HOPOPTS || number == IPPROTO_ROUTING || number == IPPROTO_DSTOPTS) {
      if (bytes.size() < 8 || bytes.size() < 8u + 8u * bytes[1]) return Short("ipv6 extension");
      const std::size_t size = 8u + 8u * bytes[1];
      packet_.push_back(Ipv6Extension{
          .type = number,
          .body = Bytes(bytes.begin() + 2, bytes.begin() + static_cast<std::ptrdiff_t>(size))});
      RETURN_IF_ERROR(Extensions(bytes[0], bytes.subspan(size), scope));
      KeepNumber<Ipv6Extension>(own, bytes[0], true);
      return absl::OkStatus();
    }
    if (number == IPPROTO_FRAGMENT) {
      if (bytes.size() < 8) return Short("ipv6 fragment");
      const std::uint16_t word = Be16(bytes, 2);
      packet_.push_back(Ipv6Fragment{.offset = static_cast<std::uint16_t>(word & 0xfff8),
                                     .more = (word & 1) != 0,
                                     .id = Be32(bytes, 4)});
      scope.fragment = (word & 0xfff9) != 0;
      RETURN_IF_ERROR(Extensions(bytes[0], bytes.subspan(8), scope));
      KeepNumber<Ipv6Fragment>(own, bytes[0], true);
      return absl::OkStatus();
    }
    return Transport(number, bytes, scope);
  }

  absl::Status Transport(std::uint8_t protocol, View bytes, const Scope& scope) {
    if (scope.fragment) {
      Rest(bytes);
      return absl::OkStatus();
    }
    if (scope.cut && bytes.size() < HeaderSize(protocol)) {
      if (bytes.size() == 8 && (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP)) {
        packet_.push_back(TransportStub{protocol, Be16(bytes, 0), Be16(bytes, 2), Be32(bytes, 4)});
      } else {
        Rest(bytes);
      }
      return absl::OkStatus();
    }
    if (protocol == IPPROTO_TCP) return TcpSegment(bytes, scope);
    if (protocol == IPPROTO_UDP) return UdpDatagram(bytes, scope);
    if (protocol == IPPROTO_SCTP) return SctpPacket(bytes, scope);
    if (protocol == IcmpProtocol(scope.v6)) return IcmpMessage(bytes, scope);
    Rest(bytes);
    return absl::OkStatus();
  }

  static std::size_t HeaderSize(std::uint8_t protocol) {
    if (protocol == IPPROTO_TCP) return 20;
    return protocol == IPPROTO_SCTP ? 12 : 8;
  }

  // The field's value if it has to be kept in the layer: it is wrong, or the packet was cut so that
  // nobody can say.
  std::optional<std::uint16_t> Checksum(const char* name, View bytes, std::size_t at,
                                        std::uint8_t protocol, const Scope& scope) {
    if (scope.cut) return Be16(bytes, at);
    Bytes covered;
    if (protocol != IPPROTO_ICMP) {
      covered = scope.pseudo;
      AppendBe32(covered, static_cast<std::uint32_t>(bytes.size()));
      AppendBe32(covered, protocol);
    }
    covered.insert(covered.end(), bytes.begin(), bytes.end());
    if (InternetChecksum(covered) == 0) return std::nullopt;
    Wrong(name);
    return Be16(bytes, at);
  }

  absl::Status TcpSegment(View bytes, const Scope& scope) {
    if (bytes.size() < 20) return Short("tcp");
    const std::size_t header = static_cast<std::size_t>(bytes[12] >> 4) * 4;
    if (header < 20 || (header > bytes.size() && !scope.cut)) return Short("tcp options");
    const std::size_t end = std::min(header, bytes.size());
    Tcp layer{.source_port = Be16(bytes, 0),
              .destination_port = Be16(bytes, 2),
              .flags = FlagLetters(bytes[13]),
              .sequence = Be32(bytes, 4),
              .acknowledgment = Be32(bytes, 8),
              .window = Be16(bytes, 14),
              .urgent = Be16(bytes, 18)};
    layer.options.assign(bytes.begin() + 20, bytes.begin() + static_cast<std::ptrdiff_t>(end));
    layer.checksum = Checksum("tcp.checksum", bytes, 16, IPPROTO_TCP, scope);
    packet_.push_back(layer);
    Rest(bytes.subspan(end));
    return absl::OkStatus();
  }

  absl::Status UdpDatagram(View bytes, const Scope& scope) {
    if (bytes.size() < 8) return Short("udp");
    Udp layer{.source_port = Be16(bytes, 0), .destination_port = Be16(bytes, 2)};
    if (Be16(bytes, 4) != bytes.size()) {
      layer.length = Be16(bytes, 4);
      if (!scope.cut) Wrong("udp.length");
    }
    layer.no_checksum = Be16(bytes, 6) == 0;
    if (layer.no_checksum && scope.v6) Wrong("udp.checksum");  // RFC 8200 8.1
    if (!layer.no_checksum) {
      layer.checksum = Checksum("udp.checksum", bytes, 6, IPPROTO_UDP, scope);
    }
    packet_.push_back(layer);
    Rest(bytes.subspan(8));
    return absl::OkStatus();
  }

  absl::Status SctpPacket(View bytes, const Scope& scope) {
    if (bytes.size() < 12) return Short("sctp");
    Sctp layer{
        .source_port = Be16(bytes, 0), .destination_port = Be16(bytes, 2), .tag = Be32(bytes, 4)};
    const std::uint32_t checksum = __builtin_bswap32(Be32(bytes, 8));
    Bytes covered(bytes.begin(), bytes.end());
    std::fill_n(covered.begin() + 8, 4, std::uint8_t{0});
    layer.no_checksum = checksum == 0;
    if (checksum != 0 && (scope.cut || Crc32c(covered) != checksum)) {
      layer.checksum = checksum;
      if (!scope.cut) Wrong("sctp.checksum");
    }
    View rest = bytes.subspan(12);
    while (const std::size_t size = WholeChunk(rest)) {
      const View value = rest.subspan(4, Be16(rest, 2) - 4u);
      layer.chunks.push_back({.type = rest[0], .flags = rest[1], .value = Text(value)});
      rest = rest.subspan(size);
    }
    packet_.push_back(layer);
    Rest(rest);
    return absl::OkStatus();
  }

  // The size of the chunk that `bytes` begin with, padding and all; 0: they begin with none that
  // Build() would write.
  static std::size_t WholeChunk(View bytes) {
    if (bytes.size() < 4 || Be16(bytes, 2) < 4) return 0;
    const std::size_t size = (Be16(bytes, 2) + 3u) / 4 * 4;
    if (bytes.size() < size) return 0;
    const View padding = bytes.subspan(Be16(bytes, 2), size - Be16(bytes, 2));
    return std::ranges::all_of(padding, [](std::uint8_t byte) { return byte == 0; }) ? size : 0;
  }

  absl::Status IcmpMessage(View bytes, const Scope& scope) {
    if (bytes.size() < 8) return Short("icmp");
    Icmp layer{.type = bytes[0], .code = bytes[1], .rest = Be32(bytes, 4)};
    layer.checksum = Checksum("icmp.checksum", bytes, 2, IcmpProtocol(scope.v6), scope);
    packet_.push_back(layer);
    const View rest = bytes.subspan(8);
    const bool error =
        scope.v6 ? layer.type >= 1 && layer.type <= 4
                 : layer.type == 3 || layer.type == 5 || layer.type == 11 || layer.type == 12;
    if (!error || rest.empty()) {
      Rest(rest);
      return absl::OkStatus();
    }
    prefix_ += "inner.";
    return scope.v6 ? V6(rest) : V4(rest);
  }

  bool inner() const { return !prefix_.empty(); }

  Packet packet_;
  std::vector<std::string> wrong_;
  std::string prefix_;
};

}  // namespace

absl::StatusOr<Packet> Parse(std::span<const std::uint8_t> frame) {
  Parser parser;
  RETURN_IF_ERROR(parser.Frame(frame));
  return std::move(parser.packet());
}

absl::Status VerifyChecksums(std::span<const std::uint8_t> frame) {
  Parser parser;
  RETURN_IF_ERROR(parser.Frame(frame));
  if (parser.wrong().empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("wrong: ", absl::StrJoin(parser.wrong(), ", ")));
}

absl::StatusOr<Bytes> Reassemble(const std::vector<Bytes>& fragments) {
  if (fragments.empty()) return absl::InvalidArgumentError("no fragments");
  Packet whole;
  std::string payload;
  std::uint8_t protocol = 0;
  for (const Bytes& frame : fragments) {
    ASSIGN_OR_RETURN(Packet packet, Parse(frame));
    const auto* v4 = Find<Ipv4>(packet);
    const auto* v6 = Find<Ipv6Fragment>(packet);
    if (v4 == nullptr && v6 == nullptr) return absl::InvalidArgumentError("not a fragment");
    const std::size_t offset = v4 != nullptr ? v4->fragment_offset : v6->offset;
    if (offset != payload.size()) return absl::InvalidArgumentError("fragments out of order");
    if (const auto* bytes = Find<Payload>(packet)) payload += bytes->bytes;
    if (!whole.empty()) continue;
    protocol = v4 != nullptr ? v4->protocol.value_or(0) : v6->next_header.value_or(0);
    for (const Layer& layer : packet) {
      if (!std::holds_alternative<Payload>(layer) && !std::holds_alternative<Ipv6Fragment>(layer)) {
        whole.push_back(layer);
      }
    }
  }
  if (auto* v4 = std::get_if<Ipv4>(&whole.back())) {
    v4->more_fragments = false;
    v4->protocol = protocol;
  } else if (auto* v6 = std::get_if<Ipv6>(&whole.back())) {
    v6->next_header = protocol;
  }
  return Build(whole / Payload{payload});
}

}  // namespace sluice::testing
