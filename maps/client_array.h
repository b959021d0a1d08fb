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
  static constexpr std::uint64_t kBits = (std::uint64_t{1} << abi::SL_CLIENT_BITS) - 1;

  // A power of two of them.
  explicit ClientArray(std::span<abi::client_word> words) : words_(words) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(words_.size()); }
  std::uint32_t IndexOf(std::uint32_t hash) const { return abi::client_index(hash) & (size() - 1); }

  // `index` must be below size() in all of these. The whole word: what compares equal later has had
  // no bit set meanwhile.
  std::uint64_t Read(std::uint32_t index) const {
    return Word(index).load(std::memory_order_acquire);
  }
  void Set(std::uint32_t index, std::uint64_t bits) {
    Word(index).fetch_or(bits & kBits, std::memory_order_acq_rel);
  }
  // Takes all bits away but `kept`. False: somebody has set one since `read` was read.
  bool Keep(std::uint32_t index, std::uint64_t read, std::uint64_t kept) {
    __u64 expected = read;
    return Word(index).compare_exchange_strong(expected, (read & ~kBits) | (read & kept),
                                               std::memory_order_acq_rel);
  }

  // Of a client or a tuple of answers, as programs do it.
  void Mark(std::uint32_t hash) { Set(IndexOf(hash), abi::client_bits(hash)); }
  bool Has(std::uint32_t hash) const {
    return (abi::client_bits(hash) & ~Read(IndexOf(hash))) == 0;
  }
  // Nobody is known not to have a flow.
  void MarkAll() {
    for (std::uint32_t index = 0; index < size(); ++index) Set(index, kBits);
  }

  // Bits that are set. Cost: reads the table.
  std::uint64_t CountSet() const {
    std::uint64_t set = 0;
    for (std::uint32_t index = 0; index < size(); ++index) {
      set += static_cast<std::uint64_t>(std::popcount(Read(index) & kBits));
    }
    return set;
  }

 private:
  std::atomic_ref<__u64> Word(std::uint32_t index) const {
    return std::atomic_ref<__u64>(words_[index].bits);
  }

  std::span<abi::client_word> words_;
};

}  // namespace sluice
