// SPDX-License-Identifier: Apache-2.0
#include "control/source/manifest.h"

#include <fstream>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// All chunks of `text` read into one part.
ManifestPart Read(const std::string& text) {
  ManifestPart all;
  for (const ManifestChunk& chunk : SplitManifest(text)) {
    ManifestPart part = ParseManifest(chunk);
    for (auto& object : part.objects) all.objects.push_back(std::move(object));
    for (auto& key : part.rejected) all.rejected.push_back(std::move(key));
    for (auto& problem : part.problems) all.problems.push_back(std::move(problem));
    for (const auto& [kind, count] : part.ignored) all.ignored[kind] += count;
    all.has_unnamed_failure |= part.has_unnamed_failure;
  }
  return all;
}

std::vector<std::string> Names(const ManifestPart& part) {
  std::vector<std::string> names;
  for (const ManifestObject& object : part.objects) names.push_back(ToString(object.key));
  return names;
}

model::Service ServiceIn(const ManifestPart& part, std::size_t index = 0) {
  return std::get<model::Service>(Unpack(part.objects.at(index)));
}
model::EndpointSlice SliceIn(const ManifestPart& part, std::size_t index = 0) {
  return std::get<model::EndpointSlice>(Unpack(part.objects.at(index)));
}

// A Service "web" whose first line is 1; `spec` is put in at line 4.
std::string ServiceWith(const std::string& spec) {
  return absl::StrCat("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n", spec);
}
std::string SliceWith(const std::string& rest) {
  return absl::StrCat(
      "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
      "metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n",
      rest);
}

// A document and the one problem that is expected of it.
struct BadCase {
  const char* name;
  std::string text;
  std::string object;
  std::uint32_t line;
  std::string message;  // a part of it
  bool named = true;    // it is known which object it would have been
};

void PrintTo(const BadCase& bad, std::ostream* os) { *os << bad.name; }

class ManifestBadTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(ManifestBadTest, IsReportedWithItsLineAndNotTaken) {
  const BadCase& bad = GetParam();
  const ManifestPart part = Read(bad.text);
  EXPECT_THAT(part.objects, IsEmpty());
  ASSERT_THAT(part.problems, SizeIs(1)) << part.problems.size();
  EXPECT_EQ(part.problems[0].object, bad.object);
  EXPECT_EQ(part.problems[0].line, bad.line);
  EXPECT_THAT(part.problems[0].message, HasSubstr(bad.message));
  EXPECT_EQ(part.rejected.size(), bad.named ? 1u : 0u);
  EXPECT_EQ(part.has_unnamed_failure, !bad.named);
}

const char kWeb[] = "Service default/web";
const char kSlice[] = "EndpointSlice default/web-1";

