// SPDX-License-Identifier: Apache-2.0
// Which backends have an address: an index into rows that somebody else keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/inlined_vector.h"

#include "maps/backend.h"
#include "maps/service.h"

namespace sluice {

// The address, port and protocol of a backend's row, as one key.
abi::service_key AddressOf(const abi::backend& row);

// Ids chained by the hash of their rows' addresses. The rows, by id, are given with each call:
// held once more here, as keys, 100,000 of them would take six times as much as the chains do.
// Thread-compatible. Cost: that of the ids with the same hash, nearly always one or two.
class BackendIndex {
 public:
  using Rows = std::span<const abi::backend>;
  using Ids = absl::InlinedVector<std::uint32_t, 2>;

  // Requires: id is not 0, has a row, and is not in the index. Adding many is linear in them.
  void Add(Rows rows, std::uint32_t id);
  // Requires: the row of id is as it was when added. Nothing happens when id is not in the index.
  void Remove(Rows rows, std::uint32_t id);
  // In the order in which they were added. Requires: the rows are as they were when added.
  Ids At(Rows rows, const abi::service_key& address) const;

 private:
  void Append(const abi::service_key& address, std::uint32_t id);
  void Grow(Rows rows);

  // 0: the end, as no backend has that id. The number of heads is a power of two.
  std::vector<std::uint32_t> heads_;  // by hash
  std::vector<std::uint32_t> next_;   // by id
  std::size_t count_ = 0;
};

}  // namespace sluice
