// SPDX-License-Identifier: Apache-2.0
// Tables over real maps of every kind that the ABI has.
#include "maps/bpf_table.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "maps/reason.h"
#include "maps/row_compare.h"
#include "maps/service.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

using ServiceTable = BpfTable<abi::service_key, abi::service>;
using BackendTable = BpfTable<std::uint32_t, abi::source_range>;

// A map without BTF. Ends the test when the kernel refuses for another reason than rights.
template <typename K, typename V>
absl::StatusOr<BpfTable<K, V>> MakeTable(bpf_map_type type, std::uint32_t max_entries,
                                         std::uint32_t flags = 0) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
  UniqueFd fd(bpf_map_create(type, "sl_test", sizeof(K), sizeof(V), max_entries, &options));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "make a map");
  auto map = BpfMap::FromFd(std::move(fd));
  if (!map.ok()) return map.status();
  return BpfTable<K, V>::Create(*std::move(map));
}

class BpfTableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::Status probe =
        MakeTable<std::uint32_t, abi::source_range>(BPF_MAP_TYPE_ARRAY, 1).status();
    if (absl::IsPermissionDenied(probe)) GTEST_SKIP() << "no rights for bpf(2): " << probe;
    ASSERT_THAT(probe, IsOk());
  }
};

abi::service_key Key(std::uint32_t number) {
  abi::service_key key = {};
  key.address.w[3] = number;
  return key;
}

abi::service Value(std::uint32_t id) {
  abi::service value = {};
  value.id = id;
  return value;
}

std::vector<ServiceTable::Row> Rows(std::uint32_t count, std::uint32_t add = 0) {
  std::vector<ServiceTable::Row> rows;
  for (std::uint32_t i = 0; i < count; ++i) rows.emplace_back(Key(i), Value(i + add));
  return rows;
}

TEST_F(BpfTableTest, HashHoldsWhatWasWrittenOverSeveralBatches) {
  auto table = MakeTable<abi::service_key, abi::service>(BPF_MAP_TYPE_HASH, 5000);
  ASSERT_THAT(table, IsOk());
  const auto rows = Rows(3000, 7);
  const BatchResult written = table->Update(rows);
  ASSERT_THAT(written.status, IsOk());
  EXPECT_EQ(written.landed, 3000u);
  const auto dump = table->Dump();
  ASSERT_THAT(dump, IsOk());
  std::map<abi::service_key, abi::service> found(dump->begin(), dump->end());
  EXPECT_EQ(dump->size(), 3000u);
  EXPECT_EQ(found, (std::map<abi::service_key, abi::service>(rows.begin(), rows.end())));
}

TEST_F(BpfTableTest, FullHashIsResourceExhaustedAndSaysHowManyLanded) {
  auto table = MakeTable<abi::service_key, abi::service>(BPF_MAP_TYPE_HASH, 700);
  ASSERT_THAT(table, IsOk());
  const BatchResult written = table->Update(Rows(900));
  EXPECT_THAT(written.status, StatusIs(absl::StatusCode::kResourceExhausted,
                                       HasSubstr("map sl_test: update: full at its limit of 700")));
  EXPECT_EQ(written.landed, 700u);
  EXPECT_EQ(table->Dump()->size(), 700u);
  // A row that is there may still be changed.
  EXPECT_THAT(table->Update(Rows(700, 1)).status, IsOk());
}

TEST_F(BpfTableTest, DeleteTakesKeysThatAreNotThereAsDeleted) {
  auto table = MakeTable<abi::service_key, abi::service>(BPF_MAP_TYPE_HASH, 100);
  ASSERT_THAT(table, IsOk());
  ASSERT_THAT(table->Update(Rows(10)).status, IsOk());
  const std::vector<abi::service_key> keys = {Key(50), Key(3), Key(51), Key(52), Key(4)};
  const BatchResult deleted = table->Delete(keys);
  EXPECT_THAT(deleted.status, IsOk());
  EXPECT_EQ(deleted.landed, keys.size());
  EXPECT_EQ(table->Dump()->size(), 8u);
  EXPECT_FALSE(table->Lookup(Key(3))->has_value());
  EXPECT_EQ(**table->Lookup(Key(5)), Value(5));
}

