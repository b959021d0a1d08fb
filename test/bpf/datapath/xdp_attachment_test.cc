// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>

#include <cstring>
#include <optional>
#include <utility>

#include "gmock/gmock.h"

#include "control/datapath/attachment.h"
#include "control/datapath/loader.h"
#include "control/datapath/xdp_features.h"
#include "maps/bpf_table.h"
#include "maps/names.h"
#include "maps/uplink.h"
#include "test/bpf/datapath/node_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr MapSizes kSmall = {
    .frontends = 64, .services = 64, .backends = 64, .slots = 64, .flows = 64, .opening = 64};

XdpInterface Has(const std::string& hook) { return {.hook = hook, .error = ""}; }

class XdpAttachmentTest : public NodeFixture {
 protected:
  void SetUp() override {
    NodeFixture::SetUp();
    ASSERT_THAT(EnsureBpffs(bpffs_), IsOk());
    ASSERT_THAT(netns_->Ip({"link add eth0 address 02:00:00:00:00:01 type veth peer name far0",
                            "link set eth0 up", "link set far0 up"}),
                IsOk());
    ASSERT_THAT(LoadPrograms(bpffs_, kSmall), IsOk());
    auto features = XdpFeatures::Open();
    ASSERT_THAT(features, IsOk());
    ASSERT_NE(*features, nullptr) << "since Linux 6.3";
    features_ = *std::move(features);
  }
  void TearDown() override {
    attacher_.reset();
    EXPECT_THAT(DetachXdp(PinFolder(bpffs_)), IsOk());
    NodeFixture::TearDown();
  }

  // As a new agent would.
  void StartAgent(XdpMode mode = XdpMode::kNative) {
    attacher_.reset();
    auto attacher = XdpAttacher::Create(PinFolder(bpffs_), mode);
    ASSERT_THAT(attacher, IsOk());
    attacher_ = *std::move(attacher);
  }
  std::map<int, XdpInterface> Apply(const std::vector<std::string>& uplinks = {"eth0"}) {
    absl::StatusOr<NetworkState> network = ReadNetworkState();
    EXPECT_THAT(network, IsOk());
    EXPECT_THAT(features_->Read(network->links), IsOk());
    return attacher_->Apply(Classify(*network, Patterns(uplinks, {"none"}), {}), network->links);
  }
  static int Index(const std::string& interface) {
    return static_cast<int>(::if_nametoindex(interface.c_str()));
  }
  // The program that the interface runs in a mode; 0: none.
  static std::uint32_t Running(const std::string& interface, int mode = XDP_FLAGS_DRV_MODE) {
    std::uint32_t id = 0;
    EXPECT_EQ(bpf_xdp_query_id(Index(interface), mode, &id), 0);
    return id;
  }
  std::vector<std::string> Pins() {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& file : std::filesystem::directory_iterator(
             absl::StrCat(PinFolder(bpffs_), "/xdp/links"), error)) {
      names.push_back(file.path().filename().string());
    }
    return names;
  }
  // Somebody's program, which takes every frame.
  static UniqueFd Pass() {
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    bpf_insn pass[2] = {};
    pass[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
    pass[0].imm = XDP_PASS;
    pass[1].code = BPF_JMP | BPF_EXIT;
    return UniqueFd(
        bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", pass, std::size(pass), &options));
  }
  // What the program is told of the interface; nothing if it is not in the table.
  std::optional<std::string> MacTold(int ifindex) {
    const auto map = BpfMap::OpenPinned(absl::StrCat(PinFolder(bpffs_), "/xdp/", names::kUplinks));
    EXPECT_THAT(map, IsOk());
    abi::uplink row = {};
    const abi::uplink_key key{.device = static_cast<std::uint32_t>(ifindex), .vlan = 0};
    if (!map.ok() || bpf_map_lookup_elem(map->fd(), &key, &row) != 0) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(row.mac), sizeof(row.mac));
  }

  // Whether the program may send frames out of the interface: what the way and the port say.
  std::pair<int, bool> Way(const std::string& interface) {
    const std::string folder = absl::StrCat(PinFolder(bpffs_), "/xdp/");
    const auto ways = BpfMap::OpenPinned(absl::StrCat(folder, names::kXdpWays));
    const auto ports = BpfMap::OpenPinned(absl::StrCat(folder, names::kXdpPorts));
    EXPECT_THAT(ways, IsOk());
    EXPECT_THAT(ports, IsOk());
    const auto key = static_cast<std::uint32_t>(Index(interface));
    abi::uplink_way way = {};
    std::uint32_t device = 0;
    if (bpf_map_lookup_elem(ways->fd(), &key, &way) != 0) return {-1, false};
    return {way.flags, bpf_map_lookup_elem(ports->fd(), &key, &device) == 0};
  }

  std::unique_ptr<XdpFeatures> features_;
  std::unique_ptr<XdpAttacher> attacher_;
};

