// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/attachment.h"

#include <bpf/bpf.h>
#include <net/if.h>

#include <utility>

#include "gmock/gmock.h"

#include "control/datapath/clsact_filter.h"
#include "control/datapath/loader.h"
#include "control/datapath/tcx_link.h"
#include "test/bpf/datapath/node_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr MapSizes kSmall = {
    .frontends = 64, .services = 64, .backends = 64, .slots = 64, .flows = 64, .opening = 64};

std::uint32_t ProgramId(int fd) {
  bpf_prog_info info{};
  std::uint32_t length = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
  return info.id;
}

class AttachmentTest : public NodeFixture, public ::testing::WithParamInterface<AttachMode> {
 protected:
  void SetUp() override {
    NodeFixture::SetUp();
    ASSERT_THAT(EnsureBpffs(bpffs_), IsOk());
    ASSERT_THAT(netns_->Ip({"link add eth0 type veth peer name far0", "link set eth0 up",
                            "link set far0 up"}),
                IsOk());
    absl::StatusOr<NodeRecord> record = NodeRecord::Open(state_dir_);
    ASSERT_THAT(record, IsOk());
    record_ = std::make_unique<NodeRecord>(*std::move(record));
  }

  void TearDown() override {
    // The namespace goes with its devices; nothing else holds the filters.
    attacher_.reset();
    NodeFixture::TearDown();
  }

  // As a new agent would: loads, and takes over what is there.
  void StartAgent(AttachMode mode) {
    absl::StatusOr<LoadedPrograms> loaded = LoadPrograms(bpffs_, kSmall);
    ASSERT_THAT(loaded, IsOk());
    for (std::size_t i = 0; i < kHooks.size(); ++i) {
      programs_[i] = ProgramId(loaded->programs[i].get());
    }
    auto attacher =
        Attacher::Create(PinFolder(bpffs_), mode, std::move(loaded->programs), *record_);
    ASSERT_THAT(attacher, IsOk());
    attacher_ = *std::move(attacher);
  }
  void StartAgent() { StartAgent(GetParam()); }

  std::vector<AttachedInterface> Apply(const InterfaceFlags& flags) {
    return attacher_->Apply(Find(flags));
  }

  std::string Pin(const std::string& interface, const std::string& hook) {
    return absl::StrCat(PinFolder(bpffs_), "/links/", LinkPinName(interface, hook));
  }

  // Ids of the programs that the interface runs in the direction, in their order.
  std::vector<std::uint32_t> Running(const std::string& interface, TcDirection direction) {
    const int ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (GetParam() == AttachMode::kClsact) {
      const absl::StatusOr<std::uint32_t> id = QueryClsact(ifindex, direction);
      return id.ok() ? std::vector<std::uint32_t>{*id} : std::vector<std::uint32_t>{};
    }
    std::vector<std::uint32_t> ids(16);
    auto count = static_cast<std::uint32_t>(ids.size());
    const auto type = static_cast<bpf_attach_type>(direction == TcDirection::kIngress ? 46 : 47);
    EXPECT_EQ(bpf_prog_query(ifindex, type, 0, nullptr, ids.data(), &count), 0);
    ids.resize(count);
    return ids;
  }

  const InterfaceFlags uplink_ = Patterns({"eth0"}, {});
  const InterfaceFlags nothing_ = Patterns({"none"}, {"none"});
  std::unique_ptr<NodeRecord> record_;
  std::unique_ptr<Attacher> attacher_;
  std::array<std::uint32_t, kHooks.size()> programs_{};  // ids, in the order of kHooks
};

constexpr std::size_t kFromPod = 0;
constexpr std::size_t kToPod = 1;
constexpr std::size_t kFromNet = 2;
constexpr std::size_t kToNet = 3;

TEST_P(AttachmentTest, PutsTheProgramsOfTheRoleOnBothDirections) {
  StartAgent();
  const auto attached = Apply(Patterns({"eth0"}, {"far0"}));
  ASSERT_THAT(attached, SizeIs(2));
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  EXPECT_THAT(Running("eth0", TcDirection::kEgress), ElementsAre(programs_[kToNet]));
  EXPECT_THAT(Running("far0", TcDirection::kIngress), ElementsAre(programs_[kFromPod]));
  EXPECT_THAT(Running("far0", TcDirection::kEgress), ElementsAre(programs_[kToPod]));
  for (const AttachedInterface& interface : attached) {
    EXPECT_THAT(interface.hooks, SizeIs(2));
    EXPECT_EQ(interface.error, "");
  }
}

