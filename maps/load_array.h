// SPDX-License-Identifier: Apache-2.0
// Live connections of backends (sl_loads) as memory: the only rows that programs and the agent both
// add to.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "maps/backend.h"

namespace sluice {

// A view; the memory belongs to MapSet (or, in tests, to a vector). Thread-compatible.
class LoadArray {
 public:
  explicit LoadArray(std::span<abi::backend_load> rows) : rows_(rows) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(rows_.size()); }

  // `id` must be below size() in all of these.
  std::int32_t Flows(std::uint32_t id) const {
    return std::atomic_ref(rows_[id].flows).load(std::memory_order_relaxed);
  }
  std::int32_t Sockets(std::uint32_t id) const {
    return std::atomic_ref(rows_[id].sockets).load(std::memory_order_relaxed);
  }
  void AddFlows(std::uint32_t id, std::int32_t more) {
    std::atomic_ref(rows_[id].flows).fetch_add(more, std::memory_order_relaxed);
  }
  void Clear(std::uint32_t id) {
    std::atomic_ref(rows_[id].flows).store(0, std::memory_order_relaxed);
    std::atomic_ref(rows_[id].sockets).store(0, std::memory_order_relaxed);
  }

 private:
  std::span<abi::backend_load> rows_;
};

}  // namespace sluice
