// SPDX-License-Identifier: Apache-2.0
// Layers to frames.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "test/support/packet.h"
#include "test/support/wire.h"

namespace sluice::testing {
namespace {

// What the transport's checksum covers besides itself, and the family.
struct Network {
  Bytes source;
  Bytes destination;
  bool v6() const { return source.size() == 16; }
};

[[noreturn]] void Die(const std::string& why) {
  std::cerr << "packet.h used wrongly: " << why << "\n";
  std::abort();
}

Bytes AddressBytes(const std::string& text, int family) {
  Bytes bytes(family == AF_INET6 ? 16 : 4);
  if (inet_pton(family, text.c_str(), bytes.data()) != 1) Die("address '" + text + "'");
  return bytes;
}

Bytes MacBytes(const std::string& text) {
  Bytes bytes;
  for (absl::string_view part : absl::StrSplit(text, ':')) {
    bytes.push_back(
        static_cast<std::uint8_t>(std::strtoul(std::string(part).c_str(), nullptr, 16)));
  }
  if (bytes.size() != 6) Die("MAC '" + text + "'");
  return bytes;
}

void Append(Bytes& to, std::span<const std::uint8_t> from) {
  to.insert(to.end(), from.begin(), from.end());
}

std::uint16_t TransportChecksum(const Bytes& segment, std::uint8_t protocol,
                                const Network& network) {
  Bytes covered = network.source;
  Append(covered, network.destination);
  AppendBe32(covered, static_cast<std::uint32_t>(segment.size()));
  AppendBe32(covered, protocol);
  Append(covered, segment);
  return InternetChecksum(covered);
}

void PutBe16(Bytes& bytes, std::size_t offset, std::uint16_t value) {
  bytes[offset] = static_cast<std::uint8_t>(value >> 8);
  bytes[offset + 1] = static_cast<std::uint8_t>(value);
}

Bytes Serialize(std::span<const Layer> layers, const Network& network);

class LayerWriter {
 public:
  LayerWriter(std::span<const Layer> rest, const Network& network)
      : rest_(rest), network_(network) {}

  Bytes operator()(const Ethernet& layer) const {
    Bytes out = MacBytes(layer.destination);
    Append(out, MacBytes(layer.source));
    AppendBe16(out, EtherType());
    Append(out, Serialize(rest_, network_));
    return out;
  }

  Bytes operator()(const Vlan& layer) const {
    Bytes out;
    AppendBe16(out, layer.id);
    AppendBe16(out, EtherType());
    Append(out, Serialize(rest_, network_));
    return out;
  }

  Bytes operator()(const Ipv4& layer) const {
    if (layer.options.size() % 4 != 0 || layer.fragment_offset % 8 != 0) Die("ipv4 sizes");
    const Network own{AddressBytes(layer.source, AF_INET),
                      AddressBytes(layer.destination, AF_INET)};
    const Bytes body = Serialize(rest_, own);
    const std::size_t header = 20 + layer.options.size();
    Bytes out{static_cast<std::uint8_t>(0x40 | header / 4), layer.tos};
    AppendBe16(out, layer.total_length.value_or(static_cast<std::uint16_t>(header + body.size())));
    AppendBe16(out, layer.id);
    AppendBe16(out, static_cast<std::uint16_t>((layer.dont_fragment ? 0x4000 : 0) |
                                               (layer.more_fragments ? 0x2000 : 0) |
                                               layer.fragment_offset / 8));
    out.push_back(layer.ttl);
    out.push_back(layer.protocol.value_or(ImpliedNextHeader(rest_, false)));
    AppendBe16(out, 0);
    Append(out, own.source);
    Append(out, own.destination);
    Append(out, layer.options);
    PutBe16(out, 10, layer.checksum.value_or(InternetChecksum(out)));
    Append(out, body);
    return out;
  }

  Bytes operator()(const Ipv6& layer) const {
    const Network own{AddressBytes(layer.source, AF_INET6),
                      AddressBytes(layer.destination, AF_INET6)};
    const Bytes body = Serialize(rest_, own);
    Bytes out;
    AppendBe32(out, 0x60000000u | static_cast<std::uint32_t>(layer.traffic_class) << 20 |
                        layer.flow_label);
    AppendBe16(out, layer.payload_length.value_or(static_cast<std::uint16_t>(body.size())));
    out.push_back(layer.next_header.value_or(ImpliedNextHeader(rest_, true)));
    out.push_back(layer.hop_limit);
    Append(out, own.source);
    Append(out, own.destination);
    Append(out, body);
    return out;
  }

  Bytes operator()(const Ipv6Extension& layer) const {
    if (layer.body.size() % 8 != 6) Die("extension header size");
    Bytes out{layer.next_header.value_or(ImpliedNextHeader(rest_, true)),
              static_cast<std::uint8_t>(layer.body.size() / 8)};
    Append(out, layer.body);
    Append(out, Serialize(rest_, network_));
    return out;
  }

