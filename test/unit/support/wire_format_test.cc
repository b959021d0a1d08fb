// SPDX-License-Identifier: Apache-2.0
// What the API server for tests writes against what a real one wrote: the same bytes around the
// same objects, and the same objects in JSON.
#include "test/support/api/wire_format.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "test/support/api/object_store.h"
#include "test/support/recorded_wire.h"

namespace sluice::api {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using nlohmann::json;

TEST(WireFormatTest, WatchFramesAreTheRecordedBytes) {
  for (const char* file : {"services.watch.pb", "endpointslices.watch.pb", "gone.watch.pb"}) {
    const std::vector<RecordedFrame> frames = SplitRecordedWatch(ReadRecorded(file));
    ASSERT_FALSE(frames.empty());
    for (const RecordedFrame& frame : frames) {
      const TypeName type{frame.object.api_version, frame.object.kind};
      EXPECT_EQ(Frame(frame.type, Envelope(type, frame.object.raw)), frame.bytes) << file;
    }
  }
}

TEST(WireFormatTest, StatusBodiesAreTheRecordedBytes) {
  const Format pb = Format::kProtobuf;
  EXPECT_EQ(StatusBody(pb, WithDefaults({401, "", "", {}})), ReadRecorded("unauthorized.pb"));
  EXPECT_EQ(StatusBody(pb, WithDefaults({400,
                                         "",
                                         "invalid continue token: continue key is not valid: "
                                         "illegal base64 data at input byte 4",
                                         {}})),
            ReadRecorded("badcontinue.pb"));
  const Status gone{410, "Expired", "too old resource version: 1 (439)", {}};
  EXPECT_EQ(EventBody(pb, "ERROR", StatusBody(pb, gone)), ReadRecorded("gone.watch.pb"));
}

TEST(WireFormatTest, ListsAreTheRecordedBytes) {
  const std::map<std::string, const char*> files = {{"services", "services.list.pb"},
                                                    {"endpointslices", "endpointslices.list.pb"},
                                                    {"nodes", "nodes.list.pb"}};
  for (const auto& [name, file] : files) {
    const std::string recorded = ReadRecorded(file);
    const Resource& resource = *FindResource(name);
    const std::vector<std::string> objects = BytesFields(OpenRecorded(recorded).raw, 2);
    const std::vector<std::string_view> views(objects.begin(), objects.end());
    const ListHeader header{414, "", {}};
    EXPECT_EQ(ListBody(Format::kProtobuf, resource.list_type(), header, views, *resource.prototype),
              recorded);
  }
}

TEST(WireFormatTest, APageIsTheRecordedBytes) {
  const std::string recorded = ReadRecorded("services.list.page1.pb");
  const std::string list = OpenRecorded(recorded).raw;
  const std::vector<std::string> objects = BytesFields(list, 2);
  ListHeader header{414, BytesFields(BytesFields(list, 1).at(0), 3).at(0), 5};
  const std::vector<std::string_view> views(objects.begin(), objects.end());
  const Resource& services = *FindResource("services");
  EXPECT_EQ(ListBody(Format::kProtobuf, services.list_type(), header, views, *services.prototype),
            recorded);
}

// Holds what the API server wrote in JSON against ours, as far as the messages have the fields.
void ExpectSame(const json& ours, const json& theirs, const Descriptor& type,
                const std::string& where) {
  if (type.full_name() == "sluice.model.IntOrString" || type.full_name() == "sluice.model.Time") {
    EXPECT_EQ(ours, theirs) << where;
    return;
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string& name = field.json_name();
    const std::string path = where + "." + name;
    ASSERT_EQ(ours.contains(name), theirs.contains(name)) << path;
    if (!ours.contains(name)) continue;
    if (field.is_map() || field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      EXPECT_EQ(ours[name], theirs[name]) << path;
    } else if (!field.is_repeated()) {
      ExpectSame(ours[name], theirs[name], *field.message_type(), path);
    } else {
      ASSERT_EQ(ours[name].size(), theirs[name].size()) << path;
      for (std::size_t at = 0; at < ours[name].size(); ++at) {
        ExpectSame(ours[name][at], theirs[name][at], *field.message_type(), path);
      }
    }
  }
}

TEST(WireFormatTest, JsonSaysWhatTheRecordedJsonSays) {
  for (const char* name : {"services", "endpointslices", "nodes"}) {
    const Resource& resource = *FindResource(name);
    const std::string file = std::string(name) + ".list";
    const std::vector<std::string> objects =
        BytesFields(OpenRecorded(ReadRecorded(file + ".pb")).raw, 2);
    const std::vector<std::string_view> views(objects.begin(), objects.end());
    const json ours = json::parse(
        ListBody(Format::kJson, resource.list_type(), {414, "", {}}, views, *resource.prototype));
    const json theirs = json::parse(ReadRecorded(file + ".json"));
    for (const char* key : {"kind", "apiVersion", "metadata"}) EXPECT_EQ(ours[key], theirs[key]);
    ASSERT_EQ(ours["items"].size(), theirs["items"].size());
    for (std::size_t i = 0; i < theirs["items"].size(); ++i) {
      ExpectSame(ours["items"][i], theirs["items"][i], *resource.prototype->GetDescriptor(), name);
    }
  }
}

// What the store does to an object must leave what the messages do not know, managedFields and all.
TEST(WireFormatTest, FieldsThatTheMessagesDoNotKnowAreKept) {
  const Resource& services = *FindResource("services");
  const std::vector<std::string> objects =
      BytesFields(OpenRecorded(ReadRecorded("services.list.pb")).raw, 2);
  ObjectStore store(1);
  for (const std::string& bytes : objects) {
    const std::unique_ptr<Message> message(services.prototype->New());
    ASSERT_TRUE(message->ParseFromString(bytes));
    const std::uint64_t version = store.Set(*message);
    const auto& stored = store.objects(services);
    std::size_t kept = 0;
    for (const auto& [name, object] : stored) {
      if (object->version != version) continue;
      kept = BytesFields(BytesFields(object->bytes, 1).at(0), 17).size();
    }
    EXPECT_EQ(kept, BytesFields(BytesFields(bytes, 1).at(0), 17).size());
    EXPECT_GT(kept, 0U);
  }
}

}  // namespace
}  // namespace sluice::api