TEST_P(AttachmentTest, ARestartReplacesTheProgramsAndAddsNone) {
  StartAgent();
  Apply(uplink_);
  const auto before = programs_;
  StartAgent();
  ASSERT_NE(programs_, before);
  Apply(uplink_);
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  EXPECT_THAT(Running("eth0", TcDirection::kEgress), ElementsAre(programs_[kToNet]));
}

TEST_P(AttachmentTest, TheEndOfTheAgentLeavesThePrograms) {
  StartAgent();
  Apply(uplink_);
  attacher_.reset();
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
}

TEST_P(AttachmentTest, AnInterfaceThatIsNoLongerWantedLosesItsPrograms) {
  StartAgent();
  Apply(uplink_);
  EXPECT_THAT(Apply(nothing_), IsEmpty());
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), IsEmpty());
  EXPECT_THAT(Running("eth0", TcDirection::kEgress), IsEmpty());
  EXPECT_THAT(record_->changes().clsact, IsEmpty());
}

TEST_P(AttachmentTest, WhatAnEarlierAgentAttachedAndNobodyWantsIsRemoved) {
  StartAgent();
  Apply(uplink_);
  StartAgent();
  Apply(nothing_);
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(Pin("eth0", "from_net")));
  EXPECT_THAT(record_->changes().clsact, IsEmpty());
}

TEST_P(AttachmentTest, ARoleThatChangesChangesThePrograms) {
  StartAgent();
  Apply(uplink_);
  Apply(Patterns({"none"}, {"eth0"}));
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromPod]));
  EXPECT_THAT(Running("eth0", TcDirection::kEgress), ElementsAre(programs_[kToPod]));
}

TEST_P(AttachmentTest, ADeviceThatVanishesBeforeItIsAttachedIsNoError) {
  StartAgent();
  const std::vector<Interface> found = Find(uplink_);
  ASSERT_THAT(found, SizeIs(1));
  ASSERT_THAT(netns_->Ip({"link del eth0"}), IsOk());
  EXPECT_THAT(attacher_->Apply(found), IsEmpty());
}

TEST_P(AttachmentTest, ADeviceThatCameBackUnderItsNameIsAttachedAnew) {
  StartAgent();
  Apply(uplink_);
  ASSERT_THAT(netns_->Ip({"link del eth0", "link add eth0 type veth peer name far0"}), IsOk());
  // Both by an agent that saw it happen only now, and by one that was not there.
  const auto attached = Apply(uplink_);
  ASSERT_THAT(attached, SizeIs(1));
  EXPECT_EQ(attached[0].error, "");
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  ASSERT_THAT(netns_->Ip({"link del eth0", "link add eth0 type veth peer name far0"}), IsOk());
  StartAgent();
  Apply(uplink_);
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
}

