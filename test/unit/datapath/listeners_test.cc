// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/listeners.h"

#include <netinet/in.h>

#include "gmock/gmock.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

IpAddress Ip(const char* text) { return IpAddress::Parse(text).value(); }

const IpAddress kAnyV4 = IpAddress::Parse("0.0.0.0").value_or(IpAddress());

std::map<ServicePortName, DesiredService> NodePort(const char* address, std::uint16_t port,
                                                   std::uint32_t protocol) {
  DesiredService service;
  service.name = {"default", "web", "", protocol};
  service.frontends = {{Ip("10.96.0.10"), 80, protocol, abi::SL_FRONTEND_CLUSTER_IP},
                       {Ip(address), port, protocol, abi::SL_FRONTEND_NODE_PORT}};
  return {{service.name, service}};
}

TEST(FindShadowedTest, AListenerOnTheAddressOrOnAllIsHidden) {
  const auto services = NodePort("192.0.2.1", 30080, IPPROTO_TCP);
  const ShadowedPort hidden{30080, IPPROTO_TCP, "default/web"};
  EXPECT_THAT(FindShadowed(services, {{Ip("192.0.2.1"), 30080, IPPROTO_TCP}}), ElementsAre(hidden));
  EXPECT_THAT(FindShadowed(services, {{kAnyV4, 30080, IPPROTO_TCP}}), ElementsAre(hidden));
  // A socket of IPv6 on all addresses takes IPv4 too.
  EXPECT_THAT(FindShadowed(services, {{IpAddress(), 30080, IPPROTO_TCP}}), ElementsAre(hidden));
}

TEST(FindShadowedTest, AnotherPortProtocolAddressOrFamilyIsNot) {
  const auto services = NodePort("192.0.2.1", 30080, IPPROTO_TCP);
  EXPECT_THAT(FindShadowed(services, {{kAnyV4, 30081, IPPROTO_TCP},
                                      {kAnyV4, 30080, IPPROTO_UDP},
                                      {Ip("127.0.0.1"), 30080, IPPROTO_TCP}}),
              IsEmpty());
  EXPECT_THAT(
      FindShadowed(NodePort("2001:db8::1", 30080, IPPROTO_TCP), {{kAnyV4, 30080, IPPROTO_TCP}}),
      IsEmpty());
}

TEST(FindShadowedTest, AClusterIpHidesNothing) {
  EXPECT_THAT(FindShadowed(NodePort("192.0.2.1", 30080, IPPROTO_TCP), {{kAnyV4, 80, IPPROTO_TCP}}),
              IsEmpty());
}

TEST(RefusedNodePortsTest, AreThoseThatANodeNeedsAndSomebodyListensOn) {
  EXPECT_THAT(RefusedNodePorts({{kAnyV4, 22, IPPROTO_TCP},
                                {kAnyV4, 30080, IPPROTO_TCP},
                                {kAnyV4, 10250, IPPROTO_TCP},
                                {kAnyV4, 2379, IPPROTO_UDP}}),
              ElementsAre(std::pair(static_cast<std::uint32_t>(IPPROTO_TCP), std::uint16_t{22}),
                          std::pair(static_cast<std::uint32_t>(IPPROTO_TCP), std::uint16_t{10250}),
                          std::pair(static_cast<std::uint32_t>(IPPROTO_UDP), std::uint16_t{2379})));
}

}  // namespace
}  // namespace sluice
