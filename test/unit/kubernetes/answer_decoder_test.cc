// SPDX-License-Identifier: Apache-2.0
// The decoders on what a Kubernetes API server has really sent (test/samples/wire): whole, cut at
// every byte, and damaged.
#include "control/kubernetes/answer_decoder.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/kubernetes/answer_status.h"
#include "control/kubernetes/kube_options.h"
#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "test/support/recorded_wire.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kProtobuf[] = "application/vnd.kubernetes.protobuf";
constexpr char kJson[] = "application/json";

// Keeps what it is told, as lines; an object by its name.
template <typename Object>
class Recorder final : public AnswerSink {
 public:
  absl::Status OnListMeta(const kube::ListMeta& meta) override {
    version = meta.resource_version();
    next = meta.continue_token();
    return absl::OkStatus();
  }
  absl::Status OnItem(google::protobuf::Message& object) override {
    return Keep("", static_cast<Object&>(object));
  }
  absl::Status OnEvent(WatchEventType type, google::protobuf::Message& object) override {
    constexpr const char* kNames[] = {"ADDED ", "MODIFIED ", "DELETED ", "BOOKMARK "};
    const auto& message = static_cast<Object&>(object);
    version = message.metadata().resource_version();
    if (type == WatchEventType::kBookmark) {
      const auto& notes = message.metadata().annotations();
      lines.push_back(notes.contains("k8s.io/initial-events-end") ? "INITIAL END" : "BOOKMARK");
      return absl::OkStatus();
    }
    return Keep(kNames[static_cast<int>(type)], static_cast<Object&>(object));
  }
  absl::Status OnError(const kube::Status& error) override {
    lines.push_back(absl::StrCat("ERROR ", error.code(), " ", error.reason()));
    return absl::OkStatus();
  }
  absl::Status OnOversize(const std::string& name_space, const std::string& name,
                          std::uint64_t bytes) override {
    lines.push_back(absl::StrCat("OVERSIZE ", name_space, "/", name));
    oversize = bytes;
    return absl::OkStatus();
  }

  std::string version;
  std::string next;
  std::vector<std::string> lines;
  std::map<std::string, Object> objects;
  std::uint64_t oversize = 0;

 private:
  absl::Status Keep(const std::string& event, Object& object) {
    lines.push_back(event + object.metadata().name());
    objects[object.metadata().name()] = std::move(object);  // as real sinks do
    return absl::OkStatus();
  }
};

template <typename Object>
struct Decoding {
  absl::Status status;
  Recorder<Object> said;
};

// Decodes `bytes` in pieces of `piece` bytes.
template <typename Object>
Decoding<Object> Decode(const char* content_type, AnswerForm form, const std::string& bytes,
                        std::size_t piece = 1 << 20) {
  Decoding<Object> result;
  Object object;
  auto decoder = MakeDecoder(content_type, form, Object::descriptor()->name(), object, result.said);
  result.status = decoder.status();
  for (std::size_t at = 0; result.status.ok() && at < bytes.size(); at += piece) {
    result.status = (*decoder)->Add(std::string_view(bytes).substr(at, piece));
  }
  if (result.status.ok()) result.status = (*decoder)->End();
  return result;
}

template <typename Object>
Decoding<Object> DecodeList(const std::string& bytes, std::size_t piece = 1 << 20) {
  return Decode<Object>(kProtobuf, AnswerForm::kList, bytes, piece);
}
template <typename Object>
Decoding<Object> DecodeWatch(const std::string& bytes, std::size_t piece = 1 << 20) {
  return Decode<Object>(kProtobuf, AnswerForm::kWatch, bytes, piece);
}

TEST(AnswerDecoderTest, ReadsTheRecordedLists) {
  const auto services = DecodeList<model::Service>(ReadRecorded("services.list.pb"));
  ASSERT_THAT(services.status, IsOk());
  EXPECT_THAT(services.said.lines,
              UnorderedElementsAre("dns", "edge", "ext", "headless", "kubernetes", "node-udp",
                                   "other-proxy", "web"));
  EXPECT_NE(services.said.version, "");
  EXPECT_EQ(services.said.next, "");
  EXPECT_EQ(services.said.objects.at("edge").spec().cluster_ip(), "10.96.20.20");

  const auto slices = DecodeList<model::EndpointSlice>(ReadRecorded("endpointslices.list.pb"));
  ASSERT_THAT(slices.status, IsOk());
  EXPECT_EQ(slices.said.lines.size(), 5u);
  const auto nodes = DecodeList<model::Node>(ReadRecorded("nodes.list.pb"));
  ASSERT_THAT(nodes.status, IsOk());
  EXPECT_THAT(nodes.said.lines, ElementsAre("node-a", "node-b"));
}

