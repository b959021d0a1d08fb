// SPDX-License-Identifier: Apache-2.0
// The slots (sl_slots) as memory: the map is mapped into the agent, so writing a set of backends is
// a copy and not a system call a slot. A range becomes visible to programs only by the service row
// that names it, which is published afterwards by a map update.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace sluice {

// A view; the memory belongs to MapSet (or, in tests, to a vector). Thread-compatible.
class SlotArray {
 public:
  // The kernel keeps the values of an array 8 bytes apart, whatever their size (kernel/bpf/
  // arraymap.c), and that is how they are in the mapping.
  struct Cell {
    std::uint32_t backend_id = 0;
    std::uint32_t unused = 0;
  };

  explicit SlotArray(std::span<Cell> cells) : cells_(cells) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(cells_.size()); }

  // The backend id in `slot`, which must be below size(); 0 when nothing was ever written there.
  std::uint32_t Read(std::uint32_t slot) const {
    return std::atomic_ref<std::uint32_t>(cells_[slot].backend_id).load(std::memory_order_relaxed);
  }

  // Writes `backend_ids` from slot `offset` on. False, and nothing is written, when they do not
  // fit.
  [[nodiscard]] bool Write(std::uint32_t offset, std::span<const std::uint32_t> backend_ids) {
    if (offset > size() || backend_ids.size() > size() - offset) return false;
    for (std::size_t i = 0; i < backend_ids.size(); ++i) {
      std::atomic_ref<std::uint32_t>(cells_[offset + i].backend_id)
          .store(backend_ids[i], std::memory_order_relaxed);
    }
    // Ordered before the service row that publishes the range.
    std::atomic_thread_fence(std::memory_order_release);
    return true;
  }

 private:
  std::span<Cell> cells_;
};

}  // namespace sluice
