// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_addresses.h"

#include "absl/strings/str_cat.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpAddress Ip(const char* text) { return IpAddress::Parse(text).value(); }
IpPrefix Cidr(const char* text) { return IpPrefix::Parse(text).value(); }

constexpr int kEth0 = 2;
constexpr int kEth1 = 3;
constexpr int kPod = 4;

// eth0 has the default routes, eth1 another network, cali1 leads to a pod.
class NodeAddressesTest : public ::testing::Test {
 protected:
  NodeAddressesTest() {
    Add(kEth0, "192.0.2.1");
    Add(kEth0, "192.0.2.2");
    Add(kEth0, "2001:db8::1");
    Add(kEth1, "198.51.100.1");
    Add(kPod, "10.244.1.1");
    network_.default_routes = {{kEth0, true, 100, {}}, {kEth0, false, 100, {}}};
    for (const auto& [ifindex, role] :
         {std::pair{kEth0, Role::kUplink}, {kEth1, Role::kUplink}, {kPod, Role::kPod}}) {
      Interface interface;
      interface.link.ifindex = ifindex;
      interface.role = role;
      interfaces_.push_back(interface);
    }
  }

  void Add(int ifindex, const char* address, bool global = true, bool preferred = true) {
    network_.addresses.push_back({ifindex, Ip(address), global, preferred});
  }

  NodeAddresses Find(const AddressFlags& flags = {},
                     const std::vector<IpAddress>& object_addresses = {}) {
    return FindNodeAddresses(network_, interfaces_, flags, object_addresses);
  }

  static AddressFlags NodePorts(const char* text) {
    AddressFlags flags;
    flags.node_port = ParseNodePortFlag(text).value();
    return flags;
  }

  NetworkState network_;
  std::vector<Interface> interfaces_;
};

TEST_F(NodeAddressesTest, WithoutFlagAndNodeObjectThePrimaryOfEachFamilyServes) {
  const NodeAddresses found = Find();
  EXPECT_THAT(found.node_ports, ElementsAre(Ip("192.0.2.1"), Ip("2001:db8::1")));
  EXPECT_EQ(found.source[abi::SL_FAMILY_V4], Ip("192.0.2.1"));
  EXPECT_EQ(found.source[abi::SL_FAMILY_V6], Ip("2001:db8::1"));
}

TEST_F(NodeAddressesTest, TheNodeObjectsAddressesServeInstead) {
  const NodeAddresses found = Find({}, {Ip("198.51.100.1"), Ip("192.0.2.2")});
  EXPECT_THAT(found.node_ports,
              ElementsAre(Ip("192.0.2.2"), Ip("198.51.100.1"), Ip("2001:db8::1")));
  EXPECT_EQ(found.source[abi::SL_FAMILY_V4], Ip("198.51.100.1"));
}

TEST_F(NodeAddressesTest, AnAddressOfTheNodeObjectThatNobodyHoldsIsPassedOver) {
  const NodeAddresses found = Find({}, {Ip("203.0.113.7")});
  EXPECT_THAT(found.node_ports, ElementsAre(Ip("192.0.2.1"), Ip("2001:db8::1")));
}

TEST_F(NodeAddressesTest, PrimaryIsOneOfEachFamily) {
  const NodeAddresses found = Find(NodePorts("primary"), {Ip("198.51.100.1"), Ip("192.0.2.2")});
  EXPECT_THAT(found.node_ports, ElementsAre(Ip("198.51.100.1"), Ip("2001:db8::1")));
}

TEST_F(NodeAddressesTest, CidrsOfOneFamilyLeaveTheOtherUnrestricted) {
  Add(kEth1, "2001:db8:1::1");
  EXPECT_THAT(Find(NodePorts("198.51.100.0/24")).node_ports,
              ElementsAre(Ip("198.51.100.1"), Ip("2001:db8::1"), Ip("2001:db8:1::1")));
  EXPECT_THAT(
      Find(NodePorts("0.0.0.0/0,2001:db8:1::/48")).node_ports,
      ElementsAre(Ip("192.0.2.1"), Ip("192.0.2.2"), Ip("198.51.100.1"), Ip("2001:db8:1::1")));
}

TEST_F(NodeAddressesTest, PodsGatewaysAndAddressesOfTheClusterNeverServe) {
  AddressFlags flags = NodePorts("0.0.0.0/0,::/0");
  EXPECT_THAT(Find(flags).node_ports, ::testing::Not(::testing::Contains(Ip("10.244.1.1"))));
  flags.cluster_cidrs = {Cidr("198.51.100.0/24")};
  EXPECT_THAT(Find(flags).node_ports,
              ElementsAre(Ip("192.0.2.1"), Ip("192.0.2.2"), Ip("2001:db8::1")));
}

TEST_F(NodeAddressesTest, LinkLocalAndLoopbackNeverServe) {
  network_.addresses.clear();
  Add(kEth0, "fe80::1", /*global=*/false);
  Add(kEth0, "127.0.0.2");
  EXPECT_THAT(Find(NodePorts("0.0.0.0/0,::/0")).node_ports, IsEmpty());
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V4], std::nullopt);
}

TEST_F(NodeAddressesTest, TheSourceIsThatOfTheBestDefaultRoute) {
  network_.default_routes.push_back({kEth1, true, 10, {}});
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V4], Ip("198.51.100.1"));
  network_.default_routes.push_back({kEth0, true, 5, Ip("192.0.2.2")});
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V4], Ip("192.0.2.2"));
}