INSTANTIATE_TEST_SUITE_P(
    Types, ManifestBadTest,
    ::testing::Values(
        BadCase{"NumberForString", ServiceWith("spec:\n  clusterIP: 10\n  ports: [{port: 80}]"),
                kWeb, 5,
                "spec.clusterIP: expected a string, found the number 10: put it in quotes"},
        BadCase{"BoolInLabels",
                "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  labels:\n    a: \"1\"\n"
                "    canary: yes\nspec: {ports: [{port: 80}]}",
                kWeb, 7, "metadata.labels.canary: expected a string, found the boolean yes"},
        BadCase{"StringForNumber", ServiceWith("spec:\n  ports:\n  - port: \"80\""), kWeb, 6,
                "spec.ports[0].port: expected a whole number, found the string \"80\": is it in"},
        BadCase{"FloatForNumber", ServiceWith("spec: {ports: [{port: 80.5}]}"), kWeb, 4,
                "spec.ports[0].port: expected a whole number, found the number 80.5"},
        BadCase{"LeadingZero", ServiceWith("spec: {ports: [{port: 080}]}"), kWeb, 4,
                "080 has a leading zero; write a number in 1..65535"},
        BadCase{"MapForList", ServiceWith("spec:\n  ports: {port: 80}"), kWeb, 5,
                "spec.ports: expected a list, found a mapping"},
        BadCase{"ListForMap", ServiceWith("spec: []"), kWeb, 4,
                "spec: expected a mapping, found a list"},
        BadCase{"ScalarForMessage", ServiceWith("spec: {ports: [80]}"), kWeb, 4,
                "spec.ports[0]: expected a mapping, found the number 80"},
        BadCase{"StringForBool",
                SliceWith("addressType: IPv4\nendpoints:\n- addresses: [192.0.2.1]\n"
                          "  conditions: {ready: \"true\"}"),
                kSlice, 7,
                "endpoints[0].conditions.ready: expected true or false, found the string \"true\""},
        BadCase{"NullInList", SliceWith("addressType: IPv4\nendpoints: [{addresses: [null]}]"),
                kSlice, 5, "endpoints[0].addresses[0]: expected a string, found null"},
        BadCase{"BadTime",
                "apiVersion: v1\nkind: Service\nmetadata: {name: web, creationTimestamp: monday}\n"
                "spec: {ports: [{port: 80}]}",
                kWeb, 3, "metadata.creationTimestamp: expected a time like"},
        BadCase{"TargetPortOfTheWrongType",
                ServiceWith("spec: {ports: [{port: 80, targetPort: [1]}]}"), kWeb, 4,
                "spec.ports[0].targetPort: expected a port's number or name, found a list"},
        BadCase{"SaidTwice", ServiceWith("spec: {ports: [{port: 80, port: 81}]}"), kWeb, 4,
                "spec.ports[0]: port is said twice, first in line 4"}));

INSTANTIATE_TEST_SUITE_P(
    Ranges, ManifestBadTest,
    ::testing::Values(
        BadCase{"PortTooLarge", ServiceWith("spec:\n  ports:\n  - name: a\n    port: 65536"), kWeb,
                7, "spec.ports[0].port: 65536 is not in 1..65535"},
        BadCase{"PortZero", ServiceWith("spec: {ports: [{port: 0}]}"), kWeb, 4,
                "0 is not in 1..65535"},
        BadCase{"PortNegative", ServiceWith("spec: {ports: [{port: -1}]}"), kWeb, 4,
                "-1 is not in 1..65535"},
        BadCase{"PortHuge", ServiceWith("spec: {ports: [{port: 99999999999999999999}]}"), kWeb, 4,
                "is not in 1..65535"},
        BadCase{"TargetPort", ServiceWith("spec: {ports: [{port: 80, targetPort: 70000}]}"), kWeb,
                4, "targetPort: 70000 is not in 1..65535"},
        BadCase{"NodePort",
                ServiceWith("spec: {type: NodePort, ports: [{port: 80, nodePort: 70000}]}"), kWeb,
                4, "nodePort: 70000 is not in 0..65535"},
        BadCase{"SlicePort", SliceWith("addressType: IPv4\nports: [{port: 65536}]"), kSlice, 5,
                "ports[0].port: 65536 is not in 1..65535"},
        BadCase{"Affinity",
                ServiceWith("spec: {ports: [{port: 80}], sessionAffinity: ClientIP,\n"
                            "  sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}}"),
                kWeb, 5, "timeoutSeconds: 86401 is not in 1..86400"},
        BadCase{"Family", ServiceWith("spec: {ipFamilies: [ipv4], ports: [{port: 80}]}"), kWeb, 4,
                "spec.ipFamilies[0]: expected IPv4 or IPv6"}));

