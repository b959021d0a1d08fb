// SPDX-License-Identifier: Apache-2.0
#include "control/model/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sluice {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned kV4Offset = 96;  // bits before an IPv4 address in the 16-byte form

// Debian's abseil is built with a string_view of its own, which std's does not convert to.
absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

std::array<std::uint8_t, 16> MaskBytes(unsigned length) {
  std::array<std::uint8_t, 16> mask{};
  for (unsigned i = 0; i < mask.size(); ++i) {
    const unsigned bits = length > 8 * i ? std::min(length - 8 * i, 8u) : 0;
    mask[i] = static_cast<std::uint8_t>(0xff00u >> bits);
  }
  return mask;
}

}  // namespace

absl::StatusOr<IpAddress> IpAddress::Parse(std::string_view text) {
  // inet_pton reads to a NUL, so that a text with one inside would pass for its head.
  const std::string copy(text);
  const bool has_nul = text.find('\0') != std::string_view::npos;
  IpAddress address;
  in_addr v4{};
  if (!has_nul && inet_pton(AF_INET, copy.c_str(), &v4) == 1) {
    std::copy(kV4Mapped.begin(), kV4Mapped.end(), address.bytes_.begin());
    std::memcpy(&address.bytes_[12], &v4, sizeof(v4));
    return address;
  }
  if (!has_nul && inet_pton(AF_INET6, copy.c_str(), address.bytes_.data()) == 1) {
    if (address.is_v4()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", ToAbsl(text), "\" is an IPv4 address in IPv6 form: write it dotted"));
    }
    return address;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", ToAbsl(text), "\" is not an IP address (IPv4 without leading zeros, or IPv6)"));
}

IpAddress IpAddress::FromAbi(const abi::addr& addr) {
  IpAddress address;
  static_assert(sizeof(addr) == sizeof(address.bytes_));
  std::memcpy(address.bytes_.data(), &addr, sizeof(addr));
  return address;
}

bool IpAddress::is_v4() const {
  return std::equal(kV4Mapped.begin(), kV4Mapped.end(), bytes_.begin());
}

bool IpAddress::is_unspecified() const {
  const std::size_t from = is_v4() ? 12 : 0;
  return std::all_of(bytes_.begin() + static_cast<std::ptrdiff_t>(from), bytes_.end(),
                     [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  std::array<std::uint8_t, 16> loopback{};
  loopback[15] = 1;
  return bytes_ == loopback;
}

bool IpAddress::is_multicast() const {
  return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

bool IpAddress::is_link_local() const {
  return is_v4() ? bytes_[12] == 169 && bytes_[13] == 254
                 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

abi::addr IpAddress::ToAbi() const {
  abi::addr addr{};
  std::memcpy(&addr, bytes_.data(), sizeof(addr));
  return addr;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_v4()) {
    inet_ntop(AF_INET, &bytes_[12], text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, bytes_.data(), text, sizeof(text));
  }
  return text;
}

std::string IpAddress::WithPort(std::uint16_t port) const {
  return is_v4() ? absl::StrCat(ToString(), ":", port) : absl::StrCat("[", ToString(), "]:", port);
}

absl::StatusOr<IpPrefix> IpPrefix::Parse(std::string_view text) {
  const absl::string_view padded = absl::StripAsciiWhitespace(ToAbsl(text));
  const std::string_view trimmed(padded.data(), padded.size());
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", ToAbsl(text), "\" is not a CIDR like 10.0.0.0/8 or fd00::/48"));
  };
  const std::size_t slash = trimmed.find('/');
  if (slash == std::string_view::npos) return invalid();
  const absl::StatusOr<IpAddress> address = IpAddress::Parse(trimmed.substr(0, slash));
  if (!address.ok()) return invalid();
  const std::string_view digits = trimmed.substr(slash + 1);
  // As Go's ParseCIDR, which the API server asks: digits only, no sign, no leading zero.
  const bool only_digits = !digits.empty() && digits.size() <= 3 &&
                           std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
                           (digits.size() == 1 || digits[0] != '0');
  unsigned length = 0;
  if (!only_digits || !absl::SimpleAtoi(ToAbsl(digits), &length)) return invalid();
  if (length > (address->is_v4() ? 32u : 128u)) return invalid();

  IpPrefix prefix;
  prefix.length_ = address->is_v4() ? length + kV4Offset : length;
  const std::array<std::uint8_t, 16> mask = MaskBytes(prefix.length_);
  abi::addr cleared{};
  std::array<std::uint8_t, 16> bytes = address->bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] &= mask[i];
  std::memcpy(&cleared, bytes.data(), sizeof(cleared));
  prefix.address_ = IpAddress::FromAbi(cleared);
  return prefix;
}

bool IpPrefix::Contains(const IpAddress& address) const {
  // A v6 prefix as short as ::/0 covers the mapped form of every IPv4 address, but is not its.
  if (address.is_v4() != is_v4()) return false;
  const std::array<std::uint8_t, 16> mask = MaskBytes(length_);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if ((address.bytes()[i] & mask[i]) != address_.bytes()[i]) return false;
  }
  return true;
}

abi::addr IpPrefix::MaskAbi() const {
  const std::array<std::uint8_t, 16> mask = MaskBytes(length_);
  abi::addr addr{};
  std::memcpy(&addr, mask.data(), sizeof(addr));
  return addr;
}

std::string IpPrefix::ToString() const {
  return absl::StrCat(address_.ToString(), "/", is_v4() ? length_ - kV4Offset : length_);
}

}  // namespace sluice
