// SPDX-License-Identifier: Apache-2.0
// FakeTable: a Table in memory, with the limits and the errors of the kernel's, that can be told to
// fail at any row. FakeMaps: all tables that the agent writes.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/apply/map_tables.h"
#include "maps/row_compare.h"
#include "maps/table.h"

namespace sluice::testing {

// What the tables of one test share: called around every row that is written or deleted.
struct FakeFaults {
  // Not OK: the row fails with that, and the batch stops there. `map` is the table's name.
  std::function<absl::Status(const std::string& map)> before_row;
  std::function<void()> after_row;
  std::uint64_t rows = 0;  // landed, in all tables
};

enum class FakeKind { kHash, kArray };

template <typename K, typename V>
class FakeTable final : public Table<K, V> {
 public:
  using Row = typename Table<K, V>::Row;

  FakeTable(std::string name, FakeKind kind, std::uint32_t max_entries, FakeFaults& faults)
      : name_(std::move(name)), kind_(kind), max_entries_(max_entries), faults_(faults) {}

  BatchResult Update(std::span<const Row> rows) override {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      absl::Status status = Before();
      if (status.ok() && !Fits(rows[i].first)) {
        status = absl::ResourceExhaustedError(absl::StrCat("map ", name_, ": full"));
      }
      if (!status.ok()) return {status, i};
      rows_[rows[i].first] = rows[i].second;
      After();
    }
    return {absl::OkStatus(), rows.size()};
  }

  BatchResult Delete(std::span<const K> keys) override {
    if (kind_ == FakeKind::kArray) return {absl::FailedPreconditionError(name_), 0};
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (absl::Status status = Before(); !status.ok()) return {status, i};
      rows_.erase(keys[i]);
      After();
    }
    return {absl::OkStatus(), keys.size()};
  }

  absl::StatusOr<bool> Insert(const K& key, const V& value) override {
    if (rows_.contains(key)) return false;
    const Row row{key, value};
    if (BatchResult written = Update(std::span(&row, 1)); !written.status.ok()) {
      return written.status;
    }
    return true;
  }

  absl::StatusOr<bool> DeleteIf(const K& key, absl::FunctionRef<bool(const V&)> over) override {
    const absl::StatusOr<std::optional<V>> row = Lookup(key);
    if (!row.ok()) return row.status();
    if (!row->has_value() || !over(**row)) return false;
    if (absl::Status status = Before(); !status.ok()) return status;
    const auto now = rows_.find(key);  // a test may have changed it, as a program does
    if (now == rows_.end() || !over(now->second)) return false;
    rows_.erase(now);
    After();
    return true;
  }

  absl::StatusOr<std::vector<Row>> Dump() const override {
    if (!read_status.ok()) return read_status;
    std::vector<Row> rows;
    for (const auto& [key, value] : rows_) {
      if (kind_ == FakeKind::kHash || !IsZero(value)) rows.emplace_back(key, value);
    }
    return rows;
  }

  absl::StatusOr<std::optional<V>> Lookup(const K& key) const override {
    if (!read_status.ok()) return read_status;
    const auto it = rows_.find(key);
    if (it != rows_.end()) return std::optional<V>(it->second);
    if constexpr (std::is_integral_v<K>) {
      if (kind_ == FakeKind::kArray && key < max_entries_) return std::optional<V>(V{});
    }
    return std::optional<V>();
  }

  std::uint32_t max_entries() const override { return max_entries_; }

  // The rows as they are, for tests to look at and to spoil.
  std::map<K, V>& rows() { return rows_; }
  const std::map<K, V>& rows() const { return rows_; }

  absl::Status read_status;  // not OK: Dump and Lookup fail with it

 private:
  static bool IsZero(const V& value) {
    const V zero{};
    return std::memcmp(&value, &zero, sizeof(V)) == 0;
  }
  bool Fits(const K& key) const {
    if constexpr (std::is_integral_v<K>) {
      if (kind_ == FakeKind::kArray) return key < max_entries_;
    }
    return rows_.contains(key) || rows_.size() < max_entries_;
  }
  absl::Status Before() {
    return faults_.before_row ? faults_.before_row(name_) : absl::OkStatus();
  }
  void After() {
    ++faults_.rows;
    if (faults_.after_row) faults_.after_row();
  }

  std::string name_;
  FakeKind kind_;
  std::uint32_t max_entries_;
  FakeFaults& faults_;
  std::map<K, V> rows_;
};

inline MapLimits SmallLimits() {
  return {.services = 4096,
          .service_ids = 1024,
          .source_ranges = 512,
          .slots = 131072,
          .backends = 4096};
}

struct FakeMaps {
  explicit FakeMaps(const MapLimits& limits = SmallLimits())
      : services("sl_services", FakeKind::kHash, limits.services, faults),
        service_stats("sl_svc_stats", FakeKind::kArray, limits.service_ids, faults),
        service_names("sl_svc_names", FakeKind::kArray, limits.service_ids, faults),
        source_ranges("sl_src_ranges", FakeKind::kHash, limits.source_ranges, faults),
        backends("sl_backends", FakeKind::kArray, limits.backends, faults),
        backend_stats("sl_be_stats", FakeKind::kArray, limits.backends, faults),
        connection_stats("sl_conn_stats", FakeKind::kHash, limits.backends, faults),
        affinity("sl_affinity", FakeKind::kHash, 1024, faults),
        slot_memory(limits.slots),
        slots(slot_memory),
        filter_memory(abi::SL_FILTER_WORDS),
        filter(filter_memory),
        load_memory(limits.backends),
        loads(load_memory),
        nodes("sl_nodes", FakeKind::kArray, abi::SL_NODES, faults),
        node_ids("sl_node_ids", FakeKind::kHash, abi::SL_NODE_ADDRESSES, faults) {}
  FakeMaps(const FakeMaps&) = delete;
  FakeMaps& operator=(const FakeMaps&) = delete;

  MapTables Tables() {
    return {&services,         &service_stats, &service_names,
            &source_ranges,    &backends,      &backend_stats,
            &connection_stats, &affinity,      &slots,
            &filter,           &loads,         &nodes,
            &node_ids};
  }

  FakeFaults faults;
  FakeTable<abi::service_key, abi::service> services;
  FakeTable<std::uint32_t, abi::service_stats> service_stats;
  FakeTable<std::uint32_t, abi::service_name> service_names;
  FakeTable<abi::source_range_key, abi::source_range> source_ranges;
  FakeTable<std::uint32_t, abi::backend> backends;
  FakeTable<std::uint32_t, abi::backend_stats> backend_stats;
  FakeTable<abi::connection_stats_key, abi::connection_stats> connection_stats;
  FakeTable<abi::affinity_key, abi::affinity> affinity;
  std::vector<SlotArray::Cell> slot_memory;
  SlotArray slots;
  std::vector<abi::filter_word> filter_memory;
  FilterArray filter;
  std::vector<abi::backend_load> load_memory;
  LoadArray loads;
  FakeTable<std::uint32_t, abi::node> nodes;
  FakeTable<abi::addr, std::uint32_t> node_ids;
};

}  // namespace sluice::testing