INSTANTIATE_TEST_SUITE_P(
    Rules, ManifestBadTest,
    ::testing::Values(
        BadCase{"NoName", "apiVersion: v1\nkind: Service\nmetadata: {namespace: x}\n", "Service", 3,
                "metadata.name is missing", false},
        BadCase{"NoMetadata", "apiVersion: v1\nkind: Service\n", "Service", 1,
                "metadata.name is missing", false},
        BadCase{"BadName",
                "apiVersion: v1\nkind: Service\nmetadata: {name: Web}\nspec: {ports: [{port: 80}]}",
                "Service default/Web", 3, "metadata.name: \"Web\" is not a name"},
        BadCase{"BadNamespace",
                "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: a.b}\n"
                "spec: {ports: [{port: 80}]}",
                "Service a.b/web", 3, "metadata.namespace: \"a.b\" is not a name"},
        BadCase{"NoPorts", ServiceWith("spec: {type: NodePort}"), kWeb, 4, "spec.ports is missing"},
        BadCase{"NoPort", ServiceWith("spec: {ports: [{name: a}]}"), kWeb, 4,
                "spec.ports[0].port is missing"},
        BadCase{"UnnamedPorts",
                ServiceWith("spec:\n  ports:\n  - {name: a, port: 80}\n  - {port: 81}"), kWeb, 7,
                "spec.ports[1].name is missing: with more than one port each needs one"},
        BadCase{"SamePortName",
                ServiceWith("spec:\n  ports:\n  - {name: a, port: 80}\n  - {name: a, port: 81}"),
                kWeb, 7, "spec.ports[1].name: \"a\" is also that of spec.ports[0]"},
        BadCase{"SamePort",
                ServiceWith("spec:\n  ports:\n  - {name: a, port: 80}\n  - {name: b, port: 80}"),
                kWeb, 7, "spec.ports[1].port: 80 is also that of spec.ports[0]"},
        BadCase{"SameNodePort",
                ServiceWith("spec:\n  type: NodePort\n  ports:\n"
                            "  - {name: a, port: 80, nodePort: 30080}\n"
                            "  - {name: b, port: 81, nodePort: 30080}"),
                kWeb, 8, "spec.ports[1].nodePort: 30080 is also that of spec.ports[0]"},
        BadCase{"NodePortOfClusterIP", ServiceWith("spec: {ports: [{port: 80, nodePort: 30080}]}"),
                kWeb, 4, "a Service of type ClusterIP has none"},
        BadCase{"HeadlessNodePort",
                ServiceWith("spec: {type: NodePort, clusterIP: None, ports: [{port: 80}]}"), kWeb,
                4, "a Service of type NodePort cannot be headless"},
        BadCase{"TwoClusterIPs",
                ServiceWith("spec:\n  clusterIP: 192.0.2.1\n  clusterIPs: [192.0.2.2]\n"
                            "  ports: [{port: 80}]"),
                kWeb, 6, "spec.clusterIPs[0] is \"192.0.2.2\" and spec.clusterIP \"192.0.2.1\""},
        BadCase{"SameFamilyTwice",
                ServiceWith("spec: {ipFamilies: [IPv4, IPv4], ports: [{port: 80}]}"), kWeb, 4,
                "spec.ipFamilies: IPv4 and IPv6 at most once each"},
        BadCase{"NoAddressType", SliceWith("endpoints: []"), kSlice, 1, "addressType is missing"},
        BadCase{"NoAddresses",
                SliceWith("addressType: IPv4\nendpoints:\n- addresses: [192.0.2.1]\n- nodeName: a"),
                kSlice, 7, "endpoints[1].addresses is missing"},
        BadCase{"SameSlicePort", SliceWith("addressType: IPv4\nports:\n- {port: 80}\n- {port: 81}"),
                kSlice, 7, "ports[1].name: \"\" is also that of ports[0]"}));

