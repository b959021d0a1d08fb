// SPDX-License-Identifier: Apache-2.0
// Which clients may have an established flow (sl_clients), as memory: programs set bits in it while
// the agent clears some.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include "maps/client.h"

namespace sluice {

// A view; the memory belongs to MapSet (or, in tests, to a vector). Thread-compatible.
class ClientArray {
 public:
  static constexpr std::uint32_t kBits = 32;  // of a half

  // A power of two of them.
  explicit ClientArray(std::span<abi::client_word> words) : words_(words) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(words_.size()); }
  std::uint32_t IndexOf(std::uint32_t hash) const { return abi::client_index(hash) & (size() - 1); }

  // Of a client or a tuple of answers, as programs do it. `half`: 0 or 1.
  void Mark(std::uint32_t half, std::uint32_t hash) {
    Set(half, IndexOf(hash), abi::client_bits(hash));
  }
  bool Has(std::uint32_t half, std::uint32_t hash) const {
    return (abi::client_bits(hash) & ~Half(half, IndexOf(hash)).load()) == 0;
  }
  bool Has(std::uint32_t hash) const { return Has(0, hash) || Has(1, hash); }

  // Nobody is known not to have a flow.
  void MarkAll() {
    for (std::uint32_t index = 0; index < size(); ++index) {
      for (const std::uint32_t half : {0u, 1u}) Set(half, index, ~std::uint32_t{0});
    }
  }
  void Clear(std::uint32_t half) {
    for (std::uint32_t index = 0; index < size(); ++index) Half(half, index).store(0);
  }

  // Bits that are set in either half. Cost: reads the table.
  std::uint64_t CountSet() const {
    std::uint64_t set = 0;
    for (std::uint32_t index = 0; index < size(); ++index) {
      const std::uint32_t both = Half(0, index).load() | Half(1, index).load();
      set += static_cast<std::uint64_t>(std::popcount(both));
    }
    return set;
  }

 private:
  std::atomic_ref<__u32> Half(std::uint32_t half, std::uint32_t index) const {
    return std::atomic_ref<__u32>(words_[index].half[half & 1]);
  }
  void Set(std::uint32_t half, std::uint32_t index, std::uint32_t bits) {
    // A sweep comes by the same rows each time.
    const std::atomic_ref<__u32> word = Half(half, index);
    if ((bits & ~word.load()) != 0) word.fetch_or(bits);
  }

  std::span<abi::client_word> words_;
};

}  // namespace sluice
