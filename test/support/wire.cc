// SPDX-License-Identifier: Apache-2.0
#include "test/support/wire.h"

#include <arpa/inet.h>

#include <array>

#include "absl/strings/str_format.h"

namespace sluice::testing {

std::uint16_t InternetChecksum(std::span<const std::uint8_t> bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? static_cast<std::uint64_t>(bytes[i]) << 8 : bytes[i];
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

namespace {

// What each value of a byte adds, by polynomial division bit by bit.
std::array<std::uint32_t, 256> MakeCrc32cTable() {
  constexpr std::uint32_t kReversedPolynomial = 0x82f63b78;  // of 0x1edc6f41
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) {
      const bool odd = (remainder & 1) != 0;
      remainder >>= 1;
      if (odd) remainder ^= kReversedPolynomial;
    }
    table[byte] = remainder;
  }
  return table;
}

}  // namespace

std::uint32_t Crc32c(std::span<const std::uint8_t> bytes) {
  static const std::array<std::uint32_t, 256> table = MakeCrc32cTable();
  std::uint32_t crc = 0xffffffff;
  for (const std::uint8_t byte : bytes) crc = table[(crc ^ byte) & 0xff] ^ crc >> 8;
  return ~crc;
}

std::uint8_t FlagBits(std::string_view letters) {
  unsigned bits = 0;
  for (char letter : letters) bits |= 1u << kTcpFlags.find(letter);
  return static_cast<std::uint8_t>(bits);
}

std::string FlagLetters(std::uint8_t bits) {
  std::string letters;
  for (std::size_t i = 0; i < kTcpFlags.size(); ++i) {
    if (bits >> i & 1) letters += kTcpFlags[i];
  }
  return letters;
}

std::string Ipv4Text(std::span<const std::uint8_t> bytes) {
  char text[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, bytes.data(), text, sizeof(text));
  return text;
}

std::string Ipv6Text(std::span<const std::uint8_t> bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, bytes.data(), text, sizeof(text));
  return text;
}

std::string MacText(std::span<const std::uint8_t> bytes) {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                         bytes[4], bytes[5]);
}

}  // namespace sluice::testing
