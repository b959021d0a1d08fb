// SPDX-License-Identifier: Apache-2.0
// BpfTable<K, V>: Table over a map of the kernel, by bpf(2) through libbpf; in batches where the
// kernel has them for the map's type, else row by row.
#pragma once

#include <linux/bpf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"

#include "control/base/unique_fd.h"
#include "maps/table.h"

namespace sluice {

// What a map is, as the kernel tells it.
struct MapShape {
  std::string name;
  std::uint32_t type = 0;  // enum bpf_map_type
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::uint32_t flags = 0;
};

// An open map of untyped rows. Closing it leaves the map as it is. Thread-compatible.
class BpfMap {
 public:
  // Errors: NOT_FOUND when nothing is pinned there, PERMISSION_DENIED, INVALID_ARGUMENT when it is
  // not a map.
  static absl::StatusOr<BpfMap> OpenPinned(const std::string& path);
  static absl::StatusOr<BpfMap> FromFd(UniqueFd fd);
  // From here on rows are read and written under their bpf_spin_lock, which the values must have
  // (the kernel knows from their BTF).
  void UseRowLocks() { element_flags_ = BPF_F_LOCK; }
  bool has_btf() const { return has_btf_; }

  const MapShape& shape() const { return shape_; }
  int fd() const { return fd_.get(); }
  bool is_array() const;
  bool is_per_cpu() const;
  // Bytes that bpf(2) exchanges for one value: of a per-CPU map one value for each possible CPU.
  std::size_t value_stride() const { return stride_; }
  std::size_t cpu_count() const { return cpus_; }

  // `count` keys and values back to back, of key_size and value_stride() each. As Table::Update.
  BatchResult Update(const std::byte* keys, const std::byte* values, std::size_t count);
  BatchResult Delete(const std::byte* keys, std::size_t count);
  absl::StatusOr<bool> Insert(const std::byte* key, const std::byte* value);
  absl::StatusOr<bool> DeleteIf(const std::byte* key,
                                absl::FunctionRef<bool(const std::byte* value)> over);
  // Calls `visit(key, value)` for each row, zero rows of arrays included.
  using Visitor = absl::FunctionRef<void(const std::byte* key, const std::byte* value)>;
  absl::Status ForEach(Visitor visit) const;
  // False: no such row.
  absl::StatusOr<bool> Lookup(const std::byte* key, std::byte* value) const;

 private:
  BpfMap(UniqueFd fd, MapShape shape, std::size_t cpus, bool has_btf);

  BatchResult UpdateSingly(const std::byte* keys, const std::byte* values, std::size_t count);
  BatchResult DeleteSingly(const std::byte* keys, std::size_t count);
  absl::Status ForEachSingly(Visitor visit) const;
  absl::Status Error(int err, const char* operation) const;

  UniqueFd fd_;
  MapShape shape_;
  std::size_t cpus_ = 1;
  std::size_t stride_ = 0;
  bool has_btf_ = false;
  std::uint64_t element_flags_ = 0;  // BPF_F_LOCK for values with a bpf_spin_lock
  mutable bool batches_ = true;      // until the kernel says that it has none for this map
};

template <typename K, typename V>
class BpfTable final : public Table<K, V> {
  static_assert(std::is_trivially_copyable_v<K> && std::is_trivially_copyable_v<V>);

 public:
  using Row = typename Table<K, V>::Row;

  // Errors: FAILED_PRECONDITION when the sizes of keys or values differ from K's and V's.
  static absl::StatusOr<BpfTable> Create(BpfMap map) {
    const MapShape& shape = map.shape();
    if (shape.key_size != sizeof(K) || shape.value_size != sizeof(V)) {
      return absl::FailedPreconditionError(
          absl::StrCat("map ", shape.name, ": expected keys of ", sizeof(K), " and values of ",
                       sizeof(V), " bytes, found ", shape.key_size, " and ", shape.value_size));
    }
    if (map.is_per_cpu() && sizeof(V) % sizeof(std::uint64_t) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("map ", shape.name, ": only 64-bit counters can be summed over CPUs"));
    }
    return BpfTable(std::move(map));
  }

