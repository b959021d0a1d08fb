// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace_packet.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sluice::report {
namespace {

constexpr std::uint8_t kTtl = 64;
constexpr std::string_view kUdpPayload = "sluice trace";
constexpr std::size_t kV4Offset = 12;  // of the IPv4 address in the v4-mapped form
// A locally administered address for the sender: no interface has it.
constexpr MacAddress kSender = {0x02, 0x73, 0x6c, 0x75, 0x69, 0x63};

// The Internet checksum (RFC 1071) over bytes that are added piece by piece; all but the last piece
// must have an even length. Words are summed in memory order, which gives the field in its order.
class Checksum {
 public:
  void Add(const void* bytes, std::size_t size) {
    const auto* from = static_cast<const unsigned char*>(bytes);
    for (std::size_t i = 0; i < size; i += 2) {
      std::uint16_t word = 0;
      std::memcpy(&word, from + i, std::min<std::size_t>(2, size - i));
      sum_ += word;
    }
  }

  std::uint16_t Finish() const {
    std::uint32_t sum = sum_;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
  }

 private:
  std::uint32_t sum_ = 0;
};

template <typename T>
void Append(std::vector<std::byte>& frame, const T& header) {
  const std::size_t offset = frame.size();
  frame.resize(offset + sizeof(header));
  std::memcpy(frame.data() + offset, &header, sizeof(header));
}

template <typename T>
bool ReadAt(std::span<const std::byte> frame, std::size_t offset, T& to) {
  if (offset > frame.size() || frame.size() - offset < sizeof(to)) return false;
  std::memcpy(&to, frame.data() + offset, sizeof(to));
  return true;
}

// The pseudo header of TCP and UDP (RFC 9293 3.1, RFC 8200 8.1). IPv4 and IPv6 differ only in the
// address bytes: the further zeros of the IPv6 form add nothing.
Checksum PseudoHeader(const PacketEnds& ends, std::size_t l4_size) {
  const std::size_t offset = ends.source.is_v4() ? kV4Offset : 0;
  Checksum sum;
  for (const IpAddress* address : {&ends.source, &ends.destination}) {
    sum.Add(address->bytes().data() + offset, address->bytes().size() - offset);
  }
  const std::uint16_t words[] = {htons(static_cast<std::uint16_t>(l4_size)),
                                 htons(static_cast<std::uint16_t>(ends.protocol))};
  sum.Add(words, sizeof(words));
  return sum;
}

std::vector<std::byte> BuildTcpSyn(const PacketEnds& ends) {
  tcphdr tcp{};
  tcp.source = htons(ends.source_port);
  tcp.dest = htons(ends.destination_port);
  tcp.seq = htonl(1);
  tcp.doff = sizeof(tcp) / 4;
  tcp.syn = 1;
  tcp.window = htons(64240);
  Checksum sum = PseudoHeader(ends, sizeof(tcp));
  sum.Add(&tcp, sizeof(tcp));
  tcp.check = sum.Finish();
  std::vector<std::byte> segment;
  Append(segment, tcp);
  return segment;
}

std::vector<std::byte> BuildUdp(const PacketEnds& ends) {
  udphdr udp{};
  udp.source = htons(ends.source_port);
  udp.dest = htons(ends.destination_port);
  udp.len = htons(static_cast<std::uint16_t>(sizeof(udp) + kUdpPayload.size()));
  Checksum sum = PseudoHeader(ends, sizeof(udp) + kUdpPayload.size());
  sum.Add(&udp, sizeof(udp));
  sum.Add(kUdpPayload.data(), kUdpPayload.size());
  // Zero means "no checksum" in UDP; the same value has a second form.
  const std::uint16_t check = sum.Finish();
  udp.check = check == 0 ? 0xffff : check;
  std::vector<std::byte> datagram;
  Append(datagram, udp);
  const auto* payload = reinterpret_cast<const std::byte*>(kUdpPayload.data());
  datagram.insert(datagram.end(), payload, payload + kUdpPayload.size());
  return datagram;
}

// The first packet of an association (RFC 9260 3.3.2), without parameters.
struct SctpInit {
  __be16 source;
  __be16 destination;
  __be32 tag;
  __le32 checksum;
  std::uint8_t type;
  std::uint8_t flags;
  __be16 length;  // from `type` on
  __be32 initiate_tag;
  __be32 window;
  __be16 outbound_streams;
  __be16 inbound_streams;
  __be32 initial_number;
};
static_assert(sizeof(SctpInit) == 32);

// CRC32c, as SCTP has it (RFC 9260 Appendix A).
std::uint32_t Crc32c(const void* bytes, std::size_t size) {
  constexpr std::uint32_t kPolynomial = 0x82f63b78;
  std::uint32_t crc = ~0U;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= static_cast<const unsigned char*>(bytes)[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (kPolynomial & -(crc & 1));
  }
  return ~crc;
}

std::vector<std::byte> BuildSctpInit(const PacketEnds& ends) {
  SctpInit init{};
  init.source = htons(ends.source_port);
  init.destination = htons(ends.destination_port);
  init.type = 1;
  init.length = htons(sizeof(init) - offsetof(SctpInit, type));
  init.initiate_tag = htonl(1);
  init.window = htonl(64240);
  init.outbound_streams = init.inbound_streams = htons(1);
  init.initial_number = htonl(1);
  init.checksum = htole32(Crc32c(&init, sizeof(init)));
  std::vector<std::byte> packet;
  Append(packet, init);
  return packet;
}

std::vector<std::byte> BuildL4(const PacketEnds& ends) {
  if (ends.protocol == IPPROTO_TCP) return BuildTcpSyn(ends);
  return ends.protocol == IPPROTO_SCTP ? BuildSctpInit(ends) : BuildUdp(ends);
}

void AppendIpv4(std::vector<std::byte>& frame, const PacketEnds& ends, std::size_t l4_size) {
  iphdr ip{};
  ip.version = 4;
  ip.ihl = sizeof(ip) / 4;
  ip.tot_len = htons(static_cast<std::uint16_t>(sizeof(ip) + l4_size));
  ip.frag_off = htons(0x4000);  // DF, as a TCP stack sends it
  ip.ttl = kTtl;
  ip.protocol = static_cast<std::uint8_t>(ends.protocol);
  std::memcpy(&ip.saddr, ends.source.bytes().data() + kV4Offset, sizeof(ip.saddr));
  std::memcpy(&ip.daddr, ends.destination.bytes().data() + kV4Offset, sizeof(ip.daddr));
  Checksum sum;
  sum.Add(&ip, sizeof(ip));
  ip.check = sum.Finish();
  Append(frame, ip);
}

void AppendIpv6(std::vector<std::byte>& frame, const PacketEnds& ends, std::size_t l4_size) {
  ipv6hdr ip{};
  ip.version = 6;
  ip.payload_len = htons(static_cast<std::uint16_t>(l4_size));
  ip.nexthdr = static_cast<std::uint8_t>(ends.protocol);
  ip.hop_limit = kTtl;
  std::memcpy(&ip.saddr, ends.source.bytes().data(), sizeof(ip.saddr));
  std::memcpy(&ip.daddr, ends.destination.bytes().data(), sizeof(ip.daddr));
  Append(frame, ip);
}

IpAddress FromV4(__be32 address) {
  abi::addr mapped{};
  mapped.w[2] = htonl(0xffff);
  mapped.w[3] = address;
  return IpAddress::FromAbi(mapped);
}

IpAddress FromV6(const in6_addr& address) {
  abi::addr bytes{};
  std::memcpy(&bytes, &address, sizeof(bytes));
  return IpAddress::FromAbi(bytes);
}

absl::Status NotOurs(const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("the packet after the program: ", what));
}

}  // namespace