INSTANTIATE_TEST_SUITE_P(
    Documents, ManifestBadTest,
    ::testing::Values(
        BadCase{"NotYaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: [\n", kWeb,
                5, "is not YAML (column 1): did not find expected node content", false},
        BadCase{"Tab", "apiVersion: v1\nkind: Service\n\tmetadata: {}\n", "", 3,
                "is not YAML (column 1): found a tab character that violates indentation", false},
        BadCase{"NotUtf8", "apiVersion: v1\nkind: \xff\n", "", 2,
                "is not YAML (column 7): invalid leading UTF-8 octet", false},
        BadCase{"UnknownAlias", "apiVersion: v1\nkind: Service\nmetadata: *m\n", "Service", 3,
                "the alias *m has no anchor before it", false},
        BadCase{"Itself", "a: &a [*a]\n", "", 1, "the alias *a has no anchor before it", false},
        BadCase{"TooDeep", std::string(300, '['), "", 1, "nested deeper than 200 levels", false},
        BadCase{"Scalar", "hello\n", "", 1, "is not an object", false},
        BadCase{"List", "- a\n", "", 1, "is not an object", false},
        BadCase{"NoKind", "apiVersion: v1\nmetadata: {name: web}\n", "", 1, "kind is missing",
                false},
        BadCase{"NoApiVersion", "kind: Service\nmetadata: {name: web}\n", kWeb, 1,
                "apiVersion is missing: write apiVersion: v1"},
        BadCase{
            "OldApiVersion",
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: web-1}\n",
            kSlice, 1, "write apiVersion: discovery.k8s.io/v1"},
        BadCase{"Misspelt", "apiVersion: v1\nkind: Sevice\nmetadata: {name: web}\n",
                "Sevice default/web", 1, "kind Sevice is not known: is it meant to be Service?"},
        BadCase{"ListOfScalars", "apiVersion: v1\nkind: List\nitems:\n- 7\n", "", 4,
                "is not an object", false},
        BadCase{"ItemsNoList", "apiVersion: v1\nkind: List\nitems: {a: 1}\n", "List", 3,
                "items: expected a list", false}));

TEST(ManifestTest, ReadsWhatPeopleWrite) {
  std::ifstream file(std::string(SLUICE_TEST_SAMPLES) + "/manifests/applied.yaml");
  std::stringstream text;
  text << file.rdbuf();
  const ManifestPart part = Read(text.str());
  EXPECT_THAT(part.problems, IsEmpty());
  EXPECT_THAT(Names(part),
              ElementsAre("Node node-a", "Node node-b", "Service default/web",
                          "Service default/dns", "Service default/edge", "Service default/node-udp",
                          "Service default/headless", "Service default/ext",
                          "Service default/other-proxy", "EndpointSlice default/web-1",
                          "EndpointSlice default/web-2", "EndpointSlice default/edge-4",
                          "EndpointSlice default/edge-6", "EndpointSlice default/node-udp-1"));
  EXPECT_EQ(part.objects[2].line, 14u);
  const model::EndpointSlice slice = SliceIn(part, 9);
  EXPECT_EQ(slice.endpoints_size(), 3);
  EXPECT_EQ(slice.endpoints(2).addresses(0), "10.244.1.3");
  EXPECT_TRUE(slice.endpoints(2).conditions().has_ready());
  EXPECT_FALSE(slice.endpoints(2).conditions().ready());
  EXPECT_FALSE(slice.endpoints(1).conditions().has_serving());
}

TEST(ManifestTest, TakesEveryTypeOfValue) {
  const ManifestPart part = Read(
      "apiVersion: v1\n"
      "kind: Service\n"
      "metadata:\n"
      "  name: 'web'\n"
      "  namespace: shop\n"
      "  creationTimestamp: 2026-11-23T10:00:00.25+01:00\n"
      "  labels: {quoted: \"true\", tagged: !!str 7, plain: a b, none: null}\n"
      "spec:\n"
      "  clusterIP: \n"
      "  publishNotReadyAddresses: yes\n"
      "  unknownField: {deep: [1, {x: y}]}\n"
      "  ports:\n"
      "  - {name: a, port: 0x50, targetPort: http}\n"
      "  - {name: b, port: +81, targetPort: 8081}\n"
      "  - {name: c, port: 82, targetPort: 0}\n");
  EXPECT_THAT(part.problems, SizeIs(1));  // of the unknown field
  const model::Service service = ServiceIn(part);
  EXPECT_EQ(service.metadata().name_space(), "shop");
  EXPECT_EQ(service.metadata().creation_timestamp().seconds(), 1795424400);
  EXPECT_EQ(service.metadata().creation_timestamp().nanos(), 250'000'000);
  EXPECT_THAT(
      service.metadata().labels(),
      UnorderedElementsAre(Pair("quoted", "true"), Pair("tagged", "7"), Pair("plain", "a b")));
  EXPECT_FALSE(service.spec().has_cluster_ip());
  EXPECT_TRUE(service.spec().publish_not_ready_addresses());
  EXPECT_EQ(service.spec().ports(0).port(), 80);
  EXPECT_EQ(service.spec().ports(0).target_port().type(), 1);
  EXPECT_EQ(service.spec().ports(0).target_port().str_val(), "http");
  EXPECT_EQ(service.spec().ports(1).port(), 81);
  EXPECT_EQ(service.spec().ports(1).target_port().int_val(), 8081);
  EXPECT_FALSE(service.spec().ports(2).target_port().has_int_val());
}

