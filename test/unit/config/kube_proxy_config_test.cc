// SPDX-License-Identifier: Apache-2.0
#include "control/config/kube_proxy_config.h"

#include <set>

#include <nlohmann/json.hpp>

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

constexpr char kHead[] =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

absl::StatusOr<KubeProxyConfig> Parse(const std::string& fields) {
  return KubeProxyConfig::Parse(kHead + fields, "c.yaml");
}

// As kubeadm writes it into the ConfigMap kube-proxy.
constexpr char kKubeadm[] = R"(
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)";

TEST(KubeProxyConfigTest, KubeadmsFileSaysLittle) {
  const auto config = KubeProxyConfig::Parse(kKubeadm, "config.conf");
  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->warnings(), IsEmpty());
  EXPECT_EQ(config->Text("clientConnection.kubeconfig"), "/var/lib/kube-proxy/kubeconfig.conf");
  EXPECT_EQ(config->Text("clusterCIDR"), "10.244.0.0/16");
  EXPECT_FALSE(config->Has("healthzBindAddress"));
  EXPECT_FALSE(config->Has("clientConnection.qps"));
  EXPECT_FALSE(config->Has("bindAddressHardFail"));
  EXPECT_THAT(config->Meaningless(), IsEmpty());
}

TEST(KubeProxyConfigTest, ReadsEveryKindOfValue) {
  const auto config = Parse(R"(
clientConnection: {qps: 7.5, burst: 20}
bindAddressHardFail: true
conntrack: {tcpEstablishedTimeout: 1h30m0s}
nodePortAddresses: [192.0.2.0/24, 2001:db8::/32]
featureGates: {B: false, A: true}
oomScoreAdj: -998
)");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->Number("clientConnection.qps"), 7.5);
  EXPECT_EQ(config->Integer("clientConnection.burst"), 20);
  EXPECT_TRUE(config->Bool("bindAddressHardFail"));
  EXPECT_EQ(config->Duration("conntrack.tcpEstablishedTimeout"), absl::Minutes(90));
  EXPECT_THAT(config->List("nodePortAddresses"), ElementsAre("192.0.2.0/24", "2001:db8::/32"));
  EXPECT_THAT(config->List("featureGates"), ElementsAre("B=false", "A=true"));
  EXPECT_EQ(config->Integer("oomScoreAdj"), -998);
}

TEST(KubeProxyConfigTest, JsonIsReadToo) {
  const auto config = KubeProxyConfig::Parse(
      R"({"kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
          "hostnameOverride": "n1"})",
      "c.json");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->Text("hostnameOverride"), "n1");
}

TEST(KubeProxyConfigTest, UnknownAndRepeatedFieldsAreWarnings) {
  const auto config =
      Parse("hostnameOverride: n1\nnew: 1\nipvs:\n  sheduler: rr\nmode: a\nmode: b\n");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->Text("hostnameOverride"), "n1");
  EXPECT_THAT(config->warnings(),
              ElementsAre("c.yaml:4: unknown field new", "c.yaml:6: unknown field ipvs.sheduler",
                          "c.yaml:8: mode is given twice"));
}

TEST(KubeProxyConfigTest, ValuesOfAnotherTypeAreErrorsWithTheirLine) {
  struct Case {
    const char* fields;
    const char* message;
  };
  for (const Case& bad : {
           Case{"oomScoreAdj: low", "c.yaml:3: oomScoreAdj is not a whole number"},
           Case{"bindAddressHardFail: 2", "bindAddressHardFail is not true or false"},
           Case{"configSyncPeriod: 15", "configSyncPeriod is not a duration"},
           Case{"nodePortAddresses: primary", "nodePortAddresses is not a list"},
           Case{"clientConnection: {qps: [1]}", "clientConnection.qps is not a number"},
           Case{"clientConnection: 1", "clientConnection is not a group"},
           Case{"featureGates: {A: x}", "featureGates is not a list of name=true"},
       }) {
    EXPECT_THAT(Parse(bad.fields),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.message)));
  }
}

TEST(KubeProxyConfigTest, AnotherDocumentIsRefused) {
  for (const char* bad : {"", "- a", "kind: Pod\napiVersion: v1\n", "a: [", "\tx", "a: &b [*b]"}) {
    EXPECT_THAT(KubeProxyConfig::Parse(bad, "c.yaml"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("c.yaml")))
        << bad;
  }
  EXPECT_THAT(Parse("---\nkind: Pod\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 documents")));
}

