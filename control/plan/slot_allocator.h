// SPDX-License-Identifier: Apache-2.0
// Which ranges of sl_slots are free, and since when. Rebuilt from the service rows at start.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "maps/service.h"

namespace sluice {

// A value: the planner allocates from a copy of its own, 16 bytes a free range. Thread-compatible.
class SlotAllocator {
 public:
  explicit SlotAllocator(std::uint32_t size);

  // The first run of `count` (at least 1) slots that are free and were not freed within
  // kReuseGraceNs before `now_ns`; empty when there is none. Cost: linear in the free ranges.
  std::optional<std::uint32_t> Allocate(std::uint32_t count, std::uint64_t now_ns);

  // Takes what is free of the range, whenever it was freed.
  void Take(abi::slot_range range);

  // `range` must be in use. Ranges that may be reused are joined with their neighbours.
  void Free(abi::slot_range range, std::uint64_t freed_at_ns);

  std::uint32_t size() const { return size_; }
  std::uint32_t used() const;

 private:
  struct Run {
    std::uint32_t offset;
    std::uint32_t count;
    std::uint64_t freed_at_ns;  // 0: long ago
  };

  std::uint32_t size_;
  std::vector<Run> free_;  // by offset, never empty runs
};

}  // namespace sluice
