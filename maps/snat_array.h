// SPDX-License-Identifier: Apache-2.0
// The tables of ports that are taken (sl_snat_ports) as memory: programs set bits in them while the
// agent clears some.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "maps/snat.h"

namespace sluice {

// A view; the memory belongs to MapSet (or, in tests, to a vector). Thread-compatible.
class SnatArray {
 public:
  using Ports = std::array<std::uint64_t, abi::SL_SNAT_WORDS>;  // as abi::snat_ports::used

  explicit SnatArray(std::span<abi::snat_ports> rows) : rows_(rows) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(rows_.size()); }

  // `table` must be below size() in all of these.
  bool Touched(std::uint32_t table) const {
    return std::atomic_ref(rows_[table].touched).load(std::memory_order_relaxed) != 0;
  }

  // Makes the bits those in `taken`. A bit that a program sets meanwhile may go too: it
  // asks about the port again when it comes by. Cost: reads the table, 4 KiB.
  void Keep(std::uint32_t table, const Ports& taken) {
    abi::snat_ports& row = rows_[table];
    std::uint64_t left = 0;
    std::atomic_ref(row.touched).store(0, std::memory_order_relaxed);
    for (std::uint32_t word = 0; word < abi::SL_SNAT_WORDS; ++word) {
      const std::atomic_ref used(row.used[word]);
      const std::uint64_t before = used.load(std::memory_order_relaxed);
      if ((before & ~taken[word]) != 0) used.fetch_and(taken[word], std::memory_order_relaxed);
      if ((taken[word] & ~before) != 0) used.fetch_or(taken[word], std::memory_order_relaxed);
      // Also of a word that has lost nothing: the range may have grown, or a program have been
      // late to say that it was full.
      const std::uint64_t now = used.load(std::memory_order_relaxed);
      const std::atomic_ref full(row.full[word / 64]);
      const std::uint64_t bit = std::uint64_t{1} << word % 64;
      if (~now != 0 && (full.load(std::memory_order_relaxed) & bit) != 0) {
        full.fetch_and(~bit, std::memory_order_relaxed);
      }
      left |= now;
    }
    if (left != 0) std::atomic_ref(row.touched).store(1, std::memory_order_relaxed);
  }

 private:
  std::span<abi::snat_ports> rows_;
};

}  // namespace sluice