TEST_F(NodeAddressesTest, WithoutADefaultRouteTheFirstUplinkGivesTheSource) {
  network_.default_routes.clear();
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V4], Ip("192.0.2.1"));
}

TEST_F(NodeAddressesTest, TemporaryAddressesAreTakenOnlyWithoutOthers) {
  network_.addresses.clear();
  Add(kEth0, "2001:db8::dead", true, /*preferred=*/false);
  Add(kEth0, "2001:db8::1");
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V6], Ip("2001:db8::1"));
  network_.addresses.pop_back();
  EXPECT_EQ(Find().source[abi::SL_FAMILY_V6], Ip("2001:db8::dead"));
}

TEST_F(NodeAddressesTest, SnatTakesTheMainAddressesUnlessToldOthers) {
  EXPECT_THAT(Find().snat, ElementsAre(Ip("192.0.2.1"), Ip("2001:db8::1")));
  AddressFlags flags;
  flags.snat = ParseCidrs("198.51.100.0/24").value();
  const NodeAddresses found = Find(flags);
  EXPECT_THAT(found.snat, ElementsAre(Ip("198.51.100.1"), Ip("2001:db8::1")));
  EXPECT_EQ(found.source[abi::SL_FAMILY_V4], Ip("192.0.2.1")) << "still the main one";
  EXPECT_THAT(found.snat_problems, IsEmpty());
}

TEST_F(NodeAddressesTest, SnatIsNotLeftWithoutASourceByARangeThatNothingIsIn) {
  AddressFlags flags;
  flags.snat = ParseCidrs("203.0.113.0/24").value();
  EXPECT_EQ(Find(flags).snat, Find().snat);
  EXPECT_THAT(Find(flags).snat_problems, ElementsAre(HasSubstr("203.0.113.0/24")));
}

TEST_F(NodeAddressesTest, SnatTakesNoAddressThatNoUplinkHolds) {
  AddressFlags flags;
  Add(kPod, "198.51.100.9");
  flags.snat = ParseCidrs("198.51.100.9/32").value();
  EXPECT_EQ(Find(flags).snat, Find().snat);
}

TEST_F(NodeAddressesTest, SnatTakesTheMainAddressFirstAndThoseOfItsInterfaceAlone) {
  Add(kEth0, "192.0.2.0");
  AddressFlags flags;
  flags.snat = ParseCidrs("192.0.2.0/24,198.51.100.0/24").value();
  const NodeAddresses found = Find(flags, {Ip("192.0.2.2")});
  EXPECT_THAT(found.snat,
              ElementsAre(Ip("192.0.2.2"), Ip("192.0.2.1"), Ip("192.0.2.0"), Ip("2001:db8::1")));
  EXPECT_THAT(found.snat_problems, ElementsAre(HasSubstr("198.51.100.1 is on another interface")));
}

// One that is a virtual IP, another node's tomorrow, is deprecated on purpose.
TEST_F(NodeAddressesTest, SnatTakesAddressesThatAreNoSourcesOnlyWithoutOthers) {
  Add(kEth0, "2001:db8::dead", true, /*preferred=*/false);
  AddressFlags flags;
  flags.snat = ParseCidrs("2001:db8::/64").value();
  EXPECT_THAT(Find(flags).snat, ElementsAre(Ip("192.0.2.1"), Ip("2001:db8::1")));
  flags.snat = ParseCidrs("2001:db8::dead/128").value();
  EXPECT_THAT(Find(flags).snat, ElementsAre(Ip("192.0.2.1"), Ip("2001:db8::dead")));
}

TEST_F(NodeAddressesTest, SnatSaysWhichAddressesAreTooMany) {
  AddressFlags flags;
  flags.snat = ParseCidrs("203.0.113.0/24").value();
  for (int i = 1; i <= abi::SL_SNAT_ADDRESSES + 1; ++i) {
    Add(kEth0, absl::StrCat("203.0.113.", i).c_str());
  }
  const NodeAddresses found = Find(flags);
  EXPECT_EQ(found.snat.size(), abi::SL_SNAT_ADDRESSES + 1u);  // and the main one of IPv6
  EXPECT_THAT(found.snat_problems, ElementsAre(HasSubstr("203.0.113.9 ")));
}

TEST(NamesAnotherMachineTest, NoneOfTheObjectsAddressesIsHeldHere) {
  const std::set<IpAddress> local = {Ip("127.0.0.1"), Ip("192.0.2.10")};
  EXPECT_TRUE(NamesAnotherMachine({Ip("192.0.2.11"), Ip("2001:db8::11")}, local));
  EXPECT_FALSE(NamesAnotherMachine({Ip("192.0.2.11"), Ip("192.0.2.10")}, local));
  EXPECT_FALSE(NamesAnotherMachine({}, local));
  EXPECT_FALSE(NamesAnotherMachine({Ip("192.0.2.11")}, {}));
}

TEST(NodePortFlagTest, IsPrimaryOrCidrs) {
  EXPECT_TRUE(ParseNodePortFlag(" primary ")->primary);
  EXPECT_THAT(ParseNodePortFlag("192.0.2.0/24, 2001:db8::/32")->cidrs,
              ElementsAre(Cidr("192.0.2.0/24"), Cidr("2001:db8::/32")));
  EXPECT_THAT(ParseNodePortFlag("")->cidrs, IsEmpty());
  EXPECT_THAT(ParseNodePortFlag("192.0.2.0/24,primary"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("primary")));
}

}  // namespace
}  // namespace sluice::testing
