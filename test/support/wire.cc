// SPDX-License-Identifier: Apache-2.0
#include "test/support/wire.h"

#include <arpa/inet.h>

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
