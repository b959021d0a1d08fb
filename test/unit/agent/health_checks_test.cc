// SPDX-License-Identifier: Apache-2.0
#include "control/agent/health_checks.h"

#include <netinet/in.h>

#include "gmock/gmock.h"

#include "control/agent/snapshot.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

DesiredBackend Backend(const char* address, bool local, BackendState state = BackendState::kReady) {
  DesiredBackend backend;
  backend.address = {IpAddress::Parse(address).value(), 8080, IPPROTO_TCP};
  backend.local = local;
  backend.state = state;
  backend.in_cluster_set = state == BackendState::kReady;
  backend.in_local_set = local && state == BackendState::kReady;
  return backend;
}

std::map<ServicePortName, DesiredService> Services(
    std::map<std::string, std::vector<DesiredBackend>> by_port) {
  std::map<ServicePortName, DesiredService> services;
  for (auto& [port, backends] : by_port) {
    DesiredService& service = services[{"default", "web", port, IPPROTO_TCP}];
    service.backends = std::move(backends);
    service.external_local = true;
  }
  return services;
}

constexpr HealthCheckedService kDual{.port = 30100, .has_v4 = true, .has_v6 = true, .epoch = 0};

TEST(CountHealthChecksTest, CountsDistinctReadyAddressesOfThisNode) {
  const auto services = Services(
      {{"http", {Backend("10.0.0.1", true), Backend("10.0.0.2", false), Backend("fd00::1", true)}},
       {"https",
        {Backend("10.0.0.1", true), Backend("10.0.0.3", true, BackendState::kTerminating),
         Backend("10.0.0.4", true, BackendState::kNotReady), Backend("10.0.0.5", true)}}});
  const LocalEndpoints local{.has_v4 = true, .has_v6 = true, .v4 = 2, .v6 = 1};
  EXPECT_THAT(CountHealthChecks({{{"default", "web"}, kDual}}, services),
              ElementsAre(Pair(ObjectName{"default", "web"}, ServiceHealth{30100, local})));
}

TEST(CountHealthChecksTest, AServiceThatIsNotServedHasNoPort) {
  const auto services = Services({{"http", {Backend("10.0.0.1", true)}}});
  EXPECT_THAT(
      CountHealthChecks({{{"default", "we"}, kDual}, {{"default", "web2"}, kDual}}, services),
      IsEmpty());
}

TEST(CountNoLocalEndpointsTest, CountsServicesAndNotPorts) {
  auto services = Services({{"http", {Backend("10.0.0.1", false), Backend("fd00::1", true)}},
                            {"https", {Backend("10.0.0.1", false)}}});
  NoLocalEndpoints counts = CountNoLocalEndpoints(services);
  EXPECT_THAT(counts.external, ElementsAre(1u, 0u));
  EXPECT_THAT(counts.internal, ElementsAre(0u, 0u));
  for (auto& [name, service] : services) {
    service.external_local = false;
    service.internal_local = true;
  }
  counts = CountNoLocalEndpoints(services);
  EXPECT_THAT(counts.external, ElementsAre(0u, 0u));
  EXPECT_THAT(counts.internal, ElementsAre(1u, 0u));
}

TEST(CountNoLocalEndpointsTest, WithoutAnyEndpointsAServiceDoesNotCount) {
  const auto services = Services({{"http", {Backend("10.0.0.1", false, BackendState::kNotReady)}}});
  EXPECT_THAT(CountNoLocalEndpoints(services).external, ElementsAre(0u, 0u));
}

}  // namespace
}  // namespace sluice