TEST(AnswerDecoderTest, ReadsPages) {
  const auto first = DecodeList<model::Service>(ReadRecorded("services.list.page1.pb"));
  ASSERT_THAT(first.status, IsOk());
  EXPECT_EQ(first.said.lines.size(), 3u);
  EXPECT_NE(first.said.next, "");
  const auto second = DecodeList<model::Service>(ReadRecorded("services.list.page2.pb"));
  ASSERT_THAT(second.status, IsOk());
  EXPECT_FALSE(second.said.lines.empty());
  EXPECT_EQ(second.said.version, first.said.version);
}

TEST(AnswerDecoderTest, ReadsTheRecordedWatches) {
  const auto services = DecodeWatch<model::Service>(ReadRecorded("services.watch.pb"));
  ASSERT_THAT(services.status, IsOk());
  const auto& lines = services.said.lines;
  const auto end = std::find(lines.begin(), lines.end(), "INITIAL END");
  ASSERT_NE(end, lines.end());
  for (auto it = lines.begin(); it != end; ++it) EXPECT_THAT(*it, HasSubstr("ADDED "));
  EXPECT_GT(lines.end() - end, 1);  // changes came after
  const auto slices = DecodeWatch<model::EndpointSlice>(ReadRecorded("endpointslices.watch.pb"));
  ASSERT_THAT(slices.status, IsOk());
  EXPECT_THAT(slices.said.lines, ::testing::Contains("INITIAL END"));
  const auto gone = DecodeWatch<model::Service>(ReadRecorded("gone.watch.pb"));
  ASSERT_THAT(gone.status, IsOk());
  EXPECT_THAT(gone.said.lines, ElementsAre("ERROR 410 Expired"));
}

TEST(AnswerDecoderTest, ItDoesNotMatterWhereBytesAreCut) {
  const std::string list = ReadRecorded("services.list.pb");
  const std::string watch = ReadRecorded("services.watch.pb");
  const std::string json = ReadRecorded("services.list.json");
  const auto list_lines = DecodeList<model::Service>(list).said.lines;
  const auto watch_lines = DecodeWatch<model::Service>(watch).said.lines;
  for (const std::size_t piece : {1, 2, 3, 7, 64, 1000}) {
    const auto again = DecodeList<model::Service>(list, piece);
    EXPECT_THAT(again.status, IsOk());
    EXPECT_EQ(again.said.lines, list_lines);
    EXPECT_EQ(DecodeWatch<model::Service>(watch, piece).said.lines, watch_lines);
    EXPECT_EQ(Decode<model::Service>(kJson, AnswerForm::kList, json, piece).said.lines.size(),
              list_lines.size());
  }
}