TEST(ManifestTest, ReadsJsonAsItsSubset) {
  const ManifestPart part = Read(
      "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n"
      "\t{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": "
      "\"a\\u0041\\/\"}},\n"
      "  {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"b\"},\n"
      "   \"spec\": {\"ports\": [{\"port\": 1e9}]}},\n"
      "  {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"c\"},\n"
      "   \"spec\": {\"ports\": [{\"port\": 80}]}}]}\n");
  EXPECT_THAT(Names(part), ElementsAre("Service default/c"));
  ASSERT_THAT(part.problems, SizeIs(2));
  EXPECT_THAT(part.problems[0].message, HasSubstr("metadata.name: \"aA/\" is not a name"));
  EXPECT_EQ(part.problems[0].line, 2u);
  EXPECT_EQ(part.problems[1].line, 4u);
}

TEST(ManifestTest, ReadsListsOfOneKindWhoseItemsSayNothing) {
  const ManifestPart part = Read(
      "apiVersion: v1\nkind: NodeList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n"
      "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems:\n"
      "- {metadata: {name: s}, addressType: IPv6}\n"
      "---\napiVersion: v1\nkind: ServiceList\nitems: null\n");
  EXPECT_THAT(Names(part), ElementsAre("Node a", "Node b", "EndpointSlice default/s"));
  EXPECT_EQ(part.objects[1].line, 5u);
}

TEST(ManifestTest, ABadItemLeavesTheOthersOfItsList) {
  const ManifestPart part = Read(
      "apiVersion: v1\nkind: List\nitems:\n"
      "- {apiVersion: v1, kind: Node, metadata: {name: a}}\n"
      "- {apiVersion: v1, kind: Node, metadata: {name: 5}}\n"
      "- {apiVersion: v1, kind: Node, metadata: {name: c}}\n");
  EXPECT_THAT(Names(part), ElementsAre("Node a", "Node c"));
  ASSERT_THAT(part.problems, SizeIs(2));  // no string, hence no name
  EXPECT_EQ(part.problems[0].line, 5u);
}

TEST(ManifestTest, BadDocumentsLeaveThoseBeforeAndAfter) {
  const std::string text =
      "# a comment\n---\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n"
      "---\nkind: [\n"
      "--- # broken, too\n\"\n"
      "---\r\napiVersion: v1\r\nkind: Node\r\nmetadata: {name: b}\r\n"
      "---\napiVersion: v1\nkind: Node\nmetadata: {name: 7}\n"
      "--- {apiVersion: v1, kind: Node, metadata: {name: c}}\n"
      "---\n";
  const ManifestPart part = Read(text);
  EXPECT_THAT(Names(part), ElementsAre("Node a", "Node b", "Node c"));
  ASSERT_THAT(part.problems, SizeIs(4));
  EXPECT_EQ(part.problems[0].line, 8u);
  EXPECT_EQ(part.problems[1].line, 10u);
  EXPECT_EQ(part.problems[2].line, 17u);
  EXPECT_EQ(part.objects[1].line, 11u);
  EXPECT_EQ(part.objects[2].line, 18u);
}

