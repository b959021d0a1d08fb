// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/network_monitor.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "gmock/gmock.h"

#include "control/base/unique_fd.h"
#include "control/datapath/listeners.h"
#include "control/datapath/node_addresses.h"
#include "control/datapath/xdp_features.h"
#include "test/bpf/datapath/node_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;

class NetworkMonitorTest : public NodeFixture {
 protected:
  void SetUp() override {
    NodeFixture::SetUp();
    auto loop = EventLoop::Create();
    ASSERT_THAT(loop, IsOk());
    loop_ = *std::move(loop);
    auto monitor = NetworkMonitor::Create(*loop_, /*xdp=*/true);
    ASSERT_THAT(monitor, IsOk());
    monitor_ = *std::move(monitor);
    ASSERT_THAT(monitor_->Start([this] {
      ++changes_;
      if (awaited_ && awaited_()) loop_->Stop();
    }),
                IsOk());
  }

  void TearDown() override {
    monitor_.reset();
    NodeFixture::TearDown();
  }

  // Runs the loop until `condition` holds after a change; false when it does not within 5 s.
  bool Await(std::function<bool()> condition) {
    if (condition()) return true;
    bool in_time = true;
    awaited_ = std::move(condition);
    const auto timer = loop_->RunAfter(absl::Seconds(5), [&] {
      in_time = false;
      loop_->Stop();
    });
    loop_->Run();
    loop_->Cancel(timer);
    awaited_ = nullptr;
    return in_time;
  }

  const Link* Find(const std::string& name) const {
    for (const auto& [ifindex, link] : monitor_->state().links) {
      if (link.name == name) return &link;
    }
    return nullptr;
  }

