// SPDX-License-Identifier: Apache-2.0
// The messages against bytes that an API server wrote: each object decoded from protobuf has to say
// what the same object says in JSON. Wrong field numbers, types and JSON names show here.
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "control/source/manifest.h"
#include "test/support/recorded_wire.h"

namespace sluice {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

// The protobuf encoding writes what Go holds as zero or "", JSON leaves it out: take both out,
// except where Go holds a pointer (the conditions), for which missing and false differ.
void DropZeros(Message& message) {
  const google::protobuf::Reflection* reflection = message.GetReflection();
  if (message.GetDescriptor()->name() == "EndpointConditions") return;
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_map()) continue;
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field->is_repeated()) {
      for (int i = 0; is_message && i < reflection->FieldSize(message, field); ++i) {
        DropZeros(*reflection->MutableRepeatedMessage(&message, field, i));
      }
    } else if (is_message) {
      Message* below = reflection->MutableMessage(&message, field);
      DropZeros(*below);
      if (below->ByteSizeLong() == 0) reflection->ClearField(&message, field);
    } else {
      const bool zero = (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
                         reflection->GetString(message, field).empty()) ||
                        (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL &&
                         !reflection->GetBool(message, field)) ||
                        (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 &&
                         reflection->GetInt32(message, field) == 0) ||
                        (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 &&
                         reflection->GetInt64(message, field) == 0);
      if (zero) reflection->ClearField(&message, field);
    }
  }
}

template <typename Object>
std::map<std::string, Object> FromProtobuf(const std::string& file) {
  const std::string bytes = ReadRecorded(file);
  EXPECT_EQ(bytes.substr(0, 4), std::string("k8s\0", 4));
  const std::vector<std::string> raw = BytesFields(bytes.substr(4), 2);
  EXPECT_EQ(raw.size(), 1u);
  std::map<std::string, Object> objects;
  for (const std::string& item : BytesFields(raw.at(0), 2)) {
    Object object;
    EXPECT_TRUE(object.ParseFromString(item));
    object.DiscardUnknownFields();
    DropZeros(object);
    const std::string name = object.metadata().name_space() + "/" + object.metadata().name();
    objects[name] = std::move(object);
  }
  return objects;
}

template <typename Object>
std::map<std::string, Object> FromJson(const std::string& file) {
  const std::string text = ReadRecorded(file);
  std::map<std::string, Object> objects;
  for (const ManifestChunk& chunk : SplitManifest(text)) {
    ManifestPart part = ParseManifest(chunk);
    for (const ManifestProblem& problem : part.problems) ADD_FAILURE() << problem.message;
    for (ManifestObject& object : part.objects) {
      Object message = std::get<Object>(Unpack(object));
      DropZeros(message);
      objects[object.key.name_space + "/" + object.key.name] = std::move(message);
    }
  }
  return objects;
}

template <typename Object>
void ExpectSame(const std::string& name, std::size_t count) {
  const auto wire = FromProtobuf<Object>(name + ".pb");
  const auto json = FromJson<Object>(name + ".json");
  EXPECT_EQ(wire.size(), count);
  ASSERT_EQ(json.size(), wire.size());
  for (const auto& [object_name, object] : wire) {
    ASSERT_TRUE(json.contains(object_name)) << object_name;
    std::string difference;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differencer.Compare(object, json.at(object_name))) << object_name << difference;
  }
}

TEST(WireTest, ServicesSayTheSameInProtobufAndJson) {
  ExpectSame<model::Service>("services.list", 8);
}
TEST(WireTest, EndpointSlicesSayTheSameInProtobufAndJson) {
  ExpectSame<model::EndpointSlice>("endpointslices.list", 5);
}
TEST(WireTest, NodesSayTheSameInProtobufAndJson) { ExpectSame<model::Node>("nodes.list", 2); }

TEST(WireTest, FieldsAreWhereTheyBelong) {
  const model::Service edge = FromProtobuf<model::Service>("services.list.pb").at("default/edge");
  EXPECT_EQ(edge.spec().type(), "LoadBalancer");
  EXPECT_EQ(edge.spec().cluster_ip(), "10.96.20.20");
  EXPECT_EQ(edge.spec().cluster_ips_size(), 2);
  EXPECT_EQ(edge.spec().ports(0).node_port(), 30443);
  EXPECT_EQ(edge.spec().ports(0).target_port().str_val(), "https");
  EXPECT_EQ(edge.spec().health_check_node_port(), 30999);
  EXPECT_EQ(edge.spec().external_traffic_policy(), "Local");
  EXPECT_EQ(edge.spec().internal_traffic_policy(), "Cluster");
  EXPECT_EQ(edge.spec().session_affinity_config().client_ip().timeout_seconds(), 600);
  EXPECT_EQ(edge.spec().load_balancer_source_ranges_size(), 2);
  EXPECT_EQ(edge.spec().external_ips(0), "203.0.113.80");
  EXPECT_EQ(edge.spec().traffic_distribution(), "PreferSameZone");
  EXPECT_EQ(edge.status().load_balancer().ingress(1).ip_mode(), "Proxy");
  EXPECT_GT(edge.metadata().creation_timestamp().seconds(), 1'700'000'000);
}

TEST(WireTest, AMissingConditionIsNotFalse) {
  const auto slices = FromProtobuf<model::EndpointSlice>("endpointslices.list.pb");
  const model::EndpointSlice& one = slices.at("default/web-1");
  EXPECT_TRUE(one.endpoints(0).conditions().has_terminating());
  EXPECT_TRUE(one.endpoints(1).conditions().ready());
  EXPECT_FALSE(one.endpoints(1).conditions().has_serving());
  EXPECT_FALSE(slices.at("default/web-2").endpoints(0).conditions().has_ready());
  EXPECT_EQ(slices.at("default/edge-4").endpoints(0).hints().for_nodes(0).name(), "node-a");
}

}  // namespace
}  // namespace sluice
