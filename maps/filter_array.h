// SPDX-License-Identifier: Apache-2.0
// The filter (sl_filter) as memory. A bit is set before the row that needs it is written, and never
// cleared: flows outlive the rows that they came from.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include "maps/backend.h"
#include "maps/filter.h"
#include "maps/service.h"

namespace sluice {

// A view; the memory belongs to MapSet (or, in tests, to a vector). Thread-compatible.
class FilterArray {
 public:
  // SL_FILTER_WORDS of them.
  explicit FilterArray(std::span<abi::filter_word> words) : words_(words) {}

  void Add(const abi::service_key& key) { Set(key.address, key.port, key.protocol); }
  void Add(const abi::backend& row) {
    Set(row.address, row.port, row.protocol | abi::SL_FILTER_BACKEND);
  }
  // All ports and protocols: of an address of the node's. (Those of ClusterIPs come with the rows
  // that have port 0.)
  void AddAddress(const abi::addr& address) { Set(address, 0, 0); }
  // The same, of an address that replies to rewritten sources come to.
  void AddSnatAddress(const abi::addr& address) {
    AddAddress(address);
    Set(address, 0, abi::SL_FILTER_SNAT);
  }

  bool Has(const abi::addr& address, __be16 port, std::uint32_t protocol) const {
    const std::uint32_t bit = abi::filter_bit(&address, port, protocol);
    return (Word(bit).load(std::memory_order_relaxed) >> (bit % 64) & 1) != 0;
  }

  // Bits that are set. Cost: reads 256 KiB.
  std::uint32_t CountSet() const {
    std::uint32_t set = 0;
    for (const abi::filter_word& word : words_) {
      set += static_cast<std::uint32_t>(std::popcount(word.bits));
    }
    return set;
  }

 private:
  std::atomic_ref<__u64> Word(std::uint32_t bit) const {
    return std::atomic_ref<__u64>(words_[bit / 64].bits);
  }
  void Set(const abi::addr& address, __be16 port, std::uint32_t protocol) {
    const std::uint32_t bit = abi::filter_bit(&address, port, protocol);
    Word(bit).fetch_or(__u64{1} << (bit % 64), std::memory_order_release);
  }

  std::span<abi::filter_word> words_;
};

}  // namespace sluice