TEST_F(BpfTableTest, DeleteIfJudgesTheRowThatItTakesOut) {
  auto table = MakeTable<abi::service_key, abi::service>(BPF_MAP_TYPE_HASH, 100);
  ASSERT_THAT(table, IsOk());
  ASSERT_THAT(table->Update(Rows(10)).status, IsOk());
  const auto always = [](const abi::service&) { return true; };
  const auto never = [](const abi::service&) { return false; };
  EXPECT_THAT(table->DeleteIf(Key(3), always), IsOkAndHolds(true));
  EXPECT_THAT(table->DeleteIf(Key(3), always), IsOkAndHolds(false));
  EXPECT_THAT(table->DeleteIf(Key(4), never), IsOkAndHolds(false));
  EXPECT_EQ(table->Dump()->size(), 9u);

  // What writes the row while it is judged stands for a program.
  const auto write = [&](std::uint32_t seed) {
    const std::vector<ServiceTable::Row> row = {{Key(5), Value(seed)}};
    EXPECT_THAT(table->Update(row).status, IsOk());
  };
  const auto replaced_before_it_is_out = [&](const abi::service& row) {
    const bool over = row == Value(5);
    if (over) write(6);
    return over;
  };
  EXPECT_THAT(table->DeleteIf(Key(5), replaced_before_it_is_out), IsOkAndHolds(false));
  EXPECT_EQ(**table->Lookup(Key(5)), Value(6));

  const auto written_anew_when_it_is_out = [&](const abi::service& row) {
    if (row == Value(6)) {
      write(7);
      return true;
    }
    write(8);
    return false;
  };
  EXPECT_THAT(table->DeleteIf(Key(5), written_anew_when_it_is_out), IsOkAndHolds(false));
  EXPECT_EQ(**table->Lookup(Key(5)), Value(8));

  const auto gone_meanwhile = [&](const abi::service&) {
    EXPECT_THAT(table->Delete(std::vector<abi::service_key>{Key(5)}).status, IsOk());
    return true;
  };
  EXPECT_THAT(table->DeleteIf(Key(5), gone_meanwhile), IsOkAndHolds(false));
  EXPECT_EQ(table->Dump()->size(), 8u);
}

TEST_F(BpfTableTest, ArrayDumpsRowsThatAreNotZero) {
  auto table = MakeTable<std::uint32_t, abi::source_range>(BPF_MAP_TYPE_ARRAY, 10000);
  ASSERT_THAT(table, IsOk());
  const std::vector<BackendTable::Row> rows = {{0, {5}}, {4097, {6}}, {9999, {7}}};
  ASSERT_THAT(table->Update(rows).status, IsOk());
  const auto dump = table->Dump();
  ASSERT_THAT(dump, IsOk());
  EXPECT_EQ(*dump, rows);
  EXPECT_EQ((*table->Lookup(1))->allow, 0u);
  EXPECT_FALSE(table->Lookup(10000)->has_value());
}