TEST(AnswerDecoderTest, AnAnswerThatEndsEarlyIsToldFromOneThatIsWhole) {
  const std::string list = ReadRecorded("services.list.page1.pb");
  for (std::size_t size = 0; size < list.size(); ++size) {
    const auto cut = DecodeList<model::Service>(list.substr(0, size));
    // What follows the list itself in the envelope says nothing, and a cut between its fields
    // loses nothing.
    if (cut.status.ok()) {
      EXPECT_GT(size, list.size() - 8) << size;
      EXPECT_EQ(cut.said.lines.size(), 3u);
    } else {
      EXPECT_EQ(cut.status.code(), absl::StatusCode::kDataLoss) << size;
    }
  }
  const std::string watch = ReadRecorded("gone.watch.pb");
  for (std::size_t size = 1; size < watch.size(); ++size) {
    EXPECT_EQ(DecodeWatch<model::Service>(watch.substr(0, size)).status.code(),
              absl::StatusCode::kDataLoss);
  }
  const std::string json = ReadRecorded("services.list.json");
  const std::size_t end = json.rfind('}');
  for (std::size_t size = 0; size < end; size += 11) {
    EXPECT_EQ(Decode<model::Service>(kJson, AnswerForm::kList, json.substr(0, size)).status.code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(AnswerDecoderTest, DamagedBytesAreRefusedOrReadButNeverHarm) {
  std::mt19937 random(7);
  for (const char* file : {"services.list.pb", "services.watch.pb", "services.list.json"}) {
    const std::string bytes = ReadRecorded(file);
    const bool is_watch = std::string(file).find("watch") != std::string::npos;
    const bool is_json = std::string(file).find("json") != std::string::npos;
    int refused = 0;
    for (int round = 0; round < 300; ++round) {
      std::string damaged = bytes;
      for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      const auto result =
          Decode<model::Service>(is_json ? kJson : kProtobuf,
                                 is_watch ? AnswerForm::kWatch : AnswerForm::kList, damaged, 100);
      if (result.status.ok()) continue;
      ++refused;
      EXPECT_TRUE(absl::IsDataLoss(result.status) || absl::IsUnknown(result.status))
          << result.status.message();
    }
    EXPECT_GT(refused, 20) << file;
  }
}

TEST(AnswerDecoderTest, JsonSaysWhatProtobufSays) {
  const auto wire = DecodeList<model::Service>(ReadRecorded("services.list.pb"));
  const auto json =
      Decode<model::Service>(kJson, AnswerForm::kList, ReadRecorded("services.list.json"));
  ASSERT_THAT(json.status, IsOk());
  EXPECT_EQ(json.said.version, wire.said.version);
  ASSERT_EQ(json.said.objects.size(), wire.said.objects.size());
  for (const auto& [name, object] : json.said.objects) {
    const model::Service& other = wire.said.objects.at(name);
    EXPECT_EQ(object.metadata().uid(), other.metadata().uid());
    EXPECT_EQ(object.metadata().creation_timestamp().seconds(),
              other.metadata().creation_timestamp().seconds());
    ASSERT_EQ(object.spec().ports_size(), other.spec().ports_size()) << name;
    for (int i = 0; i < object.spec().ports_size(); ++i) {
      EXPECT_EQ(object.spec().ports(i).port(), other.spec().ports(i).port());
      EXPECT_EQ(object.spec().ports(i).target_port().str_val(),
                other.spec().ports(i).target_port().str_val());
      EXPECT_EQ(object.spec().ports(i).target_port().int_val(),
                other.spec().ports(i).target_port().int_val());
    }
  }
}

TEST(AnswerDecoderTest, JsonWatchesAreReadLineByLine) {
  const std::string watch =
      R"({"type":"ADDED","object":{"kind":"Service","apiVersion":"v1","metadata":{"name":"a\"}{",)"
      R"("namespace":"default","resourceVersion":"7"},"spec":{"ports":[{"port":80}]}}})"
      "\n"
      R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{"resourceVersion":"9",)"
      R"("annotations":{"k8s.io/initial-events-end":"true"}}}})"
      "\n"
      R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})"
      "\n";
  for (const std::size_t piece : {1, 5, 10000}) {
    const auto result =
        Decode<model::Service>("application/json;stream=watch", AnswerForm::kWatch, watch, piece);
    EXPECT_THAT(result.status, IsOk());
    EXPECT_THAT(result.said.lines, ElementsAre("ADDED a\"}{", "INITIAL END", "ERROR 410 Expired"));
  }
}

TEST(AnswerDecoderTest, AWatchMayEndBeforeItSaidAnything) {
  EXPECT_THAT(DecodeWatch<model::Service>("").status, IsOk());
  EXPECT_THAT(Decode<model::Service>(kJson, AnswerForm::kWatch, "").status, IsOk());
  EXPECT_FALSE(DecodeList<model::Service>("").status.ok());
  EXPECT_FALSE(Decode<model::Service>(kJson, AnswerForm::kList, "").status.ok());
}