  BatchResult Update(std::span<const Row> rows) override {
    BatchResult total;
    // By chunks, so that the copies stay in the cache and off the resident set.
    constexpr std::size_t kChunk = 512;
    std::vector<std::byte> keys(std::min(rows.size(), kChunk) * sizeof(K));
    std::vector<std::byte> values(std::min(rows.size(), kChunk) * map_.value_stride());
    for (std::size_t at = 0; at < rows.size() && total.status.ok(); at += kChunk) {
      const auto chunk = rows.subspan(at, std::min(kChunk, rows.size() - at));
      for (std::size_t i = 0; i < chunk.size(); ++i) {
        std::memcpy(&keys[i * sizeof(K)], &chunk[i].first, sizeof(K));
        std::byte* value = &values[i * map_.value_stride()];
        std::memset(value, 0, map_.value_stride());
        std::memcpy(value, &chunk[i].second, sizeof(V));
      }
      BatchResult one = map_.Update(keys.data(), values.data(), chunk.size());
      total.landed += one.landed;
      total.status = std::move(one.status);
    }
    return total;
  }

  BatchResult Delete(std::span<const K> keys) override {
    return map_.Delete(reinterpret_cast<const std::byte*>(keys.data()), keys.size());
  }

  absl::StatusOr<bool> Insert(const K& key, const V& value) override {
    return map_.Insert(reinterpret_cast<const std::byte*>(&key),
                       reinterpret_cast<const std::byte*>(&value));
  }

  absl::StatusOr<bool> DeleteIf(const K& key, absl::FunctionRef<bool(const V&)> over) override {
    return map_.DeleteIf(reinterpret_cast<const std::byte*>(&key),
                         [&](const std::byte* value) { return over(Sum(value)); });
  }

  absl::StatusOr<std::vector<Row>> Dump() const override {
    std::vector<Row> rows;
    absl::Status status = map_.ForEach([&](const std::byte* key, const std::byte* value) {
      Row row;
      std::memcpy(&row.first, key, sizeof(K));
      row.second = Sum(value);
      if (map_.is_array() && IsZero(row.second)) return;
      rows.push_back(row);
    });
    if (!status.ok()) return status;
    return rows;
  }

  absl::StatusOr<std::optional<V>> Lookup(const K& key) const override {
    std::vector<std::byte> value(map_.value_stride());
    absl::StatusOr<bool> found =
        map_.Lookup(reinterpret_cast<const std::byte*>(&key), value.data());
    if (!found.ok()) return found.status();
    if (!*found) return std::optional<V>();
    return std::optional<V>(Sum(value.data()));
  }

  std::uint32_t max_entries() const override { return map_.shape().max_entries; }
  const BpfMap& map() const { return map_; }

 private:
  explicit BpfTable(BpfMap map) : map_(std::move(map)) {}

  static bool IsZero(const V& value) {
    static constexpr V kZero{};
    return std::memcmp(&value, &kZero, sizeof(V)) == 0;
  }

  V Sum(const std::byte* value) const {
    V sum;
    std::memcpy(&sum, value, sizeof(V));
    if constexpr (sizeof(V) % sizeof(std::uint64_t) == 0) {
      for (std::size_t cpu = 1; cpu < map_.cpu_count(); ++cpu) {
        std::uint64_t total[sizeof(V) / sizeof(std::uint64_t)];
        std::uint64_t part[sizeof(V) / sizeof(std::uint64_t)];
        std::memcpy(total, &sum, sizeof(V));
        std::memcpy(part, value + cpu * sizeof(V), sizeof(V));
        for (std::size_t i = 0; i < std::size(total); ++i) total[i] += part[i];
        std::memcpy(&sum, total, sizeof(V));
      }
    }
    return sum;
  }

  BpfMap map_;
};

}  // namespace sluice
