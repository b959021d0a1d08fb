// SPDX-License-Identifier: Apache-2.0
// Sets of ports as the kernel writes them ("20000-29999,30000-32767"), and the sysctls of the
// network namespace that hold them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

struct PortRange {
  std::uint16_t min = 0;  // inclusive
  std::uint16_t max = 0;  // inclusive

  bool Overlaps(const PortRange& other) const { return min <= other.max && other.min <= max; }
  std::uint32_t Count() const { return std::uint32_t{max} - min + 1; }
  std::string ToString() const;  // "MIN-MAX"
  friend auto operator<=>(const PortRange&, const PortRange&) = default;
};

// Reads "MIN-MAX" with 1 <= MIN <= MAX <= 65535. Errors: INVALID_ARGUMENT.
absl::StatusOr<PortRange> ParsePortRange(std::string_view text);

// A set of ports, kept as the fewest ranges, in order.
class PortSet {
 public:
  // Reads a comma list of ports and ranges; empty text is the empty set. Errors: INVALID_ARGUMENT.
  static absl::StatusOr<PortSet> Parse(std::string_view text);

  void Add(const PortRange& range);
  PortSet Without(const PortSet& other) const;
  const std::vector<PortRange>& ranges() const { return ranges_; }
  std::string ToString() const;  // as Parse reads it
  friend bool operator==(const PortSet&, const PortSet&) = default;

 private:
  std::vector<PortRange> ranges_;
};

// The ephemeral ports of the calling thread's network namespace.
absl::StatusOr<PortRange> ReadEphemeralPorts();
// net.ipv4.ip_local_reserved_ports, which holds for IPv6 too.
absl::StatusOr<PortSet> ReadReservedPorts();
absl::Status WriteReservedPorts(const PortSet& ports);
// Whether the namespace forwards packets of the family.
absl::StatusOr<bool> ForwardingEnabled(bool v4);

}  // namespace sluice
