// SPDX-License-Identifier: Apache-2.0
// Choosing a free address or port for a Service: by a hash of its name, so that nodes that share
// manifests and no state, or one that lost its state, come to the same values.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "control/model/ip_address.h"

namespace sluice {

// FNV-1a with a last mix: the same on every machine and in every version.
std::uint64_t StableHash(std::string_view text);

// A range of numbered places. As in Kubernetes, its low end is left to values that people choose
// themselves and is used only when the rest is taken, so that the two seldom meet.
class AllocationPool {
 public:
  // Usable addresses of `prefix`: not the first, nor IPv4's last; of IPv6 at most 2^32.
  static AllocationPool OfPrefix(const IpPrefix& prefix);
  // Ports `min`..`max`, both included. Requires: min <= max.
  static AllocationPool OfPorts(std::uint16_t min, std::uint16_t max);

  // The first place from hash `seed` on that `is_free`; nothing when all are taken. Cost: expected
  // constant while the pool is not nearly full, else linear in its size.
  std::optional<std::uint64_t> Choose(std::uint64_t seed,
                                      const std::function<bool(std::uint64_t)>& is_free) const;

 private:
  AllocationPool(std::uint64_t begin, std::uint64_t end, std::uint64_t reserved)
      : begin_(begin), end_(end), reserved_(reserved) {}

  std::uint64_t begin_;
  std::uint64_t end_;       // past the last
  std::uint64_t reserved_;  // places at the low end
};

// The address `offset` places after the prefix's own.
IpAddress AddressAt(const IpPrefix& prefix, std::uint64_t offset);

}  // namespace sluice