TEST(AnswerDecoderTest, AnotherKindIsRefused) {
  const auto list = DecodeList<model::Node>(ReadRecorded("services.list.pb"));
  EXPECT_TRUE(absl::IsUnknown(list.status));
  EXPECT_THAT(std::string(list.status.message()),
              HasSubstr("a ServiceList where a NodeList belongs"));
  EXPECT_THAT(list.said.lines, IsEmpty());
  EXPECT_TRUE(absl::IsUnknown(DecodeWatch<model::Node>(ReadRecorded("services.watch.pb")).status));
  EXPECT_TRUE(absl::IsUnknown(
      Decode<model::Node>(kJson, AnswerForm::kList, ReadRecorded("services.list.json")).status));
  EXPECT_TRUE(absl::IsUnknown(
      Decode<model::Node>(kJson, AnswerForm::kWatch,
                          R"({"type":"ADDED","object":{"kind":"Service","metadata":{}}})")
          .status));
  EXPECT_TRUE(
      absl::IsUnknown(Decode<model::Node>("text/html", AnswerForm::kList, "<html>").status));
}

// An item or event of so many bytes, by protobuf's own encoding.
std::string Field(int number, std::string_view bytes) {
  std::string field(1, static_cast<char>(number << 3 | 2));
  std::size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) field += static_cast<char>(size | 0x80);
  field += static_cast<char>(size);
  return field.append(bytes);
}
std::string Service(const std::string& name, std::size_t padding) {
  return Field(1, Field(1, name) + Field(3, "default") + Field(4, std::string(padding, 'x')));
}
std::string Enveloped(const std::string& kind, const std::string& raw) {
  return std::string("k8s\0", 4) + Field(1, Field(1, "v1") + Field(2, kind)) + Field(2, raw) +
         Field(3, "") + Field(4, "");
}
std::string Frame(const std::string& type, const std::string& object) {
  const std::string event = Field(1, type) + Field(2, Field(1, object));
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>(event.size() >> shift & 0xff);
  }
  return frame + event;
}

TEST(AnswerDecoderTest, AbsurdlyLongObjectsAreSkippedAndNamed) {
  const std::string list = Enveloped(
      "ServiceList", Field(1, Field(2, "5")) + Field(2, Service("a", 1)) +
                         Field(2, Service("big", kMaxObjectBytes)) + Field(2, Service("b", 1)));
  const auto result = DecodeList<model::Service>(list, 100'000);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_THAT(result.said.lines, ElementsAre("a", "OVERSIZE default/big", "b"));
  EXPECT_GT(result.said.oversize, kMaxObjectBytes);

  const std::string watch = Frame("ADDED", Enveloped("Service", Service("big", kMaxObjectBytes))) +
                            Frame("ADDED", Enveloped("Service", Service("b", 1)));
  const auto events = DecodeWatch<model::Service>(watch, 100'000);
  EXPECT_THAT(events.status, IsOk());
  EXPECT_THAT(events.said.lines, ElementsAre("OVERSIZE default/big", "ADDED b"));

  const std::string json = absl::StrCat(
      R"({"kind":"ServiceList","metadata":{"resourceVersion":"5"},"items":[)",
      R"({"metadata":{"name":"a","namespace":"n"}},)",
      R"({"metadata":{"name":"big","namespace":"n"},"x":")", std::string(kMaxObjectBytes, 'x'),
      R"("},{"metadata":{"name":"b","namespace":"n"}}]})");
  const auto said = Decode<model::Service>(kJson, AnswerForm::kList, json, 100'000);
  EXPECT_THAT(said.status, IsOk());
  EXPECT_THAT(said.said.lines, ElementsAre("a", "OVERSIZE n/big", "b"));
}

