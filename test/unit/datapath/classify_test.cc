// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/classify.h"

#include <net/if.h>
#include <net/if_arp.h>

#include "gmock/gmock.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpAddress Ip(const char* text) { return IpAddress::Parse(text).value(); }

// A node's network, one interface after the other.
class NetworkBuilder {
 public:
  NetworkBuilder& Device(const std::string& name, const std::string& kind = "") {
    Link& link = network_.links[++last_];
    link.ifindex = last_;
    link.name = name;
    link.kind = kind;
    link.type = ARPHRD_ETHER;
    link.flags = IFF_UP;
    return *this;
  }
  NetworkBuilder& PeerElsewhere() {
    network_.links[last_].peer_elsewhere = true;
    return *this;
  }
  NetworkBuilder& Type(std::uint16_t type) {
    network_.links[last_].type = type;
    return *this;
  }
  NetworkBuilder& Loopback() {
    network_.links[last_].flags |= IFF_LOOPBACK;
    return *this;
  }
  NetworkBuilder& In(const std::string& master) {
    for (const auto& [ifindex, link] : network_.links) {
      if (link.name == master) network_.links[last_].master = ifindex;
    }
    return *this;
  }
  NetworkBuilder& Address(const char* text) {
    network_.addresses.push_back({last_, Ip(text), true, true});
    return *this;
  }
  NetworkBuilder& DefaultRoute() {
    network_.default_routes.push_back({last_, true, 0, {}});
    return *this;
  }

  // "name:role" of those that have one.
  std::vector<std::string> Roles(const InterfaceFlags& flags = {},
                                 const std::set<IpAddress>& node_addresses = {}) const {
    std::vector<std::string> roles;
    for (const Interface& interface : Classify(network_, flags, node_addresses)) {
      roles.push_back(interface.link.name + ":" + std::string(RoleName(interface.role)));
    }
    return roles;
  }
  const NetworkState& network() const { return network_; }

 private:
  NetworkState network_;
  int last_ = 0;
};

TEST(ClassifyTest, AnEthernetDeviceWithTheDefaultRouteIsAnUplink) {
  NetworkBuilder node;
  node.Device("eth0").Address("192.0.2.1").DefaultRoute();
  EXPECT_THAT(node.Roles(), ElementsAre("eth0:uplink"));
}

TEST(ClassifyTest, AnEthernetDeviceWithAnAddressAloneIsAnUplink) {
  NetworkBuilder node;
  node.Device("eth1").Address("198.51.100.1");
  EXPECT_THAT(node.Roles(), ElementsAre("eth1:uplink"));
}

TEST(ClassifyTest, ADeviceWithoutAddressAndRouteIsNone) {
  NetworkBuilder node;
  node.Device("eth1");
  EXPECT_THAT(node.Roles(), IsEmpty());
}

TEST(ClassifyTest, LoopbackIsNoneWhateverItHolds) {
  NetworkBuilder node;
  node.Device("lo").Loopback().Address("192.0.2.53").DefaultRoute();
  EXPECT_THAT(node.Roles(), IsEmpty());
}

TEST(ClassifyTest, AVethWithItsPeerElsewhereIsAPods) {
  NetworkBuilder node;
  node.Device("veth1", "veth").PeerElsewhere();
  node.Device("nk1", "netkit").PeerElsewhere();
  EXPECT_THAT(node.Roles(), ElementsAre("veth1:pod", "nk1:pod"));
}

TEST(ClassifyTest, AVethWithItsPeerHereIsNone) {
  NetworkBuilder node;
  node.Device("veth1", "veth");
  EXPECT_THAT(node.Roles(), IsEmpty());
}

TEST(ClassifyTest, APodsVethThatHoldsAGatewayAddressStaysAPods) {
  NetworkBuilder node;
  node.Device("veth1", "veth").PeerElsewhere().Address("10.244.1.1");
  EXPECT_THAT(node.Roles(), ElementsAre("veth1:pod"));
}

TEST(ClassifyTest, TheUplinkOfANodeThatIsAContainerIsAVeth) {
  NetworkBuilder node;
  node.Device("eth0", "veth").PeerElsewhere().Address("192.0.2.1").DefaultRoute();
  EXPECT_THAT(node.Roles(), ElementsAre("eth0:uplink"));
}

TEST(ClassifyTest, AVethThatHoldsAnAddressOfTheNodeObjectIsAnUplink) {
  NetworkBuilder node;
  node.Device("eth0", "veth").PeerElsewhere().Address("192.0.2.1");
  EXPECT_THAT(node.Roles({}, {Ip("192.0.2.1")}), ElementsAre("eth0:uplink"));
}