  std::vector<std::string> Roles() const {
    std::vector<std::string> roles;
    for (const Interface& interface : Classify(monitor_->state(), {}, {})) {
      roles.push_back(
          absl::StrCat(interface.link.name, ":", std::string(RoleName(interface.role))));
    }
    return roles;
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<NetworkMonitor> monitor_;
  std::function<bool()> awaited_;
  int changes_ = 0;
};

TEST_F(NetworkMonitorTest, KnowsWhatIsThereAtStart) {
  ASSERT_NE(Find("lo"), nullptr);
  EXPECT_EQ(changes_, 1);
  EXPECT_THAT(Roles(), IsEmpty());
}

TEST_F(NetworkMonitorTest, SeesAnUplinkGetItsAddressAndRouteAndLoseThem) {
  ASSERT_THAT(
      netns_->Ip({"link add eth0 type veth peer name far0", "link set far0 up", "link set eth0 up",
                  "addr add 192.0.2.1/24 dev eth0", "addr add 2001:db8::1/64 dev eth0 nodad",
                  "route add default via 192.0.2.254", "route add ::/0 via 2001:db8::fe"}),
      IsOk());
  ASSERT_TRUE(Await([&] { return monitor_->state().default_routes.size() == 2; }));
  EXPECT_THAT(Roles(), Contains("eth0:uplink"));
  const NodeAddresses addresses =
      FindNodeAddresses(monitor_->state(), Classify(monitor_->state(), {}, {}), {}, {});
  EXPECT_EQ(addresses.source[abi::SL_FAMILY_V4], IpAddress::Parse("192.0.2.1").value());
  EXPECT_EQ(addresses.source[abi::SL_FAMILY_V6], IpAddress::Parse("2001:db8::1").value());
  // The kernel does not tell of the routes that go with the link.
  ASSERT_THAT(netns_->Ip({"link set eth0 down"}), IsOk());
  EXPECT_TRUE(Await([&] { return monitor_->state().default_routes.empty(); }));
  ASSERT_THAT(netns_->Ip({"link del eth0"}), IsOk());
  EXPECT_TRUE(Await([&] { return Find("eth0") == nullptr; }));
}

TEST_F(NetworkMonitorTest, SeesEveryWayOfMultipathRoutes) {
  ASSERT_THAT(
      netns_->Ip({"link add eth0 type veth peer name far0", "link set far0 up", "link set eth0 up",
                  "link add eth1 type veth peer name far1", "link set far1 up", "link set eth1 up",
                  "addr add 192.0.2.1/24 dev eth0", "addr add 198.51.100.1/24 dev eth1",
                  "route add default nexthop via 192.0.2.254 nexthop via 198.51.100.254"}),
      IsOk());
  ASSERT_TRUE(Await([&] { return monitor_->state().default_routes.size() == 2; }));
  EXPECT_NE(monitor_->state().default_routes[0].ifindex,
            monitor_->state().default_routes[1].ifindex);
}

TEST_F(NetworkMonitorTest, APodsInterfaceIsKnownAlsoWhenItsPeerMovesLater) {
  ASSERT_THAT(netns_->Ip({"link add cali1 type veth peer name pod0"}), IsOk());
  ASSERT_TRUE(Await([&] { return Find("cali1") != nullptr; }));
  EXPECT_THAT(Roles(), Not(Contains("cali1:pod")));
  // The namespace of this thread's parent: the one that the test came from.
  ASSERT_THAT(netns_->Ip({absl::StrCat("link set pod0 netns ", ::getppid())}), IsOk());
  EXPECT_TRUE(Await([&] {
    const std::vector<std::string> roles = Roles();
    return std::find(roles.begin(), roles.end(), "cali1:pod") != roles.end();
  }));
  ASSERT_THAT(netns_->Ip({"link del cali1"}), IsOk());
}

TEST_F(NetworkMonitorTest, KindsAndMastersAreRead) {
  ASSERT_THAT(netns_->Ip({"link add br0 type bridge", "link add veth0 type veth peer name veth1",
                          "link set veth0 master br0"}),
              IsOk());
  ASSERT_TRUE(Await([&] { return Find("veth0") != nullptr && Find("veth0")->master != 0; }));
  EXPECT_EQ(Find("br0")->kind, "bridge");
  EXPECT_EQ(Find("veth0")->kind, "veth");
  EXPECT_EQ(Find("veth0")->master, Find("br0")->ifindex);
  EXPECT_FALSE(Find("veth0")->peer_elsewhere);
}

class ListenersOnTheNodeTest : public NodeFixture {};

TEST_F(ListenersOnTheNodeTest, FindsWhatListensAndNothingElse) {
  const auto bound = [](int family, int type, std::uint16_t port) {
    UniqueFd fd(::socket(family, type | SOCK_CLOEXEC, 0));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    const auto* address = family == AF_INET ? reinterpret_cast<const sockaddr*>(&v4)
                                            : reinterpret_cast<const sockaddr*>(&v6);
    const socklen_t length = family == AF_INET ? sizeof(v4) : sizeof(v6);
    EXPECT_EQ(::bind(fd.get(), address, length), 0);
    return fd;
  };
  const UniqueFd tcp4 = bound(AF_INET, SOCK_STREAM, 30080);
  const UniqueFd tcp6 = bound(AF_INET6, SOCK_STREAM, 30081);
  const UniqueFd udp4 = bound(AF_INET, SOCK_DGRAM, 30082);
  const UniqueFd idle = bound(AF_INET, SOCK_STREAM, 30083);  // bound, does not listen
  ASSERT_EQ(::listen(tcp4.get(), 1), 0);
  ASSERT_EQ(::listen(tcp6.get(), 1), 0);
  const IpAddress any4 = IpAddress::Parse("0.0.0.0").value();
  const auto inode = [](const UniqueFd& fd) {
    struct stat found {};
    EXPECT_EQ(::fstat(fd.get(), &found), 0);
    return static_cast<std::uint32_t>(found.st_ino);
  };
  EXPECT_THAT(ReadListeners(), IsOkAndHolds(::testing::UnorderedElementsAre(
                                   Listener{any4, 30080, IPPROTO_TCP, inode(tcp4)},
                                   Listener{IpAddress(), 30081, IPPROTO_TCP, inode(tcp6)},
                                   Listener{any4, 30082, IPPROTO_UDP, inode(udp4)})));
}

TEST_F(NetworkMonitorTest, FollowsWhatDriversSayOfXdp) {
  ASSERT_THAT(netns_->Ip({"link add eth7 type veth peer name far7", "link set eth7 up",
                          "link set far7 up"}),
              IsOk());
  const int eth7 = static_cast<int>(::if_nametoindex("eth7"));
  ASSERT_TRUE(Await([&] { return monitor_->state().links.contains(eth7); }));
  const auto takes = [&] {
    return (monitor_->state().links.at(eth7).xdp_features & kXdpTakesFrames) != 0;
  };
  EXPECT_FALSE(takes());
  bpf_insn pass[2] = {};
  pass[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  pass[0].imm = XDP_PASS;
  pass[1].code = BPF_JMP | BPF_EXIT;
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", pass, std::size(pass), nullptr));
  const int far7 = static_cast<int>(::if_nametoindex("far7"));
  ASSERT_EQ(bpf_xdp_attach(far7, program.get(), XDP_FLAGS_DRV_MODE, nullptr), 0);
  EXPECT_TRUE(Await(takes));
  // What else is read keeps it.
  ASSERT_THAT(netns_->Ip({"addr add 192.0.2.77/24 dev eth7"}), IsOk());
  EXPECT_TRUE(Await([&] {
    return std::any_of(monitor_->state().addresses.begin(), monitor_->state().addresses.end(),
                       [&](const LinkAddress& held) { return held.ifindex == eth7; });
  }));
  EXPECT_TRUE(takes());
  ASSERT_EQ(bpf_xdp_detach(far7, XDP_FLAGS_DRV_MODE, nullptr), 0);
  EXPECT_TRUE(Await([&] { return !takes(); }));
}

}  // namespace
}  // namespace sluice::testing
