// SPDX-License-Identifier: Apache-2.0
// An IP address and a prefix, of either family, held as the maps hold them (abi::addr).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "maps/abi.h"

namespace sluice {

class IpAddress {
 public:
  IpAddress() = default;  // "::", which no service or endpoint may have

  // Reads dotted IPv4 (no leading zeros, RFC 6943 3.1.1) or IPv6 text. Errors: INVALID_ARGUMENT.
  static absl::StatusOr<IpAddress> Parse(std::string_view text);
  static IpAddress FromAbi(const abi::addr& addr);

  bool is_v4() const;           // v4-mapped
  bool is_unspecified() const;  // 0.0.0.0 or ::
  bool is_loopback() const;     // 127.0.0.0/8 or ::1
  bool is_multicast() const;    // 224.0.0.0/4 or ff00::/8
  bool is_link_local() const;   // 169.254.0.0/16 or fe80::/10
  abi::addr ToAbi() const;
  std::string ToString() const;
  // "192.0.2.1:80", "[2001:db8::1]:80". `port` is in host order.
  std::string WithPort(std::uint16_t port) const;
  // Network order, v4-mapped.
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// A CIDR. `length` counts bits of the 16-byte form, so that 10.0.0.0/8 has length 104.
class IpPrefix {
 public:
  IpPrefix() = default;
  // Reads "10.0.0.0/8" or "fd00::/48"; surrounding blanks are trimmed; host bits are cleared.
  // Errors: INVALID_ARGUMENT.
  static absl::StatusOr<IpPrefix> Parse(std::string_view text);

  bool Contains(const IpAddress& address) const;
  bool is_v4() const { return address_.is_v4(); }
  const IpAddress& address() const { return address_; }
  unsigned length() const { return length_; }
  // The mask in the 16-byte form.
  abi::addr MaskAbi() const;
  std::string ToString() const;  // as Parse reads it

  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

 private:
  IpAddress address_;
  unsigned length_ = 0;
};

}  // namespace sluice