TEST(ManifestTest, SeveralProblemsOfOneObjectAreAllTold) {
  const ManifestPart part =
      Read(ServiceWith("spec:\n  type: X\n  ports:\n  - port: a\n  - port: 0\n  clusterIP: 3\n"));
  ASSERT_THAT(part.problems, SizeIs(3));
  EXPECT_EQ(part.problems[0].line, 7u);
  EXPECT_EQ(part.problems[2].line, 9u);
  EXPECT_THAT(part.rejected, SizeIs(1));
}

TEST(ManifestTest, StopsTellingAfterTenProblemsOfOneObject) {
  std::string ports;
  for (int i = 0; i < 50; ++i) absl::StrAppend(&ports, "  - {port: x}\n");
  EXPECT_THAT(Read(ServiceWith("spec:\n  ports:\n" + ports)).problems, SizeIs(10));
}

TEST(ManifestTest, OtherKindsOfKubernetesArePassedOverInSilence) {
  const ManifestPart part = Read(
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: 7}\n"
      "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |\n    text\n    "
      "---\n"
      "    kind: Service\n"
      "---\napiVersion: v1\nkind: ConfigMap\n");
  EXPECT_THAT(part.problems, IsEmpty());
  EXPECT_THAT(part.objects, IsEmpty());
  EXPECT_THAT(part.ignored, ElementsAre(Pair("ConfigMap", 2), Pair("Deployment", 1)));
}

TEST(ManifestTest, KindsThatAreNotKnownAreReportedAndHideNothing) {
  const ManifestPart part = Read(
      "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n"
      "---\napiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: web}\n"
      "---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: web}\n");
  ASSERT_THAT(part.problems, SizeIs(3));
  EXPECT_EQ(part.problems[0].object, "Endpoints default/web");
  EXPECT_THAT(part.problems[0].message, HasSubstr("as an EndpointSlice"));
  EXPECT_THAT(part.problems[1].message, HasSubstr("kind ServiceMonitor is not known"));
  EXPECT_EQ(part.problems[1].line, 5u);
  EXPECT_THAT(part.problems[2].message,
              HasSubstr("kind Service of apiVersion serving.knative.dev/v1 is not known"));
  EXPECT_THAT(part.rejected, IsEmpty());
  EXPECT_FALSE(part.has_unnamed_failure);
}

TEST(ManifestTest, TwoObjectsRunTogetherMayHideTheSecond) {
  const ManifestPart part = Read(
      "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
      "apiVersion: v1\nkind: Service\nmetadata: {name: dns}\nspec: {ports: [{port: 53}]}\n");
  EXPECT_THAT(part.objects, IsEmpty());
  ASSERT_THAT(part.problems, SizeIs(2));
  EXPECT_EQ(part.problems[0].line, 7u);
  EXPECT_THAT(part.problems[0].message, HasSubstr("is a --- missing between two objects?"));
  EXPECT_TRUE(part.has_unnamed_failure);
}

TEST(ManifestTest, FollowsAnchorsAndMerges) {
  const ManifestPart part = Read(
      "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: &l {a: b}, annotations: *l}\n"
      "spec:\n"
      "  ports:\n"
      "  - &base {name: a, port: 80, protocol: UDP}\n"
      "  - {<<: *base, name: b, port: 81}\n"
      "  - {<<: [{name: c, port: 83}, *base], port: 82}\n");
  ASSERT_THAT(part.problems, IsEmpty());
  const model::Service service = ServiceIn(part);
  EXPECT_EQ(service.metadata().annotations().at("a"), "b");
  ASSERT_EQ(service.spec().ports_size(), 3);
  EXPECT_EQ(service.spec().ports(1).name(), "b");
  EXPECT_EQ(service.spec().ports(1).port(), 81);
  EXPECT_EQ(service.spec().ports(1).protocol(), "UDP");
  EXPECT_EQ(service.spec().ports(2).name(), "c");
  EXPECT_EQ(service.spec().ports(2).port(), 82);
  EXPECT_EQ(service.spec().ports(2).protocol(), "UDP");
}

