// SPDX-License-Identifier: Apache-2.0
#include "control/source/allocation_pool.h"

#include <algorithm>
#include <cstring>

namespace sluice {

std::uint64_t StableHash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  // FNV's low bits follow the last characters closely ("svc-1", "svc-2"): murmur's finalizer.
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 33);
}

AllocationPool AllocationPool::OfPrefix(const IpPrefix& prefix) {
  constexpr unsigned kMaxHostBits = 32;
  const unsigned host_bits = std::min(128 - prefix.length(), kMaxHostBits);
  const std::uint64_t size = std::uint64_t{1} << host_bits;
  if (size <= 2) return {0, size, 0};  // a prefix of one or two addresses is used whole
  const std::uint64_t end = prefix.is_v4() ? size - 1 : size;
  // Kubernetes: KEP-3070, a sixteenth, at least 16 and at most 256.
  const std::uint64_t reserved = size <= 16 ? 0 : std::clamp<std::uint64_t>(size / 16, 16, 256);
  return {1, end, std::min(reserved, end - 1)};
}

AllocationPool AllocationPool::OfPorts(std::uint16_t min, std::uint16_t max) {
  const std::uint64_t size = std::uint64_t{max} - min + 1;
  // Kubernetes: KEP-3668, a 32nd, at least 16 and at most 128.
  const std::uint64_t reserved = size <= 16 ? 0 : std::clamp<std::uint64_t>(size / 32, 16, 128);
  return {min, std::uint64_t{max} + 1, std::min(reserved, size)};
}

std::optional<std::uint64_t> AllocationPool::Choose(
    std::uint64_t seed, const std::function<bool(std::uint64_t)>& is_free) const {
  const std::uint64_t dynamic = begin_ + reserved_;
  const std::uint64_t size = end_ - dynamic;
  for (std::uint64_t i = 0; i < size; ++i) {
    const std::uint64_t place = dynamic + (seed % size + i) % size;
    if (is_free(place)) return place;
  }
  for (std::uint64_t place = begin_; place < dynamic; ++place) {
    if (is_free(place)) return place;
  }
  return std::nullopt;
}

IpAddress AddressAt(const IpPrefix& prefix, std::uint64_t offset) {
  std::array<std::uint8_t, 16> bytes = prefix.address().bytes();
  // The host part is zero and `offset` fits into it, so there is no carry.
  for (std::size_t i = 0; i < sizeof(offset); ++i) {
    bytes[15 - i] = static_cast<std::uint8_t>(bytes[15 - i] | (offset >> (8 * i) & 0xff));
  }
  abi::addr addr{};
  std::memcpy(&addr, bytes.data(), sizeof(addr));
  return IpAddress::FromAbi(addr);
}

}  // namespace sluice
