// SPDX-License-Identifier: Apache-2.0
// Manifests with words and fields that this version of Kubernetes does not have: their objects
// stand.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/source/manifest.h"

namespace sluice {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kService[] = R"(apiVersion: v1
kind: Service
metadata: {name: web}
)";
constexpr char kSlice[] = R"(apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
)";

ManifestPart Read(const std::string& text) { return ParseManifest({text, 1}); }

// control/desired says which default is in force; nothing else of the object may be lost.
TEST(UnknownWordsTest, DoNotSpoilTheObject) {
  const ManifestPart part = Read(std::string(kService) + R"(spec:
  type: Mesh
  externalTrafficPolicy: Topology
  internalTrafficPolicy: Zone
  sessionAffinity: Cookie
  trafficDistribution: PreferMoon
  ports: [{port: 80, protocol: QUIC}]
status: {loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: Tomorrow}]}}
)");
  EXPECT_THAT(part.problems, IsEmpty());
  ASSERT_THAT(part.objects, SizeIs(1));
  const auto service = std::get<model::Service>(Unpack(part.objects[0]));
  EXPECT_EQ(service.spec().type(), "Mesh");
  EXPECT_EQ(service.spec().ports(0).protocol(), "QUIC");
  EXPECT_EQ(service.status().load_balancer().ingress(0).ip_mode(), "Tomorrow");
  const ManifestPart slice =
      Read(std::string(kSlice) + "addressType: MAC\nports: [{port: 80, protocol: QUIC}]");
  EXPECT_THAT(slice.problems, IsEmpty());
  EXPECT_THAT(slice.objects, SizeIs(1));
}

TEST(UnknownFieldsTest, OfAServiceAreRemarkedOnOnce) {
  const ManifestPart part = Read(std::string(kService) + R"(spec:
  externalTrafficPolcy: Local
  ports:
  - {name: a, port: 80, prt: 1}
  - {name: b, port: 81, prt: 1}
)");
  ASSERT_THAT(part.problems, SizeIs(2));
  EXPECT_EQ(part.problems[0].object, "Service default/web");
  EXPECT_EQ(part.problems[0].line, 5u);
  EXPECT_EQ(part.problems[0].message, "spec.externalTrafficPolcy: unknown field; it is ignored");
  EXPECT_EQ(part.problems[1].message, "spec.ports[0].prt: unknown field; it is ignored");
  EXPECT_THAT(part.objects, SizeIs(1));
}

TEST(UnknownFieldsTest, OfASliceAreRemarkedOnOnceAndThoseNotUsedAreNot) {
  const ManifestPart part = Read(std::string(kSlice) + R"(addressType: IPv6
endpoints:
- {addresses: ['2001:db8::1'], hostname: a, targetRef: {kind: Pod}, conditions: {draining: true}}
- {addresses: ['2001:db8::2'], conditions: {draining: true}}
)");
  ASSERT_THAT(part.problems, SizeIs(1));
  EXPECT_EQ(part.problems[0].message,
            "endpoints[0].conditions.draining: unknown field; it is ignored");
  EXPECT_THAT(part.objects, SizeIs(1));
}

}  // namespace
}  // namespace sluice