  Bytes operator()(const Ipv6Fragment& layer) const {
    if (layer.offset % 8 != 0) Die("fragment offset");
    Bytes out{layer.next_header.value_or(ImpliedNextHeader(rest_, true)), 0};
    AppendBe16(out, static_cast<std::uint16_t>(layer.offset | (layer.more ? 1 : 0)));
    AppendBe32(out, layer.id);
    Append(out, Serialize(rest_, network_));
    return out;
  }

  Bytes operator()(const Tcp& layer) const {
    if (layer.options.size() % 4 != 0) Die("tcp options size");
    Bytes out;
    AppendBe16(out, layer.source_port);
    AppendBe16(out, layer.destination_port);
    AppendBe32(out, layer.sequence);
    AppendBe32(out, layer.acknowledgment);
    out.push_back(static_cast<std::uint8_t>((20 + layer.options.size()) / 4 << 4));
    out.push_back(FlagBits(layer.flags));
    AppendBe16(out, layer.window);
    AppendBe16(out, 0);
    AppendBe16(out, layer.urgent);
    Append(out, layer.options);
    Append(out, Serialize(rest_, network_));
    PutBe16(out, 16, layer.checksum.value_or(TransportChecksum(out, IPPROTO_TCP, network_)));
    return out;
  }

  Bytes operator()(const Udp& layer) const {
    const Bytes body = Serialize(rest_, network_);
    Bytes out;
    AppendBe16(out, layer.source_port);
    AppendBe16(out, layer.destination_port);
    AppendBe16(out, layer.length.value_or(static_cast<std::uint16_t>(8 + body.size())));
    AppendBe16(out, 0);
    Append(out, body);
    if (layer.no_checksum) return out;
    std::uint16_t checksum = TransportChecksum(out, IPPROTO_UDP, network_);
    if (checksum == 0) checksum = 0xffff;  // RFC 768: 0 would say "none"
    PutBe16(out, 6, layer.checksum.value_or(checksum));
    return out;
  }

  Bytes operator()(const Sctp& layer) const {
    Bytes out;
    AppendBe16(out, layer.source_port);
    AppendBe16(out, layer.destination_port);
    AppendBe32(out, layer.tag);
    AppendBe32(out, 0);
    for (const SctpChunk& chunk : layer.chunks) {
      out.push_back(chunk.type);
      out.push_back(chunk.flags);
      AppendBe16(out, static_cast<std::uint16_t>(4 + chunk.value.size()));
      out.insert(out.end(), chunk.value.begin(), chunk.value.end());
      while (out.size() % 4 != 0) out.push_back(0);
    }
    Append(out, Serialize(rest_, network_));
    if (layer.no_checksum) return out;
    // The one field of the internet's protocols that is written lowest byte first.
    const std::uint32_t checksum = layer.checksum.value_or(Crc32c(out));
    for (unsigned i = 0; i < 4; ++i) out[8 + i] = static_cast<std::uint8_t>(checksum >> 8 * i);
    return out;
  }

  Bytes operator()(const Icmp& layer) const {
    Bytes out{layer.type, layer.code, 0, 0};
    AppendBe32(out, layer.rest);
    Append(out, Serialize(rest_, network_));
    const std::uint16_t checksum =
        network_.v6() ? TransportChecksum(out, IPPROTO_ICMPV6, network_) : InternetChecksum(out);
    PutBe16(out, 2, layer.checksum.value_or(checksum));
    return out;
  }

  Bytes operator()(const TransportStub& layer) const {
    Bytes out;
    AppendBe16(out, layer.source_port);
    AppendBe16(out, layer.destination_port);
    AppendBe32(out, layer.rest);
    return out;
  }

  Bytes operator()(const Payload& layer) const {
    Bytes out(layer.bytes.begin(), layer.bytes.end());
    Append(out, Serialize(rest_, network_));
    return out;
  }

  Bytes operator()(const Trailer&) const { Die("a trailer that is not the last layer"); }

 private:
  std::uint16_t EtherType() const {
    if (rest_.empty()) return 0x88b5;  // IEEE 802: local experiments
    if (const auto* vlan = std::get_if<Vlan>(&rest_.front())) return vlan->tag_ethertype;
    if (std::holds_alternative<Ipv4>(rest_.front())) return 0x0800;
    if (std::holds_alternative<Ipv6>(rest_.front())) return 0x86dd;
    return 0x88b5;
  }

