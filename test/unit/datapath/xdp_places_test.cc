// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_places.h"

#include <net/if_arp.h>

#include "gmock/gmock.h"

#include "control/datapath/xdp_features.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr std::array<std::uint8_t, 6> kMac = {2, 0, 0, 0, 0, 5};
constexpr std::array<std::uint8_t, 6> kVlanMac = {2, 0, 0, 0, 0, 6};

Link Device(int ifindex, const std::string& name, std::uint64_t features = 0) {
  Link link;
  link.ifindex = ifindex;
  link.name = name;
  link.type = ARPHRD_ETHER;
  link.mac = kMac;
  link.xdp_features = features;
  return link;
}

Link Vlan(int ifindex, const std::string& name, int lower, std::uint16_t id) {
  Link link = Device(ifindex, name);
  link.kind = "vlan";
  link.mac = kVlanMac;
  link.lower = lower;
  link.vlan = id;
  return link;
}

Interface Uplink(const Link& link) { return {link, Role::kUplink, ""}; }

std::vector<XdpPlace> Places(const std::vector<Interface>& interfaces,
                             const std::vector<Link>& links, XdpMode mode = XdpMode::kNative) {
  std::map<int, Link> all;
  for (const Link& link : links) all[link.ifindex] = link;
  return FindXdpPlaces(interfaces, all, mode);
}

TEST(FindXdpPlacesTest, EachEthernetUplinkIsItsOwnDevice) {
  const Link eth0 = Device(3, "eth0");
  Interface other = Uplink(Device(4, "wg0"));
  other.unsupported = "not an Ethernet device";
  const Interface pod{Device(5, "veth1"), Role::kPod, ""};
  EXPECT_THAT(Places({Uplink(eth0), other, pod}, {eth0, other.link, pod.link}),
              ElementsAre(XdpPlace{eth0, eth0, 0}));
}

TEST(FindXdpPlacesTest, AVlanIsSeenByItsDevice) {
  const Link eth0 = Device(3, "eth0");
  const Link vlan = Vlan(4, "eth0.5", 3, 5);
  EXPECT_THAT(Places({Uplink(eth0), Uplink(vlan)}, {eth0, vlan}),
              ElementsAre(XdpPlace{eth0, eth0, 0}, XdpPlace{vlan, eth0, 5}));
  EXPECT_THAT(Places({Uplink(vlan)}, {eth0, vlan}), ElementsAre(XdpPlace{vlan, eth0, 5}));
}

// Its frames come in the names of its ports.
TEST(FindXdpPlacesTest, ABondAndItsVlansHaveNoPlaceByTheDriver) {
  Link bond = Device(3, "bond0");
  bond.kind = "bond";
  const Link vlan = Vlan(4, "bond0.5", 3, 5);
  EXPECT_THAT(Places({Uplink(bond)}, {bond}), IsEmpty());
  EXPECT_THAT(Places({Uplink(vlan)}, {bond, vlan}), ElementsAre(XdpPlace{vlan, vlan, 0}));
  EXPECT_THAT(Places({Uplink(bond)}, {bond}, XdpMode::kGeneric),
              ElementsAre(XdpPlace{bond, bond, 0}));
}

TEST(FindXdpPlacesTest, AVlanWhoseDeviceIsNotToBeHadIsItsOwn) {
  const Link eth0 = Device(3, "eth0");
  const Link vlan = Vlan(4, "eth0.5", 3, 5);
  const Link inner = Vlan(5, "eth0.5.7", 4, 7);
  Link moved = vlan;  // its device stayed in another network namespace
  moved.peer_elsewhere = true;
  Link provider = vlan;  // 802.1ad
  provider.vlan = 0;
  for (const Link& link : {inner, moved, provider}) {
    EXPECT_THAT(Places({Uplink(link)}, {eth0, vlan, link}), ElementsAre(XdpPlace{link, link, 0}));
  }
  EXPECT_THAT(Places({Uplink(vlan)}, {vlan}), ElementsAre(XdpPlace{vlan, vlan, 0}));
  EXPECT_THAT(Places({Uplink(vlan)}, {eth0, vlan}, XdpMode::kGeneric),
              ElementsAre(XdpPlace{vlan, vlan, 0}));
}

abi::uplink Row(std::uint32_t ifindex, const std::array<std::uint8_t, 6>& mac) {
  abi::uplink row{};
  row.ifindex = ifindex;
  std::copy(mac.begin(), mac.end(), row.mac);
  return row;
}

TEST(MakeXdpRowsTest, FramesAreKnownByDeviceAndTagAndLeaveThatWay) {
  const Link eth0 = Device(3, "eth0");
  const Link vlan = Vlan(4, "eth0.5", 3, 5);
  const XdpRows rows = MakeXdpRows({{eth0, eth0, 0}, {vlan, eth0, 5}}, {3}, XdpMode::kNative);
  EXPECT_THAT(rows.uplinks, UnorderedElementsAre(Pair(abi::uplink_key{3, 0}, Row(3, kMac)),
                                                 Pair(abi::uplink_key{3, 5}, Row(4, kVlanMac))));
  EXPECT_THAT(rows.ways, UnorderedElementsAre(Pair(3, abi::uplink_way{3, 0, 0}),
                                              Pair(4, abi::uplink_way{3, 5, 0})));
  EXPECT_THAT(rows.ports, IsEmpty());
}

TEST(MakeXdpRowsTest, APortIsWhatSaysThatItTakesFrames) {
  const Link some = Device(3, "eth0", kXdpTakesFrames);
  const Link all = Device(4, "eth1", kXdpTakesFrames | kXdpTakesFramesInBuffers);
  const Link none = Device(5, "eth2", kXdpTakesFramesInBuffers);
  // Also without the program, which takes what comes in.
  const XdpRows rows =
      MakeXdpRows({{some, some, 0}, {all, all, 0}, {none, none, 0}}, {3}, XdpMode::kNative);
  constexpr __u16 kBoth = abi::SL_WAY_TAKES_FRAMES | abi::SL_WAY_TAKES_BUFFERS;
  EXPECT_THAT(rows.ways,
              UnorderedElementsAre(Pair(3, abi::uplink_way{3, 0, abi::SL_WAY_TAKES_FRAMES}),
                                   Pair(4, abi::uplink_way{4, 0, kBoth})));
  EXPECT_THAT(rows.ports, ElementsAre(3, 4));
  EXPECT_THAT(rows.uplinks, ElementsAre(Pair(abi::uplink_key{3, 0}, Row(3, kMac))));
}

TEST(MakeXdpRowsTest, TheStackTakesAll) {
  const Link link = Device(3, "eth0");
  const XdpRows rows = MakeXdpRows({{link, link, 0}}, {3}, XdpMode::kGeneric);
  constexpr __u16 kBoth = abi::SL_WAY_TAKES_FRAMES | abi::SL_WAY_TAKES_BUFFERS;
  EXPECT_THAT(rows.ways, ElementsAre(Pair(3, abi::uplink_way{3, 0, kBoth})));
  EXPECT_THAT(rows.ports, ElementsAre(3));
}

}  // namespace
}  // namespace sluice
