// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/json_object.h"

#include "gtest/gtest.h"

#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::IsOk;
TEST(JsonObjectTest, ReadsWhatTheMessageHasAndLeavesTheRest) {
  model::Service service;
  ASSERT_THAT(ReadJsonObject(
                  R"({"metadata":{"name":"web","namespace":"default","labels":{"a":"b"},
          "creationTimestamp":"2026-11-23T00:00:00Z","managedFields":[{"manager":"x"}]},
          "spec":{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1","fd00::1"],
          "publishNotReadyAddresses":true,"healthCheckNodePort":null,
          "ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":8081}]}})",
                  service),
              IsOk());
  EXPECT_EQ(service.metadata().name_space(), "default");
  EXPECT_EQ(service.metadata().labels().at("a"), "b");
  EXPECT_EQ(service.metadata().creation_timestamp().seconds(), 1795392000);
  EXPECT_EQ(service.spec().cluster_ips_size(), 2);
  EXPECT_TRUE(service.spec().publish_not_ready_addresses());
  EXPECT_FALSE(service.spec().has_health_check_node_port());
  EXPECT_EQ(service.spec().ports(0).target_port().type(), 1);
  EXPECT_EQ(service.spec().ports(0).target_port().str_val(), "http");
  EXPECT_EQ(service.spec().ports(1).target_port().int_val(), 8081);
}

TEST(JsonObjectTest, WrongTypesAreRefusedByPath) {
  model::Service service;
  const auto message_of = [&](const char* text) {
    const absl::Status status = ReadJsonObject(text, service);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    return std::string(status.message());
  };
  EXPECT_EQ(message_of(R"({"spec":{"clusterIP":7}})"), "spec.clusterIP: unexpected number");
  EXPECT_EQ(message_of(R"({"spec":{"ports":{}}})"), "spec.ports: unexpected object");
  EXPECT_EQ(message_of(R"({"spec":{"ports":[7]}})"), "spec.ports: unexpected number");
  EXPECT_EQ(message_of(R"({"spec":{"ports":[{"port":5000000000}]}})"),
            "spec.ports.port: 5000000000 is too big");
  EXPECT_EQ(message_of(R"({"spec":{"publishNotReadyAddresses":"yes"}})"),
            "spec.publishNotReadyAddresses: unexpected string");
  EXPECT_EQ(message_of(R"({"metadata":{"labels":{"a":1}}})"),
            "metadata.labels.a: unexpected number");
  EXPECT_EQ(message_of("{"), "not JSON");
  EXPECT_EQ(message_of("[]"), ": unexpected array");
  message_of(R"({"metadata":{"creationTimestamp":"yesterday"}})");
}

TEST(JsonObjectTest, AnObjectReadTwiceHoldsTheSecondOnly) {
  model::Service service;
  ASSERT_THAT(ReadJsonObject(R"({"spec":{"clusterIP":"10.0.0.1"}})", service), IsOk());
  ASSERT_THAT(ReadJsonObject(R"({"metadata":{"name":"a"}})", service), IsOk());
  EXPECT_FALSE(service.has_spec());
}

TEST(JsonWatchEventTest, AnObjectThatIsNestedWithoutEndIsRefused) {
  const auto nested = [](std::size_t depth) {
    return R"({"type":"ADDED","object":{"kind":"Service","\\":"}{[","x":)" +
           std::string(depth, '[') + std::string(depth, ']') + "}}";
  };
  EXPECT_THAT(ReadJsonWatchEvent(nested(100)), IsOk());
  EXPECT_TRUE(absl::IsInvalidArgument(ReadJsonWatchEvent(nested(1 << 20)).status()));
}

}  // namespace
}  // namespace sluice