  std::span<const Layer> rest_;
  const Network& network_;
};

Bytes Serialize(std::span<const Layer> layers, const Network& network) {
  if (layers.empty()) return {};
  return std::visit(LayerWriter(layers.subspan(1), network), layers.front());
}

Ipv6Extension Padding(std::uint8_t type) {
  return {.type = type, .body = {1, 4, 0, 0, 0, 0}};  // one PadN option of 4 bytes, RFC 8200 4.2
}

}  // namespace

std::uint8_t ImpliedNextHeader(std::span<const Layer> rest, bool v6) {
  if (rest.empty()) return IPPROTO_NONE;
  const Layer& next = rest.front();
  if (std::holds_alternative<Tcp>(next)) return IPPROTO_TCP;
  if (std::holds_alternative<Udp>(next)) return IPPROTO_UDP;
  if (std::holds_alternative<Sctp>(next)) return IPPROTO_SCTP;
  if (std::holds_alternative<Icmp>(next)) return IcmpProtocol(v6);
  if (const auto* extension = std::get_if<Ipv6Extension>(&next)) return extension->type;
  if (std::holds_alternative<Ipv6Fragment>(next)) return IPPROTO_FRAGMENT;
  if (const auto* stub = std::get_if<TransportStub>(&next)) return stub->protocol;
  if (std::holds_alternative<Ipv4>(next)) return IPPROTO_IPIP;
  if (std::holds_alternative<Ipv6>(next)) return IPPROTO_IPV6;
  return IPPROTO_NONE;
}

Bytes Build(const Packet& packet) {
  std::span<const Layer> layers = packet;
  std::string trailer;
  if (!layers.empty() && std::holds_alternative<Trailer>(layers.back())) {
    trailer = std::get<Trailer>(layers.back()).bytes;
    layers = layers.first(layers.size() - 1);
  }
  Bytes frame = Serialize(layers, Network());
  frame.insert(frame.end(), trailer.begin(), trailer.end());
  return frame;
}

Ipv6Extension HopByHop() { return Padding(IPPROTO_HOPOPTS); }
Ipv6Extension DestinationOptions() { return Padding(IPPROTO_DSTOPTS); }
Ipv6Extension RoutingDone() {
  Ipv6Extension header{.type = IPPROTO_ROUTING, .body = Bytes(22)};
  header.body[0] = 2;  // type 2 (RFC 6275): one address; segments left, the next byte, is 0
  return header;
}

Packet operator/(Layer first, Layer second) { return {std::move(first), std::move(second)}; }
Packet operator/(Packet front, Layer last) {
  front.push_back(std::move(last));
  return front;
}
Packet operator/(Packet front, const Packet& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

Ports PortsOf(const Packet& packet) {
  if (const auto* tcp = Find<Tcp>(packet)) return {tcp->source_port, tcp->destination_port};
  if (const auto* udp = Find<Udp>(packet)) return {udp->source_port, udp->destination_port};
  if (const auto* sctp = Find<Sctp>(packet)) return {sctp->source_port, sctp->destination_port};
  return {};
}

std::string SourceOf(const Packet& packet) {
  if (const auto* v4 = Find<Ipv4>(packet)) return v4->source;
  const auto* v6 = Find<Ipv6>(packet);
  return v6 == nullptr ? "" : v6->source;
}

std::string DestinationOf(const Packet& packet) {
  if (const auto* v4 = Find<Ipv4>(packet)) return v4->destination;
  const auto* v6 = Find<Ipv6>(packet);
  return v6 == nullptr ? "" : v6->destination;
}

std::vector<Bytes> Fragments(const Packet& packet, std::size_t size, std::uint32_t id) {
  const auto network = std::find_if(packet.begin(), packet.end(), [](const Layer& layer) {
    return std::holds_alternative<Ipv4>(layer) || std::holds_alternative<Ipv6>(layer);
  });
  if (network == packet.end() || size % 8 != 0) Die("Fragments");
  const bool v6 = std::holds_alternative<Ipv6>(*network);
  const Packet rest(network + 1, packet.end());
  const std::uint8_t protocol = ImpliedNextHeader(rest, v6);
  const std::size_t before = Build(Packet(packet.begin(), network + 1)).size();
  const Bytes whole = Build(packet);
  std::vector<Bytes> frames;
  for (std::size_t at = before; at < whole.size(); at += size) {
    const std::size_t end = std::min(whole.size(), at + size);
    const auto offset = static_cast<std::uint16_t>(at - before);
    Packet fragment(packet.begin(), network + 1);
    if (v6) {
      fragment.push_back(Ipv6Fragment{
          .offset = offset, .more = end < whole.size(), .id = id, .next_header = protocol});
    } else {
      auto& header = std::get<Ipv4>(fragment.back());
      header.fragment_offset = offset;
      header.more_fragments = end < whole.size();
      header.id = static_cast<std::uint16_t>(id);
      header.protocol = protocol;
    }
    fragment.push_back(Payload{std::string(whole.begin() + static_cast<std::ptrdiff_t>(at),
                                           whole.begin() + static_cast<std::ptrdiff_t>(end))});
    frames.push_back(Build(fragment));
  }
  return frames;
}

abi::addr MapAddress(std::string_view text) {
  const std::string copy(text);
  const std::string mapped = copy.find(':') == std::string::npos ? "::ffff:" + copy : copy;
  abi::addr address{};
  const Bytes bytes = AddressBytes(mapped, AF_INET6);
  std::memcpy(&address, bytes.data(), sizeof(address));
  return address;
}

std::string AddressText(const abi::addr& address) {
  Bytes bytes(sizeof(address));
  std::memcpy(bytes.data(), &address, sizeof(address));
  const std::string text = Ipv6Text(bytes);
  return text.starts_with("::ffff:") ? text.substr(7) : text;
}

}  // namespace sluice::testing