TEST(ManifestTest, AliasesThatMultiplyAreStopped) {
  // 2,000 times 2,000 addresses in 20 kB.
  std::string text = SliceWith("addressType: IPv4\nx: &a [");
  for (int i = 0; i < 2000; ++i) text += "a,";
  text += "]\ny: &e {addresses: *a}\nendpoints: [";
  for (int i = 0; i < 2000; ++i) text += "*e,";
  const ManifestPart part = Read(text + "]\n");
  EXPECT_THAT(part.objects, IsEmpty());
  ASSERT_THAT(part.problems, SizeIs(1));
  EXPECT_THAT(part.problems[0].message, HasSubstr("aliases stand for more than a million values"));
}

TEST(ManifestTest, ASliceWithoutServiceStandsAndIsReported) {
  const ManifestPart part = Read(
      "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1}\n"
      "addressType: IPv4\n");
  EXPECT_THAT(Names(part), ElementsAre("EndpointSlice default/web-1"));
  ASSERT_THAT(part.problems, SizeIs(1));
  EXPECT_THAT(part.problems[0].message, HasSubstr("kubernetes.io/service-name is missing"));
  EXPECT_THAT(part.rejected, IsEmpty());
}

TEST(ManifestTest, HundredThousandEndpointsInOneSliceAreTaken) {
  std::string text = SliceWith("addressType: IPv4\nports: [{port: 80}]\nendpoints:\n");
  constexpr int kEndpoints = 100'000;
  for (int i = 0; i < kEndpoints; ++i) {
    absl::StrAppend(&text, "- addresses: [10.", i >> 16 & 255, ".", i >> 8 & 255, ".", i & 255,
                    "]\n  nodeName: node-a\n");
  }
  const ManifestPart part = Read(text);
  ASSERT_THAT(part.problems, IsEmpty());
  EXPECT_EQ(SliceIn(part).endpoints_size(), kEndpoints);
  EXPECT_EQ(SliceIn(part).endpoints(kEndpoints - 1).addresses(0), "10.1.134.159");
}

TEST(ManifestTest, EmptyTextsSayNothing) {
  for (const char* text : {"", "\n", "---\n", "---\n---\n", "# only a comment\n", "\xef\xbb\xbf",
                           "%YAML 1.1\n---\n"}) {
    const ManifestPart part = Read(text);
    EXPECT_THAT(part.objects, IsEmpty()) << text;
    EXPECT_THAT(part.problems, IsEmpty()) << text;
    EXPECT_FALSE(part.has_unnamed_failure) << text;
  }
}

TEST(SplitManifestTest, CutsAtSeparatorsAndKeepsCountOfLines) {
  const std::string text = "# head\n%YAML 1.1\n---\na\n--- b\n---c\n----\n---\td\n---";
  const std::vector<ManifestChunk> chunks = SplitManifest(text);
  ASSERT_THAT(chunks, SizeIs(4));
  EXPECT_EQ(chunks[0].text, "# head\n%YAML 1.1\n---\na\n");
  EXPECT_EQ(chunks[1].text, "--- b\n---c\n----\n");
  EXPECT_EQ(chunks[1].first_line, 5u);
  EXPECT_EQ(chunks[2].text, "---\td\n");
  EXPECT_EQ(chunks[2].first_line, 8u);
  EXPECT_EQ(chunks[3].text, "---");
}

TEST(SplitManifestTest, StaysLinearWithMillionsOfSeparators) {
  std::string comments;
  for (int i = 0; i < 1'000'000; ++i) comments += "#\n---x\n";
  EXPECT_THAT(SplitManifest("a\n" + comments), SizeIs(1));
  std::string separators;
  for (int i = 0; i < 1'000'000; ++i) separators += "---\n";
  EXPECT_THAT(SplitManifest(separators), SizeIs(1'000'000));
}

}  // namespace
}  // namespace sluice
