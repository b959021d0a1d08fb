// SPDX-License-Identifier: Apache-2.0
// The set of pinned maps: what it takes, what it refuses and in which words, and how full it says
// that maps are.
#include "maps/map_set.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sl_tc.skel.h"
#include "test/support/map_folder.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::MapFolder;
using testing::StatusIs;

void MakeSmall(MapShape& shape) {
  if (shape.name == names::kEvents || shape.name == names::kFilter) return;
  shape.max_entries = std::min(shape.max_entries, 4096u);
}

class MapSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::Status probe = MapFolder::Create("maps-probe", MakeSmall).status();
    if (absl::IsPermissionDenied(probe) || absl::IsNotFound(probe)) {
      GTEST_SKIP() << "no rights for bpf(2), or no bpffs: " << probe;
    }
    ASSERT_THAT(probe, IsOk());
  }
};

std::uint64_t Used(const MapSet& maps, const std::string& name) {
  const auto uses = maps.Use();
  EXPECT_THAT(uses, IsOk());
  for (const MapUse& use : *uses) {
    if (use.name == name) return use.used;
  }
  ADD_FAILURE() << "no use of " << name;
  return 0;
}

// The programs and this library must mean the same maps.
TEST_F(MapSetTest, ExpectsWhatTheBpfObjectDeclares) {
  sl_tc* object = sl_tc::open();
  ASSERT_NE(object, nullptr);
  for (const MapShape& expected : ExpectedMaps()) {
    const bpf_map* map = bpf_object__find_map_by_name(object->obj, expected.name.c_str());
    ASSERT_NE(map, nullptr) << expected.name;
    const MapShape declared{expected.name,
                            static_cast<std::uint32_t>(bpf_map__type(map)),
                            bpf_map__key_size(map),
                            bpf_map__value_size(map),
                            bpf_map__max_entries(map),
                            bpf_map__map_flags(map)};
    EXPECT_THAT(CheckShape(expected, declared), IsOk());
    EXPECT_EQ(declared.max_entries, expected.max_entries) << expected.name;
  }
  sl_tc::destroy(object);
}

TEST_F(MapSetTest, OpensAllMapsAndReachesThem) {
  const auto folder = MapFolder::Create("maps-open", MakeSmall);
  ASSERT_THAT(folder, IsOk());
  const auto maps = MapSet::OpenPinned((*folder)->path());
  ASSERT_THAT(maps, IsOk());
  abi::backend row = {};
  row.generation = 3;
  ASSERT_THAT(
      maps->backends().Update(std::vector<std::pair<std::uint32_t, abi::backend>>{{9, row}}).status,
      IsOk());
  // Another opener sees the same maps.
  const auto again = MapSet::OpenPinned((*folder)->path());
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ((*again->backends().Lookup(9))->generation, 3u);
  EXPECT_EQ(again->slots().size(), 4096u);
  EXPECT_GE(again->events_fd(), 0);
}

TEST_F(MapSetTest, SlotsAreTheMapsMemory) {
  const auto folder = MapFolder::Create("maps-slots", MakeSmall);
  ASSERT_THAT(folder, IsOk());
  const auto maps = MapSet::OpenPinned((*folder)->path());
  ASSERT_THAT(maps, IsOk());
  const std::vector<std::uint32_t> ids = {11, 12, 13};
  ASSERT_TRUE(maps->slots().Write(4093, ids));
  const auto map = BpfMap::OpenPinned((*folder)->path() + "/" + names::kSlots);
  ASSERT_THAT(map, IsOk());
  for (std::uint32_t i = 0; i < ids.size(); ++i) {
    const std::uint32_t slot = 4093 + i;
    std::uint32_t id = 0;
    ASSERT_THAT(
        map->Lookup(reinterpret_cast<const std::byte*>(&slot), reinterpret_cast<std::byte*>(&id)),
        IsOk());
    EXPECT_EQ(id, ids[i]);
  }
  EXPECT_FALSE(maps->slots().Write(4094, ids));
  EXPECT_EQ(maps->slots().Read(4094), 12u) << "nothing is written when not all fits";
}

TEST_F(MapSetTest, TheFilterIsTheMapsMemoryAndOneBitIsOneAddress) {
  const auto folder = MapFolder::Create("maps-filter", MakeSmall);
  ASSERT_THAT(folder, IsOk());
  const auto maps = MapSet::OpenPinned((*folder)->path());
  ASSERT_THAT(maps, IsOk());
  abi::service_key key = {};
  key.address.w[3] = 0x0100000a;
  key.port = 0x5000;
  key.protocol = 6;
  maps->filter().Add(key);
  EXPECT_TRUE(maps->filter().Has(key.address, key.port, key.protocol));
  EXPECT_FALSE(maps->filter().Has(key.address, key.port, 17));
  EXPECT_FALSE(maps->filter().Has(key.address, 0, 0));
  EXPECT_EQ(Used(*maps, names::kFilter), 1u);
  const auto map = BpfMap::OpenPinned((*folder)->path() + "/" + names::kFilter);
  ASSERT_THAT(map, IsOk());
  const std::uint32_t bit = abi::filter_bit(&key.address, key.port, key.protocol), word = bit / 64;
  std::uint64_t bits = 0;
  ASSERT_THAT(
      map->Lookup(reinterpret_cast<const std::byte*>(&word), reinterpret_cast<std::byte*>(&bits)),
      IsOk());
  EXPECT_EQ(bits, std::uint64_t{1} << bit % 64);
}