TEST_P(AttachmentTest, ARenamedDeviceKeepsItsProgramsAlsoOverARestart) {
  StartAgent();
  Apply(uplink_);
  ASSERT_THAT(netns_->Ip({"link set eth0 down", "link set eth0 name lan.7"}), IsOk());
  const InterfaceFlags renamed = Patterns({"lan.7"}, {});
  Apply(renamed);
  EXPECT_THAT(Running("lan.7", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  StartAgent();
  Apply(renamed);
  EXPECT_THAT(Running("lan.7", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  ASSERT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
  EXPECT_THAT(Running("lan.7", TcDirection::kIngress), IsEmpty());
}

TEST_P(AttachmentTest, CleaningUpRemovesEverythingAndMayBeRepeated) {
  StartAgent();
  Apply(Patterns({"eth0"}, {"far0"}));
  attacher_.reset();
  ASSERT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
  for (const char* interface : {"eth0", "far0"}) {
    EXPECT_THAT(Running(interface, TcDirection::kIngress), IsEmpty());
    EXPECT_THAT(Running(interface, TcDirection::kEgress), IsEmpty());
  }
  EXPECT_THAT(std::filesystem::exists(Pin("eth0", "from_net")), false);
  EXPECT_THAT(record_->changes().clsact, IsEmpty());
  EXPECT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
}

TEST_P(AttachmentTest, SwitchingTheMechanismLeavesOneProgramADirection) {
  const AttachMode other = GetParam() == AttachMode::kTcx ? AttachMode::kClsact : AttachMode::kTcx;
  StartAgent(other);
  Apply(uplink_);
  StartAgent(GetParam());
  Apply(uplink_);
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet]));
  EXPECT_EQ(std::filesystem::exists(Pin("eth0", "from_net")), GetParam() == AttachMode::kTcx);
  EXPECT_EQ(record_->changes().clsact.empty(), GetParam() == AttachMode::kTcx);
  const int ifindex = static_cast<int>(::if_nametoindex("eth0"));
  EXPECT_EQ(QueryClsact(ifindex, TcDirection::kIngress).ok(), GetParam() == AttachMode::kClsact);
}

TEST_P(AttachmentTest, AnInterfaceThatIsNotEthernetIsReportedAndLeftAlone) {
  ASSERT_THAT(netns_->Ip({"tuntap add tun1 mode tun"}), IsOk());
  StartAgent();
  const auto attached = Apply(Patterns({"tun1"}, {}));
  ASSERT_THAT(attached, SizeIs(1));
  EXPECT_THAT(attached[0].error, ::testing::HasSubstr("not an Ethernet device"));
  EXPECT_THAT(attached[0].hooks, IsEmpty());
  EXPECT_THAT(Running("tun1", TcDirection::kIngress), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Modes, AttachmentTest,
                         ::testing::Values(AttachMode::kTcx, AttachMode::kClsact),
                         [](const auto& mode) { return std::string(AttachModeName(mode.param)); });

using TcxTest = AttachmentTest;

TEST_P(TcxTest, ARestartKeepsTheLinkAndOnlyReplacesItsProgram) {
  StartAgent();
  Apply(uplink_);
  const auto before = TcxLink::OpenPinned(Pin("eth0", "from_net"));
  ASSERT_THAT(before, IsOk());
  StartAgent();
  Apply(uplink_);
  const auto after = TcxLink::OpenPinned(Pin("eth0", "from_net"));
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(*before->Id(), *after->Id());
}

TEST_P(TcxTest, OursRunsBeforeAnothersProgramAndLeavesItThere) {
  StartAgent();
  absl::StatusOr<LoadedPrograms> other = LoadPrograms(bpffs_ + "-other", kSmall);
  EXPECT_FALSE(other.ok());  // its folder is not there
  ASSERT_THAT(EnsureBpffs(bpffs_ + "-other"), IsOk());
  other = LoadPrograms(bpffs_ + "-other", kSmall);
  ASSERT_THAT(other, IsOk());
  const int ifindex = static_cast<int>(::if_nametoindex("eth0"));
  const auto link =
      TcxLink::Create(other->programs[kFromNet].get(), ifindex, TcDirection::kIngress);
  ASSERT_THAT(link, IsOk());
  const std::uint32_t theirs = ProgramId(other->programs[kFromNet].get());
  Apply(uplink_);
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(programs_[kFromNet], theirs));
  ASSERT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
  EXPECT_THAT(Running("eth0", TcDirection::kIngress), ElementsAre(theirs));
  std::filesystem::remove_all(bpffs_ + "-other");
}

INSTANTIATE_TEST_SUITE_P(Modes, TcxTest, ::testing::Values(AttachMode::kTcx),
                         [](const auto& mode) { return std::string(AttachModeName(mode.param)); });

using ClsactTest = AttachmentTest;

TEST_P(ClsactTest, AQdiscAndFiltersOfOthersStayWhenOursGo) {
  const int ifindex = static_cast<int>(::if_nametoindex("eth0"));
  ASSERT_THAT(EnsureClsact(ifindex), IsOkAndHolds(true));  // somebody else's
  StartAgent();
  Apply(uplink_);
  EXPECT_FALSE(record_->changes().clsact.at(ifindex).added_qdisc);
  ASSERT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
  EXPECT_THAT(EnsureClsact(ifindex), IsOkAndHolds(false));  // still there
}

TEST_P(ClsactTest, OurQdiscGoesWithOurFilters) {
  StartAgent();
  Apply(uplink_);
  const int ifindex = static_cast<int>(::if_nametoindex("eth0"));
  EXPECT_THAT(EnsureClsact(ifindex), IsOkAndHolds(false));
  ASSERT_THAT(DetachEverything(PinFolder(bpffs_), *record_), IsOk());
  EXPECT_THAT(EnsureClsact(ifindex), IsOkAndHolds(true));
}

TEST_P(ClsactTest, TheRecordOutlivesTheAgent) {
  StartAgent();
  Apply(uplink_);
  const NodeChanges written = record_->changes();
  EXPECT_FALSE(written.clsact.empty());
  const auto again = NodeRecord::Open(state_dir_);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->changes(), written);
}

INSTANTIATE_TEST_SUITE_P(Modes, ClsactTest, ::testing::Values(AttachMode::kClsact),
                         [](const auto& mode) { return std::string(AttachModeName(mode.param)); });

}  // namespace
}  // namespace sluice::testing
