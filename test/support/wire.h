// SPDX-License-Identifier: Apache-2.0
// Byte order, the internet checksum and text forms for the packet builder and parser.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::testing {

inline void AppendBe16(std::vector<std::uint8_t>& to, std::uint16_t value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8));
  to.push_back(static_cast<std::uint8_t>(value));
}

inline void AppendBe32(std::vector<std::uint8_t>& to, std::uint32_t value) {
  AppendBe16(to, static_cast<std::uint16_t>(value >> 16));
  AppendBe16(to, static_cast<std::uint16_t>(value));
}

inline constexpr std::uint8_t IcmpProtocol(bool v6) { return v6 ? 58 : 1; }

// RFC 1071, over the bytes as they are; an odd last byte is padded with 0.
std::uint16_t InternetChecksum(std::span<const std::uint8_t> bytes);

// CRC32c as SCTP and iSCSI have it (RFC 9260 appendix A, RFC 3720 appendix B.4).
std::uint32_t Crc32c(std::span<const std::uint8_t> bytes);

// TCP flags as letters of kTcpFlags, lowest bit first; "" is no flag.
inline constexpr std::string_view kTcpFlags = "FSRPAUEC";
std::uint8_t FlagBits(std::string_view letters);
std::string FlagLetters(std::uint8_t bits);

std::string Ipv4Text(std::span<const std::uint8_t> bytes);
std::string Ipv6Text(std::span<const std::uint8_t> bytes);
std::string MacText(std::span<const std::uint8_t> bytes);

}  // namespace sluice::testing