TEST_F(XdpAttachmentTest, ARestartReplacesTheProgramAndTheInterfaceIsNeverWithout) {
  StartAgent();
  EXPECT_THAT(Apply(), ElementsAre(Pair(Index("eth0"), Has("xdp"))));
  const std::uint32_t before = Running("eth0");
  EXPECT_NE(before, 0u);
  attacher_.reset();
  EXPECT_EQ(Running("eth0"), before);
  StartAgent();
  EXPECT_EQ(Running("eth0"), before) << "not before the new one is to be attached";
  EXPECT_THAT(Apply(), ElementsAre(Pair(Index("eth0"), Has("xdp"))));
  EXPECT_NE(Running("eth0"), before);
  EXPECT_THAT(Pins(), ElementsAre(LinkPinName("eth0", "native")));
}

TEST_F(XdpAttachmentTest, AnotherModeTakesThePlace) {
  StartAgent();
  Apply();
  StartAgent(XdpMode::kGeneric);
  EXPECT_THAT(Apply(), ElementsAre(Pair(Index("eth0"), Has("xdp (generic)"))));
  EXPECT_EQ(Running("eth0"), 0u);
  EXPECT_NE(Running("eth0", XDP_FLAGS_SKB_MODE), 0u);
  StartAgent(XdpMode::kAuto);
  EXPECT_THAT(Apply(), ElementsAre(Pair(Index("eth0"), Has("xdp"))));
  EXPECT_EQ(Running("eth0", XDP_FLAGS_SKB_MODE), 0u);
  EXPECT_THAT(Pins(), ElementsAre(LinkPinName("eth0", "native")));
}

TEST_F(XdpAttachmentTest, ADriverWithoutXdpIsLeftToTcByAutoAndSaidByNative) {
  ASSERT_THAT(netns_->Ip({"link add br0 type bridge", "link set br0 up"}), IsOk());
  StartAgent(XdpMode::kAuto);
  EXPECT_THAT(Apply({"br0"}), ElementsAre(Pair(Index("br0"), Has(""))));
  StartAgent(XdpMode::kNative);
  const auto native = Apply({"br0"});
  ASSERT_THAT(native, ::testing::SizeIs(1));
  EXPECT_EQ(native.begin()->second.hook, "");
  EXPECT_THAT(native.begin()->second.error, HasSubstr("--xdp native"));
  StartAgent(XdpMode::kGeneric);
  EXPECT_THAT(Apply({"br0"}), ElementsAre(Pair(Index("br0"), Has("xdp (generic)"))));
}

TEST_F(XdpAttachmentTest, AnothersProgramStaysAndIsNamed) {
  const UniqueFd other = Pass();
  ASSERT_TRUE(other.valid());
  for (const int flags : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
    ASSERT_EQ(
        bpf_xdp_attach(Index("eth0"), other.get(), static_cast<std::uint32_t>(flags), nullptr), 0);
    const std::uint32_t theirs = Running("eth0", flags);
    for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric, XdpMode::kAuto}) {
      SCOPED_TRACE(XdpModeName(mode));
      StartAgent(mode);
      const auto result = Apply();
      ASSERT_THAT(result, ::testing::SizeIs(1));
      EXPECT_EQ(result.begin()->second.hook, "");
      EXPECT_THAT(result.begin()->second.error,
                  HasSubstr(absl::StrCat("another XDP program has eth0 (id ", theirs)));
      EXPECT_EQ(Running("eth0", flags), theirs);
    }
    ASSERT_EQ(bpf_xdp_detach(Index("eth0"), static_cast<std::uint32_t>(flags), nullptr), 0);
    EXPECT_NE(Apply().begin()->second.hook, "") << "once it is gone";
    attacher_.reset();
    ASSERT_THAT(DetachXdp(PinFolder(bpffs_)), IsOk());
  }
}

