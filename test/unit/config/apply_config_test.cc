// SPDX-License-Identifier: Apache-2.0
#include "control/config/apply_config.h"

#include "control/base/status_macros.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ApplyConfigTest : public ::testing::Test {
 protected:
  absl::Status Apply(const std::string& fields) {
    ASSIGN_OR_RETURN(const KubeProxyConfig config,
                     KubeProxyConfig::Parse("apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
                                            "kind: KubeProxyConfiguration\n" +
                                                fields,
                                            "c.yaml"));
    return ApplyConfig(config, options_);
  }

  AgentOptions options_;
};

TEST_F(ApplyConfigTest, NothingSaidChangesNothing) {
  const AgentOptions before;
  ASSERT_THAT(Apply(""), IsOk());
  EXPECT_EQ(options_.healthz_address, before.healthz_address);
  EXPECT_EQ(options_.metrics_address, before.metrics_address);
  EXPECT_EQ(options_.timeouts.tcp_established, before.timeouts.tcp_established);
  EXPECT_FALSE(options_.kube.has_value());
}

TEST_F(ApplyConfigTest, EachFieldThatIsUsedIsFollowed) {
  options_.kube.emplace();
  ASSERT_THAT(Apply(R"(
hostnameOverride: n1
healthzBindAddress: 192.0.2.1:1
metricsBindAddress: 192.0.2.1:2
bindAddressHardFail: true
clusterCIDR: 10.244.0.0/16,fd00:10:244::/48
nodePortAddresses: [192.0.2.0/24]
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: cali}
conntrack: {tcpEstablishedTimeout: 24h0m0s, udpStreamTimeout: 2m0s}
clientConnection: {kubeconfig: /k, contentType: application/json, qps: 50, burst: 100}
)"),
              IsOk());
  EXPECT_EQ(options_.node_name, "n1");
  EXPECT_EQ(options_.healthz_address, "192.0.2.1:1");
  EXPECT_EQ(options_.metrics_address, "192.0.2.1:2");
  EXPECT_TRUE(options_.bind_address_hard_fail);
  EXPECT_EQ(options_.interfaces.cluster_cidrs.size(), 2u);
  EXPECT_THAT(options_.node_port_addresses.cidrs,
              ElementsAre(IpPrefix::Parse("192.0.2.0/24").value()));
  EXPECT_THAT(options_.interfaces.pod_interfaces, ElementsAre("cali*"));
  EXPECT_EQ(options_.timeouts.tcp_established, absl::Hours(24));
  EXPECT_EQ(options_.timeouts.udp, absl::Minutes(2));
  EXPECT_EQ(options_.kube->kubeconfig, "/k");
  EXPECT_EQ(options_.kube->content_type, kContentTypeJson);
  EXPECT_EQ(options_.kube->qps, 50);
  EXPECT_EQ(options_.kube->burst, 100);
}

TEST_F(ApplyConfigTest, TheFamilyOfBindAddressIsThatOfTheServers) {
  ASSERT_THAT(Apply("bindAddress: '::'"), IsOk());
  EXPECT_EQ(options_.healthz_address, "[::]:10256");
  EXPECT_EQ(options_.metrics_address, "[::1]:10249");
  ASSERT_THAT(Apply("bindAddress: '2001:db8::1'\nmetricsBindAddress: 127.0.0.1:1"), IsOk());
  EXPECT_EQ(options_.metrics_address, "127.0.0.1:1");
}

TEST_F(ApplyConfigTest, WordsForNodePortAddresses) {
  ASSERT_THAT(Apply("nodePortAddresses: [primary]"), IsOk());
  EXPECT_TRUE(options_.node_port_addresses.primary);
  ASSERT_THAT(Apply("nodePortAddresses: [all, localhost]"), IsOk());
  EXPECT_FALSE(options_.node_port_addresses.primary);
  EXPECT_EQ(options_.node_port_addresses.cidrs.size(), 2u);
  EXPECT_THAT(Apply("nodePortAddresses: [localhost]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("loopback")));
  EXPECT_THAT(Apply("nodePortAddresses: [primary, 192.0.2.0/24]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stands alone")));
}

TEST_F(ApplyConfigTest, BadValuesNameFlagAndField) {
  options_.kube.emplace();
  for (const char* bad : {"clusterCIDR: x", "nodePortAddresses: [x]", "bindAddress: x",
                          "detectLocalMode: x", "conntrack: {udpStreamTimeout: 1ms}"}) {
    EXPECT_THAT(Apply(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--"))) << bad;
  }
  EXPECT_THAT(Apply("clusterCIDR: x"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                HasSubstr("--cluster-cidr (clusterCIDR)")));
}

TEST_F(ApplyConfigTest, ContentTypesMayHaveParametersAndUnknownOnesAreProtobuf) {
  options_.kube.emplace();
  const std::string field = "clientConnection: {contentType: ";
  ASSERT_THAT(Apply(field + "'application/vnd.kubernetes.protobuf;charset=utf8'}"), IsOk());
  EXPECT_EQ(options_.kube->content_type, kContentTypeProtobuf);
  ASSERT_THAT(Apply(field + "'Application/JSON ;charset=utf-8'}"), IsOk());
  EXPECT_EQ(options_.kube->content_type, kContentTypeJson);
  ASSERT_THAT(Apply(field + "application/cbor}"), IsOk());
  EXPECT_EQ(options_.kube->content_type, kContentTypeProtobuf);
}

TEST_F(ApplyConfigTest, OtherModesOfDetectionLeaveInterfacesAsTheyAre) {
  ASSERT_THAT(Apply("detectLocalMode: ClusterCIDR\ndetectLocal: {interfaceNamePrefix: cali}"),
              IsOk());
  EXPECT_THAT(options_.interfaces.pod_interfaces, IsEmpty());
}

}  // namespace
}  // namespace sluice::testing
