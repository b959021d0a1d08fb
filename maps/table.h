// SPDX-License-Identifier: Apache-2.0
// Table<K, V>: a map as typed rows. Everything of user space reaches maps through this interface:
// BpfTable (bpf_table.h) over the kernel's maps, FakeTable (test/support) in memory. Slots alone
// are written as memory (slot_array.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

// What became of a batch: the first `landed` rows are in the map whatever `status` says. After a
// failure it may be too low by rows that landed although the kernel did not say so, never too high.
struct BatchResult {
  absl::Status status;
  std::size_t landed = 0;
};

// Thread-compatible; the programs of the kernel read and write the same rows at any time.
template <typename K, typename V>
class Table {
 public:
  using Key = K;
  using Value = V;
  using Row = std::pair<K, V>;

  virtual ~Table() = default;

  // Inserts or overwrites `rows` in order and stops at the first that fails. In a per-CPU table the
  // value goes to one CPU and zero to the others, so that it reads back as written.
  // Errors: RESOURCE_EXHAUSTED when the map is full, UNAVAILABLE when the kernel asks to try again,
  // PERMISSION_DENIED, INVALID_ARGUMENT or NOT_FOUND for an index past the end of an array,
  // else INTERNAL. Cost: one bpf(2) call per 512 rows.
  virtual BatchResult Update(std::span<const Row> rows) = 0;

  // Deletes in order; a key that is not there counts as deleted. Rows of an array cannot be
  // deleted: update them to zero. Errors: FAILED_PRECONDITION for an array, else as Update.
  virtual BatchResult Delete(std::span<const K> keys) = 0;

  // Writes the row if there is none of `key`, and says whether it did. Errors: as Update.
  virtual absl::StatusOr<bool> Insert(const K& key, const V& value) = 0;

  // Deletes the row of `key` if `over` says so, and says whether it did. The kernel has no such
  // call: the row is read and judged, taken out, judged again as it came out, and put back at once
  // if it has become another. A program may miss such a row for the time of two calls; it must find
  // its way without it, or have none that is likely to change. Of a hash that is not per CPU.
  // Errors: as Update. Cost: one bpf(2) call for a row that stays, two for one that goes.
  virtual absl::StatusOr<bool> DeleteIf(const K& key, absl::FunctionRef<bool(const V&)> over) = 0;

  // All rows, in no order; of an array those that are not all zero. Per-CPU values are summed.
  // Rows that come or go meanwhile may be missed, the others are there exactly once.
  virtual absl::StatusOr<std::vector<Row>> Dump() const = 0;

  // The row of `key` (of an LPM table: the longest prefix that covers it), summed over CPUs, or
  // nullopt.
  virtual absl::StatusOr<std::optional<V>> Lookup(const K& key) const = 0;

  virtual std::uint32_t max_entries() const = 0;
};

}  // namespace sluice