TEST(ClassifyTest, ABridgeOfPodsIsNoneAndItsPortsArePods) {
  NetworkBuilder node;
  node.Device("cni0", "bridge").Address("10.244.1.1");
  node.Device("veth1", "veth").PeerElsewhere().In("cni0");
  EXPECT_THAT(node.Roles(), ElementsAre("veth1:pod"));
}

TEST(ClassifyTest, ABridgeWithoutPortsYetIsNoneToo) {
  NetworkBuilder node;
  node.Device("docker0", "bridge").Address("172.17.0.1");
  EXPECT_THAT(node.Roles(), IsEmpty());
}

TEST(ClassifyTest, ABridgeWithTheDefaultRouteIsTheUplinkAndItsPortIsNot) {
  NetworkBuilder node;
  node.Device("br0", "bridge").Address("192.0.2.1").DefaultRoute();
  node.Device("eth0").In("br0");
  EXPECT_THAT(node.Roles(), ElementsAre("br0:uplink"));
}

TEST(ClassifyTest, OfABondTheBondCounts) {
  NetworkBuilder node;
  node.Device("bond0", "bond").Address("192.0.2.1").DefaultRoute();
  node.Device("eth0").In("bond0").Address("192.0.2.9");
  EXPECT_THAT(node.Roles(), ElementsAre("bond0:uplink"));
}

TEST(ClassifyTest, AMemberOfAVrfIsItself) {
  NetworkBuilder node;
  node.Device("blue", "vrf");
  node.Device("eth0").In("blue").Address("192.0.2.1");
  EXPECT_THAT(node.Roles(), ElementsAre("eth0:uplink"));
}

TEST(ClassifyTest, AVlanIsAnUplinkBesideItsDevice) {
  NetworkBuilder node;
  node.Device("eth0").Address("192.0.2.1").DefaultRoute();
  node.Device("eth0.100", "vlan").Address("198.51.100.1");
  EXPECT_THAT(node.Roles(), ElementsAre("eth0:uplink", "eth0.100:uplink"));
}

TEST(ClassifyTest, OverlaysAreUplinksWithoutAnyAddress) {
  for (const char* kind : {"vxlan", "geneve", "gretap"}) {
    NetworkBuilder node;
    node.Device("overlay0", kind);
    EXPECT_THAT(node.Roles(), ElementsAre("overlay0:uplink")) << kind;
  }
}

TEST(ClassifyTest, DevicesThatAreNotEthernetAreReported) {
  NetworkBuilder node;
  node.Device("wg0", "wireguard").Type(ARPHRD_NONE).Address("192.0.2.1");
  const auto found = Classify(node.network(), {}, {});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].role, Role::kUplink);
  EXPECT_THAT(found[0].unsupported, HasSubstr("not an Ethernet device"));
}

TEST(ClassifyTest, ADummyWithAServiceAddressIsNone) {
  NetworkBuilder node;
  node.Device("kube-ipvs0", "dummy").Address("10.96.0.10");
  EXPECT_THAT(node.Roles(), IsEmpty());
}

TEST(ClassifyTest, AddressesOfTheClusterMakeNoUplink) {
  NetworkBuilder node;
  node.Device("gw0").Address("10.244.1.1");
  InterfaceFlags flags;
  flags.cluster_cidrs = {IpPrefix::Parse("10.244.0.0/16").value()};
  EXPECT_THAT(node.Roles(), ElementsAre("gw0:uplink"));
  EXPECT_THAT(node.Roles(flags), IsEmpty());
}

TEST(ClassifyTest, PatternsReplaceWhatWouldBeFoundForTheirRoleOnly) {
  NetworkBuilder node;
  node.Device("eth0").Address("192.0.2.1").DefaultRoute();
  node.Device("eth1");
  node.Device("veth1", "veth").PeerElsewhere();
  InterfaceFlags flags;
  flags.uplinks = {"eth1", "bond*"};
  EXPECT_THAT(node.Roles(flags), ElementsAre("eth1:uplink", "veth1:pod"));
  flags.uplinks.clear();
  flags.pod_interfaces = {"cali*"};
  EXPECT_THAT(node.Roles(flags), ElementsAre("eth0:uplink"));
}

TEST(ClassifyTest, ANameInBothPatternsIsAPods) {
  NetworkBuilder node;
  node.Device("eth0").Address("192.0.2.1").DefaultRoute();
  InterfaceFlags flags;
  flags.uplinks = {"*"};
  flags.pod_interfaces = {"eth?"};
  EXPECT_THAT(node.Roles(flags), ElementsAre("eth0:pod"));
}

TEST(ClassifyTest, PatternListsAreSplitAndTrimmed) {
  EXPECT_THAT(SplitPatterns("cali*, veth*,,eth0 "), ElementsAre("cali*", "veth*", "eth0"));
  EXPECT_THAT(SplitPatterns(""), IsEmpty());
}

}  // namespace
}  // namespace sluice