TEST_F(BpfTableTest, ArrayRefusesIndexPastItsEndAndDeletes) {
  auto table = MakeTable<std::uint32_t, abi::source_range>(BPF_MAP_TYPE_ARRAY, 4);
  ASSERT_THAT(table, IsOk());
  const BatchResult written =
      table->Update(std::vector<BackendTable::Row>{{3, {1}}, {4, {1}}, {2, {1}}});
  EXPECT_THAT(written.status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(written.landed, 1u);
  EXPECT_THAT(table->Delete(std::vector<std::uint32_t>{3}).status,
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(BpfTableTest, LpmTrieFindsTheLongestPrefixAndSaysWhenItIsFull) {
  auto table = MakeTable<abi::source_range_key, abi::source_range>(BPF_MAP_TYPE_LPM_TRIE, 2,
                                                                   BPF_F_NO_PREALLOC);
  ASSERT_THAT(table, IsOk());
  using Row = BpfTable<abi::source_range_key, abi::source_range>::Row;
  const abi::source_range_key wide{32, 7, {}};
  const abi::source_range_key narrow{64, 7, {{htonl(0x0a000000), 0, 0, 0}}};
  const abi::source_range_key third{33, 8, {}};
  ASSERT_THAT(table->Update(std::vector<Row>{{wide, {1}}, {narrow, {2}}}).status, IsOk());
  const BatchResult full = table->Update(std::vector<Row>{{third, {3}}});
  EXPECT_THAT(full.status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(full.landed, 0u);
  EXPECT_EQ(table->Dump()->size(), 2u);
  const abi::source_range_key client{160, 7, {{htonl(0x0a000000), 1, 2, 3}}};
  EXPECT_EQ((*table->Lookup(client))->allow, 2u);
  ASSERT_THAT(table->Delete(std::vector<abi::source_range_key>{narrow}).status, IsOk());
  EXPECT_EQ((*table->Lookup(client))->allow, 1u);
}

TEST_F(BpfTableTest, PerCpuRowsAreSummedAndReadBackAsWritten) {
  const int cpus = libbpf_num_possible_cpus();
  auto table = MakeTable<abi::drop_key, abi::drop_count>(BPF_MAP_TYPE_PERCPU_HASH, 16);
  ASSERT_THAT(table, IsOk());
  const abi::drop_key key{1, 2};
  std::vector<std::uint64_t> counts;
  for (int cpu = 0; cpu < cpus; ++cpu) counts.push_back(static_cast<std::uint64_t>(10 + cpu));
  ASSERT_EQ(bpf_map_update_elem(table->map().fd(), &key, counts.data(), 0), 0);
  std::uint64_t sum = 0;
  for (std::uint64_t count : counts) sum += count;
  EXPECT_EQ((*table->Lookup(key))->packets, sum);
  EXPECT_EQ(table->Dump()->at(0).second.packets, sum);
  using Row = BpfTable<abi::drop_key, abi::drop_count>::Row;
  ASSERT_THAT(table->Update(std::vector<Row>{{key, {5}}}).status, IsOk());
  EXPECT_EQ((*table->Lookup(key))->packets, 5u);
}

TEST_F(BpfTableTest, PerCpuArrayOfCountersIsSummedFieldByField) {
  const int cpus = libbpf_num_possible_cpus();
  auto table = MakeTable<std::uint32_t, abi::service_stats>(BPF_MAP_TYPE_PERCPU_ARRAY, 3000);
  ASSERT_THAT(table, IsOk());
  std::vector<abi::service_stats> values(static_cast<std::size_t>(cpus));
  for (abi::service_stats& value : values) value = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::uint32_t id = 2500;
  ASSERT_EQ(bpf_map_update_elem(table->map().fd(), &id, values.data(), 0), 0);
  const auto n = static_cast<std::uint64_t>(cpus);
  const abi::service_stats expected{n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n, 8 * n};
  EXPECT_EQ(**table->Lookup(id), expected);
  const auto dump = table->Dump();
  ASSERT_EQ(dump->size(), 1u);
  EXPECT_EQ(dump->at(0).first, id);
  EXPECT_EQ(dump->at(0).second, expected);
}

TEST_F(BpfTableTest, RefusesMapOfOtherSizes) {
  auto made = MakeTable<std::uint32_t, abi::source_range>(BPF_MAP_TYPE_ARRAY, 4);
  ASSERT_THAT(made, IsOk());
  auto map = BpfMap::FromFd(UniqueFd(::dup(made->map().fd())));
  ASSERT_THAT(map, IsOk());
  EXPECT_THAT((ServiceTable::Create(*std::move(map))),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("expected keys of 24 and values of 32 bytes, found 4 and 4")));
}

}  // namespace
}  // namespace sluice