TEST(AnswerDecoderTest, LengthsThatSomebodyMadeUpAreRefusedAtOnce) {
  const std::string list = ReadRecorded("services.list.pb");
  const auto absurd = DecodeWatch<model::Service>(std::string(8, '\xff'));
  EXPECT_TRUE(absl::IsDataLoss(absurd.status));
  EXPECT_THAT(std::string(absurd.status.message()), HasSubstr("absurd length"));
  EXPECT_TRUE(absl::IsDataLoss(DecodeList<model::Service>(std::string(100, '\xff')).status));
  const auto refused = [](const std::string& raw) {
    return absl::IsDataLoss(DecodeList<model::Service>(Enveloped("ServiceList", raw)).status);
  };
  // An item, or a number, that is longer than its list; one that does not end; absurd lengths, of
  // which nothing is waited for.
  const std::string item(
      "\x12\x7f"
      "abc");
  EXPECT_TRUE(refused(item));
  EXPECT_TRUE(refused(Field(2, Service("a", 1)) + "\x12"));
  EXPECT_TRUE(refused(Field(2, Service("a", 1)) + "\x18\x80"));
  EXPECT_TRUE(absl::IsDataLoss(
      DecodeList<model::Service>(Enveloped("ServiceList", "") + Field(2, "")).status));
  EXPECT_TRUE(refused("\x18" + std::string(11, '\x80')));
  const std::string endless = std::string("k8s\0", 4) + "\x12" + std::string(4, '\xff') + "\x7f";
  Recorder<model::Service> said;
  model::Service object;
  const auto decoder = MakeDecoder(kProtobuf, AnswerForm::kList, "Service", object, said);
  ASSERT_THAT(decoder.status(), IsOk());
  ASSERT_THAT((*decoder)->Add(endless), IsOk());
  EXPECT_TRUE(absl::IsDataLoss((*decoder)->Add("\x12\xff\xff\xff\xff\x01")));
  const auto other = MakeDecoder(kProtobuf, AnswerForm::kList, "Service", object, said);
  ASSERT_THAT((*other)->Add(endless), IsOk());
  EXPECT_TRUE(absl::IsDataLoss((*other)->Add("\x0a\xff\xff\xff\x01")));
}

TEST(AnswerDecoderTest, JsonThatIsNoListOrNoEventIsRefused) {
  for (const char* text : {"[1]", "7", "x", R"({"items":[7]})", R"({"items" 7})", "{}}", "{7}"}) {
    EXPECT_TRUE(absl::IsDataLoss(Decode<model::Service>(kJson, AnswerForm::kList, text).status))
        << text;
  }
  for (const char* text : {"[{}]", "7", R"({"type":"ADDED"})", R"({"object":{}})",
                           R"({"type":"NEW","object":{"kind":"Service"}})"}) {
    EXPECT_TRUE(absl::IsDataLoss(Decode<model::Service>(kJson, AnswerForm::kWatch, text).status))
        << text;
  }
}

TEST(AnswerDecoderTest, WhatIsCompressedThoughNobodyAskedIsRefused) {
  std::string gzip = Enveloped("Service", Service("a", 1));
  gzip = gzip.substr(0, gzip.size() - 4) + Field(3, "gzip") + Field(4, "");
  const auto result = DecodeWatch<model::Service>(Frame("ADDED", gzip));
  EXPECT_TRUE(absl::IsDataLoss(result.status));
  EXPECT_THAT(result.said.lines, IsEmpty());
}

TEST(AnswerDecoderTest, StatusBodiesBecomeWordsThatSayWhatToDo) {
  absl::Duration retry_after;
  const std::string body = ReadRecorded("unauthorized.pb");
  const absl::Status status = StatusOfAnswer("list", "services", "https://192.0.2.1:6443",
                                             {401, kProtobuf, body}, retry_after);
  EXPECT_TRUE(absl::IsUnauthenticated(status));
  EXPECT_EQ(status.message(),
            "list services: https://192.0.2.1:6443 answers 401 Unauthorized: Unauthorized (the "
            "token or client certificate is expired, revoked, or of another cluster)");
  const std::string bad = ReadRecorded("badcontinue.pb");
  EXPECT_TRUE(absl::IsInvalidArgument(
      StatusOfAnswer("list", "services", "https://a", {400, kProtobuf, bad}, retry_after)));
  const std::string json = R"({"kind":"Status","status":"Failure","message":"slow down","reason":)"
                           R"("TooManyRequests","details":{"retryAfterSeconds":7},"code":429})";
  EXPECT_TRUE(absl::IsResourceExhausted(
      StatusOfAnswer("list", "services", "https://a", {429, kJson, json}, retry_after)));
  EXPECT_EQ(retry_after, absl::Seconds(7));
}

}  // namespace
}  // namespace sluice