TEST(KubeProxyConfigTest, FlagsSayTheSame) {
  KubeProxyConfig config;
  EXPECT_THAT(config.Set("nodePortAddresses", "192.0.2.0/24, primary"), IsOk());
  EXPECT_THAT(config.List("nodePortAddresses"), ElementsAre("192.0.2.0/24", "primary"));
  EXPECT_THAT(config.Set("healthzBindAddress", ""), IsOk());
  EXPECT_TRUE(config.Has("healthzBindAddress"));  // empty: not served
  EXPECT_THAT(config.Set("iptables.masqueradeAll", "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("true or false")));
  EXPECT_THAT(config.Set("nothing", "1"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(KubeProxyConfigTest, ListsWhatHasNoMeaningUnlessItIsTheDefault) {
  const auto config = Parse(R"(
mode: ipvs
hostnameOverride: n1
conntrack: {maxPerCore: 32768, min: 1, tcpCloseWaitTimeout: 3600s}
logging: {flushFrequency: 7s, options: {json: {infoBufferSize: 1}}}
ipvs: {scheduler: rr, excludeCIDRs: [192.0.2.0/24, 198.51.100.0/24]}
)");
  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->Meaningless(),
              ElementsAre("conntrack.min=1", "ipvs.excludeCIDRs=192.0.2.0/24,198.51.100.0/24",
                          "ipvs.scheduler=rr", "logging.flushFrequency=7s", "logging.options={...}",
                          "mode=ipvs"));
}

TEST(KubeProxyConfigTest, AnotherConfigurationIsTakenOver) {
  auto config = *Parse("mode: ipvs\nhostnameOverride: n1\n");
  EXPECT_THAT(config.Override(*Parse("mode: iptables\nclusterCIDR: 10.0.0.0/8\n")),
              ElementsAre("mode"));
  EXPECT_EQ(config.Text("mode"), "iptables");
  EXPECT_EQ(config.Text("hostnameOverride"), "n1");
  EXPECT_EQ(config.Text("clusterCIDR"), "10.0.0.0/8");
}

TEST(ConfigTextTest, ConfigzIsKubeProxys) {
  const auto config = Parse("clusterCIDR: 10.0.0.0/8,fd00::/48\nfeatureGates: {A: true}\n");
  const Json json = Json::parse(config->ConfigzJson())["kubeproxy.config.k8s.io"];
  EXPECT_EQ(json["DetectLocal"]["ClusterCIDRs"], Json({"10.0.0.0/8", "fd00::/48"}));
  EXPECT_EQ(json["FeatureGates"], Json({{"A", true}}));
  EXPECT_EQ(json["ClientConnection"]["QPS"], 5);
  EXPECT_EQ(json["Linux"]["OOMScoreAdj"], -999);
  EXPECT_EQ(json["Linux"]["Conntrack"]["UDPTimeout"], "0s");
  EXPECT_EQ(json["HealthzBindAddress"], "0.0.0.0:10256");
  EXPECT_EQ(json["NodePortAddresses"], nullptr);
}

TEST(ConfigTextTest, AFileThatIsWrittenReadsAsWhatItWas) {
  const auto config = Parse(
      "mode: \"1\"\nnodePortAddresses: [primary]\nhostnameOverride: 'a\"b'\n"
      "featureGates: {A: false}\nclientConnection: {qps: 2.5}\n");
  ASSERT_THAT(config, IsOk());
  const auto again = KubeProxyConfig::Parse(config->FileText(), "written");
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(again->warnings(), IsEmpty());
  for (const char* path : {"mode", "hostnameOverride", "clientConnection.qps"}) {
    EXPECT_EQ(again->Text(path), config->Text(path)) << path;
  }
  EXPECT_THAT(again->List("nodePortAddresses"), ElementsAre("primary"));
  EXPECT_THAT(again->List("featureGates"), ElementsAre("A=false"));
  EXPECT_THAT(again->Meaningless(), ElementsAre("featureGates=A=false", "mode=1"));
}

TEST(ConfigFieldsTest, PathsAndFlagsAreOnlyOnce) {
  std::set<std::string_view> paths, flags;
  for (const ConfigField& field : ConfigFields()) {
    EXPECT_TRUE(paths.insert(field.path).second) << field.path;
    EXPECT_TRUE(field.flag.empty() || flags.insert(field.flag).second) << field.flag;
    EXPECT_FALSE(IsGroup(field.path)) << field.path;
  }
  EXPECT_TRUE(IsGroup("conntrack"));
  EXPECT_FALSE(IsGroup("conn"));
}

}  // namespace
}  // namespace sluice::testing
