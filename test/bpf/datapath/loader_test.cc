// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/loader.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include "gmock/gmock.h"

#include "control/datapath/feature_probe.h"
#include "maps/map_set.h"
#include "maps/names.h"
#include "test/bpf/datapath/node_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr MapSizes kSmall = {
    .frontends = 64, .services = 32, .backends = 48, .slots = 128, .flows = 256, .opening = 16};

class LoaderTest : public NodeFixture {
 protected:
  void SetUp() override {
    NodeFixture::SetUp();
    ASSERT_THAT(EnsureBpffs(bpffs_), IsOkAndHolds(false));
  }

  std::string Pin(const std::string& name) { return absl::StrCat(PinFolder(bpffs_), "/", name); }

  std::uint32_t MapId(const std::string& name) {
    const UniqueFd fd(bpf_obj_get(Pin(name).c_str()));
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(fd.get(), &info, &length), 0) << name;
    return info.id;
  }

  std::uint32_t ProgramId(int fd) {
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
    return info.id;
  }
};

TEST_F(LoaderTest, MakesAndPinsEverythingInTheSizesOfTheFlags) {
  const auto loaded = LoadPrograms(bpffs_, kSmall);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_FALSE(loaded->reused_maps);
  EXPECT_THAT(loaded->kept_sizes, IsEmpty());
  const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->services().max_entries(), 64u);
  EXPECT_EQ(maps->service_names().max_entries(), 32u);
  EXPECT_EQ(maps->service_stats().max_entries(), 32u);
  EXPECT_EQ(maps->backends().max_entries(), 48u);
  EXPECT_EQ(maps->backend_stats().max_entries(), 48u);
  EXPECT_EQ(maps->slots().size(), 128u);
  EXPECT_EQ(maps->flows().max_entries(), 256u);
  EXPECT_EQ(maps->opening().max_entries(), 16u);
  EXPECT_EQ(maps->clients().size(), 64u) << "a word for four rows of sl_flows";
  EXPECT_FALSE(loaded->new_clients) << "there are no flows that it does not know";
  for (std::size_t i = 0; i < kHooks.size(); ++i) {
    const UniqueFd pinned(
        bpf_obj_get(Pin(absl::StrCat("progs/", std::string(kHooks[i].program))).c_str()));
    ASSERT_TRUE(pinned.valid());
    EXPECT_EQ(ProgramId(pinned.get()), ProgramId(loaded->programs[i].get()));
  }
}

TEST_F(LoaderTest, ARestartKeepsMapsAndRowsAndReplacesPrograms) {
  const auto first = LoadPrograms(bpffs_, kSmall);
  ASSERT_THAT(first, IsOk());
  const std::uint32_t flows = MapId(names::kFlows);
  {
    const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
    ASSERT_THAT(maps, IsOk());
    abi::flow key{};
    key.protocol = 6;
    const std::pair<abi::flow, abi::flow_entry> row{key, {}};
    ASSERT_THAT(maps->flows().Update(std::span(&row, 1)).status, IsOk());
  }
  const auto second = LoadPrograms(bpffs_, kSmall);
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(second->reused_maps);
  EXPECT_THAT(second->kept_sizes, IsEmpty());
  EXPECT_EQ(MapId(names::kFlows), flows);
  const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->flows().Dump()->size(), 1u);
  EXPECT_NE(ProgramId(first->programs[0].get()), ProgramId(second->programs[0].get()));
  const UniqueFd pinned(bpf_obj_get(Pin("progs/sl_from_pod").c_str()));
  EXPECT_EQ(ProgramId(pinned.get()), ProgramId(second->programs[0].get()));
}

TEST_F(LoaderTest, APinnedMapKeepsItsSizeAndThatIsSaid) {
  ASSERT_THAT(LoadPrograms(bpffs_, kSmall), IsOk());
  MapSizes larger = kSmall;
  larger.flows = 512;
  const auto loaded = LoadPrograms(bpffs_, larger);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(loaded->kept_sizes,
              ElementsAre(AllOf(HasSubstr("sl_flows"), HasSubstr("256"),
                                HasSubstr("--max-flows 512"), HasSubstr("--cleanup"))));
}

TEST_F(LoaderTest, AMapThatIsMissingIsMadeAsLargeAsItsPair) {
  ASSERT_THAT(LoadPrograms(bpffs_, kSmall), IsOk());
  ASSERT_EQ(::unlink(Pin(names::kBackendStats).c_str()), 0);
  MapSizes larger = kSmall;
  larger.backends = 1000;
  ASSERT_THAT(LoadPrograms(bpffs_, larger), IsOk());
  const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->backend_stats().max_entries(), 48u);
}

TEST_F(LoaderTest, TheTableOfClientsHasAPowerOfTwoOfWords) {
  MapSizes odd = kSmall;
  odd.flows = 300;
  ASSERT_THAT(LoadPrograms(bpffs_, odd), IsOk());
  const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->clients().size(), 128u);
}

TEST_F(LoaderTest, ALostTableOfClientsIsMadeForTheFlowsThatAreThereAndThatIsSaid) {
  ASSERT_THAT(LoadPrograms(bpffs_, kSmall), IsOk());
  ASSERT_EQ(::unlink(Pin(names::kClients).c_str()), 0);
  MapSizes larger = kSmall;
  larger.flows = 1024;  // those that are there keep their size
  const auto loaded = LoadPrograms(bpffs_, larger);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_TRUE(loaded->new_clients);
  {
    const auto maps = MapSet::OpenPinned(PinFolder(bpffs_));
    ASSERT_THAT(maps, IsOk());
    EXPECT_EQ(maps->clients().size(), 64u);
  }
  const auto again = LoadPrograms(bpffs_, larger);
  ASSERT_THAT(again, IsOk());
  EXPECT_FALSE(again->new_clients);
}

TEST_F(LoaderTest, AMapOfAnotherAbiIsRefusedAndLeft) {
  ASSERT_THAT(LoadPrograms(bpffs_, kSmall), IsOk());
  ASSERT_EQ(::unlink(Pin(names::kFlows).c_str()), 0);
  const UniqueFd other(bpf_map_create(BPF_MAP_TYPE_HASH, names::kFlows, 36, 56, 256, nullptr));
  ASSERT_EQ(bpf_obj_pin(other.get(), Pin(names::kFlows).c_str()), 0);
  const std::uint32_t id = MapId(names::kFlows);
  EXPECT_THAT(
      LoadPrograms(bpffs_, kSmall),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("sl_flows"), HasSubstr("incompatible"), HasSubstr("--cleanup"))));
  EXPECT_EQ(MapId(names::kFlows), id);
}

TEST_F(LoaderTest, TheKernelHasWhatSluiceNeeds) {
  const auto features = ProbeFeatures();
  ASSERT_THAT(features, IsOk());
  EXPECT_FALSE(features->kernel.empty());
  EXPECT_EQ(features->Named().at("tcx"), features->tcx);
}

}  // namespace
}  // namespace sluice::testing