std::vector<std::byte> BuildTracePacket(const PacketEnds& ends, const MacAddress& receiver) {
  const bool is_v4 = ends.source.is_v4();
  const std::vector<std::byte> l4 = BuildL4(ends);
  ethhdr ethernet{};
  std::copy(receiver.begin(), receiver.end(), ethernet.h_dest);
  std::copy(kSender.begin(), kSender.end(), ethernet.h_source);
  ethernet.h_proto = htons(is_v4 ? ETH_P_IP : ETH_P_IPV6);
  std::vector<std::byte> frame;
  Append(frame, ethernet);
  if (is_v4) {
    AppendIpv4(frame, ends, l4.size());
  } else {
    AppendIpv6(frame, ends, l4.size());
  }
  frame.insert(frame.end(), l4.begin(), l4.end());
  return frame;
}

absl::StatusOr<PacketEnds> ReadPacketEnds(std::span<const std::byte> frame) {
  ethhdr ethernet{};
  if (!ReadAt(frame, 0, ethernet)) return NotOurs("shorter than an Ethernet header");
  PacketEnds ends;
  std::size_t l4_offset = sizeof(ethernet);
  if (ethernet.h_proto == htons(ETH_P_IP)) {
    iphdr ip{};
    if (!ReadAt(frame, sizeof(ethernet), ip)) return NotOurs("shorter than an IPv4 header");
    ends.source = FromV4(ip.saddr);
    ends.destination = FromV4(ip.daddr);
    ends.protocol = ip.protocol;
    l4_offset += std::size_t{ip.ihl} * 4;
  } else if (ethernet.h_proto == htons(ETH_P_IPV6)) {
    ipv6hdr ip{};
    if (!ReadAt(frame, sizeof(ethernet), ip)) return NotOurs("shorter than an IPv6 header");
    ends.source = FromV6(ip.saddr);
    ends.destination = FromV6(ip.daddr);
    ends.protocol = ip.nexthdr;
    l4_offset += sizeof(ip);
  } else {
    return NotOurs("neither IPv4 nor IPv6");
  }
  if (ends.protocol != IPPROTO_TCP && ends.protocol != IPPROTO_UDP &&
      ends.protocol != IPPROTO_SCTP) {
    return NotOurs("not TCP, UDP or SCTP");
  }
  // All of them begin with the two ports.
  __be16 ports[2];
  if (!ReadAt(frame, l4_offset, ports)) return NotOurs("ends before the ports");
  ends.source_port = ntohs(ports[0]);
  ends.destination_port = ntohs(ports[1]);
  return ends;
}

}  // namespace sluice::report