// Packets to a backend that are no service's must not be looked up, those from one must.
TEST(FilterArrayTest, ABackendIsNoFrontend) {
  std::vector<abi::filter_word> words(abi::SL_FILTER_WORDS);
  FilterArray filter(words);
  abi::backend row = {};
  row.address.w[3] = 0x0100000a;
  row.port = 0x5000;
  row.protocol = 6;
  filter.Add(row);
  EXPECT_FALSE(filter.Has(row.address, row.port, 6));
  EXPECT_TRUE(filter.Has(row.address, row.port, 6 | abi::SL_FILTER_BACKEND));
}

// 100,000 backends and their frontends share a few bits in a hundred, not more.
TEST(FilterArrayTest, SpreadsAddresses) {
  std::vector<abi::filter_word> words(abi::SL_FILTER_WORDS);
  FilterArray filter(words);
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    abi::backend row = {};
    row.address.w[2] = htonl(0xffff);
    row.address.w[3] = htonl(0x0a400000 + i);
    row.port = htons(8080);
    row.protocol = 6;
    filter.Add(row);
  }
  // As many as chance leaves apart: n - n^2 / 2m.
  EXPECT_GT(filter.CountSet(), 97'000u);
}

TEST_F(MapSetTest, RefusesMapOfAnotherShapeWithItsNameAndBothShapes) {
  const auto folder = MapFolder::Create("maps-shape", [](MapShape& shape) {
    MakeSmall(shape);
    if (shape.name == names::kBackends) shape.value_size += 8;
  });
  ASSERT_THAT(folder, IsOk());
  EXPECT_THAT(MapSet::OpenPinned((*folder)->path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("map sl_backends: expected type 2, keys of 4 and values of "
                                       "32 bytes"),
                             HasSubstr("found type 2, keys of 4 and values of 40 bytes"),
                             HasSubstr((*folder)->path()))));
}

TEST_F(MapSetTest, RefusesMapOfAnotherType) {
  const auto folder = MapFolder::Create("maps-type", [](MapShape& shape) {
    MakeSmall(shape);
    if (shape.name == names::kServices) shape.type = BPF_MAP_TYPE_LRU_HASH;
  });
  ASSERT_THAT(folder, IsOk());
  EXPECT_THAT(MapSet::OpenPinned((*folder)->path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("map sl_services")));
}

TEST_F(MapSetTest, RefusesSlotsThatCannotBeMapped) {
  const auto folder = MapFolder::Create("maps-mmap", [](MapShape& shape) {
    MakeSmall(shape);
    if (shape.name == names::kSlots) shape.flags = 0;
  });
  ASSERT_THAT(folder, IsOk());
  EXPECT_THAT(MapSet::OpenPinned((*folder)->path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("map sl_slots")));
}

TEST_F(MapSetTest, NamesTheMapThatIsMissing) {
  const auto folder = MapFolder::Create("maps-missing", [](MapShape& shape) {
    MakeSmall(shape);
    if (shape.name == names::kDrops) shape.name.clear();
  });
  ASSERT_THAT(folder, IsOk());
  EXPECT_THAT(MapSet::OpenPinned((*folder)->path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("sl_drops")));
}

TEST_F(MapSetTest, CountsWhatIsInUse) {
  const auto folder = MapFolder::Create("maps-use", MakeSmall);
  ASSERT_THAT(folder, IsOk());
  const auto maps = MapSet::OpenPinned((*folder)->path());
  ASSERT_THAT(maps, IsOk());
  const auto empty = maps->Use();
  ASSERT_THAT(empty, IsOk());
  for (const MapUse& use : *empty) {
    EXPECT_EQ(use.used, 0u) << use.name;
    EXPECT_GT(use.size, 0u) << use.name;
  }
  // Two frontends share one range of slots.
  abi::service row = {};
  row.id = 1;
  row.slots[abi::SL_SCOPE_INTERNAL] = {10, 3};
  row.slots[abi::SL_SCOPE_EXTERNAL] = {20, 2};
  abi::service_key first = {}, second = {};
  first.port = 1;
  second.port = 2;
  ASSERT_THAT(maps->services()
                  .Update(std::vector<std::pair<abi::service_key, abi::service>>{{first, row},
                                                                                 {second, row}})
                  .status,
              IsOk());
  // One backend is there, one has gone and left its generation.
  abi::backend there = {}, gone = {};
  there.flags = abi::SL_BACKEND_PRESENT;
  there.generation = gone.generation = 1;
  ASSERT_THAT(
      maps->backends()
          .Update(std::vector<std::pair<std::uint32_t, abi::backend>>{{1, there}, {2, gone}})
          .status,
      IsOk());
  abi::opening_bucket bucket = {};
  bucket.tag[0] = bucket.tag[3] = 77;
  ASSERT_THAT(maps->opening()
                  .Update(std::vector<std::pair<std::uint32_t, abi::opening_bucket>>{{5, bucket}})
                  .status,
              IsOk());
  EXPECT_EQ(Used(*maps, names::kServices), 2u);
  EXPECT_EQ(Used(*maps, names::kSlots), 5u);
  EXPECT_EQ(Used(*maps, names::kBackends), 1u);
  EXPECT_EQ(Used(*maps, names::kBackendStats), 1u);
  EXPECT_EQ(Used(*maps, names::kOpening), 2u);
}

}  // namespace
}  // namespace sluice