TEST_F(XdpAttachmentTest, WhatIsNoUplinkAnyMoreLosesTheProgramAlsoOverARestart) {
  StartAgent();
  Apply();
  EXPECT_THAT(Apply({"none"}), IsEmpty());
  EXPECT_EQ(Running("eth0"), 0u);
  EXPECT_EQ(MacTold(Index("eth0")), std::nullopt);
  Apply();
  StartAgent();
  EXPECT_THAT(Apply({"none"}), IsEmpty());
  EXPECT_EQ(Running("eth0"), 0u);
  EXPECT_THAT(Pins(), IsEmpty());
}

TEST_F(XdpAttachmentTest, TheProgramKnowsTheAddressThatTheInterfaceHasNow) {
  StartAgent();
  Apply();
  EXPECT_EQ(MacTold(Index("eth0")), std::string("\x02\x00\x00\x00\x00\x01", 6));
  ASSERT_THAT(netns_->Ip({"link set eth0 address 02:00:00:00:00:09"}), IsOk());
  Apply();
  EXPECT_EQ(MacTold(Index("eth0")), std::string("\x02\x00\x00\x00\x00\x09", 6));
}

// On a veth that is what the program at its other end makes of it.
TEST_F(XdpAttachmentTest, ADeviceIsAPortWhileItsDriverTakesFrames) {
  constexpr int kBoth = abi::SL_WAY_TAKES_FRAMES | abi::SL_WAY_TAKES_BUFFERS;
  StartAgent();
  Apply();
  EXPECT_THAT(Way("eth0"), Pair(0, false));
  ASSERT_THAT(features_->Drain(), IsOk());
  const UniqueFd pass = Pass();
  ASSERT_EQ(bpf_xdp_attach(Index("far0"), pass.get(), XDP_FLAGS_DRV_MODE, nullptr), 0);
  pollfd events{.fd = features_->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&events, 1, 5000), 1) << "it is told";
  Apply();
  EXPECT_THAT(Way("eth0"), Pair(kBoth, true));
  ASSERT_EQ(bpf_xdp_detach(Index("far0"), XDP_FLAGS_DRV_MODE, nullptr), 0);
  Apply();
  EXPECT_THAT(Way("eth0"), Pair(0, false));
  Apply({"none"});
  EXPECT_THAT(Way("eth0"), Pair(-1, false));
}

// Of an interface that went while no agent was there, whose index may be another's now.
TEST_F(XdpAttachmentTest, RowsOfEarlierAgentsAreNotBelieved) {
  StartAgent();
  Apply({"eth0", "far0"});
  EXPECT_THAT(Way("far0"), Pair(::testing::Ge(0), ::testing::_));
  EXPECT_NE(MacTold(Index("far0")), std::nullopt);
  StartAgent();
  Apply();
  EXPECT_EQ(MacTold(Index("far0")), std::nullopt);
  EXPECT_THAT(Way("far0"), Pair(::testing::_, false)) << "nobody is at its other end";
}

TEST_F(XdpAttachmentTest, ARenamedInterfaceHasItsPinUnderItsName) {
  StartAgent();
  Apply();
  ASSERT_THAT(netns_->Ip({"link set eth0 down", "link set eth0 name wan0", "link set wan0 up"}),
              IsOk());
  EXPECT_THAT(Apply({"wan0"}), ElementsAre(Pair(Index("wan0"), Has("xdp"))));
  EXPECT_THAT(Pins(), ElementsAre(LinkPinName("wan0", "native")));
  StartAgent();
  EXPECT_THAT(Apply({"wan0"}), ElementsAre(Pair(Index("wan0"), Has("xdp"))));
}

TEST_F(XdpAttachmentTest, ADeviceThatCameBackUnderItsNameIsAttachedAnew) {
  StartAgent();
  Apply();
  ASSERT_THAT(
      netns_->Ip({"link del eth0", "link add eth0 type veth peer name far0", "link set eth0 up"}),
      IsOk());
  EXPECT_THAT(Apply(), ElementsAre(Pair(Index("eth0"), Has("xdp"))));
  EXPECT_NE(Running("eth0"), 0u);
}

TEST_F(XdpAttachmentTest, CleaningUpMayBeRepeated) {
  StartAgent();
  Apply();
  attacher_.reset();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(DetachXdp(PinFolder(bpffs_)), IsOk());
    EXPECT_EQ(Running("eth0"), 0u);
    EXPECT_FALSE(std::filesystem::exists(absl::StrCat(PinFolder(bpffs_), "/xdp")));
  }
}

}  // namespace
}  // namespace sluice::testing
