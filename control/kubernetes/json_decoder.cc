// SPDX-License-Identifier: Apache-2.0
// The JSON encoding: a list is one object with `items`, a watch one object after another.
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/kubernetes/answer_decoder.h"
#include "control/kubernetes/json_object.h"
#include "control/kubernetes/json_splitter.h"

namespace sluice {
namespace {

using google::protobuf::Message;

absl::Status Garbage(const absl::Status& status, const std::string& what) {
  return absl::DataLossError(
      absl::StrCat("what the server sends is no ", what, ": ", status.message()));
}

// The value of `"key":"..."` that comes first after `"metadata":`, as far as it can be seen in an
// object that is cut off.
std::string MetadataText(const std::string& text, const char* key) {
  const std::string quoted = absl::StrCat("\"", key, "\":\"");
  const std::size_t metadata = text.find("\"metadata\":");
  const std::size_t found = metadata == text.npos ? text.npos : text.find(quoted, metadata);
  if (found == text.npos) return "";
  const std::size_t begin = found + quoted.size();
  const std::size_t end = text.find('"', begin);
  return end == text.npos ? "" : text.substr(begin, end - begin);
}

class JsonDecoder : public AnswerDecoder {
 public:
  JsonDecoder(JsonSplitter::Form form, const std::string& kind, Message& object, AnswerSink& sink)
      : kind_(kind),
        object_(object),
        sink_(sink),
        splitter_(form, kMaxObjectBytes, [this](const auto& member, const auto& text, auto size) {
          return OnValue(member, text, size);
        }) {}

  absl::Status Add(std::string_view bytes) override { return splitter_.Add(bytes); }
  absl::Status End() override {
    return splitter_.AtEnd() ? absl::OkStatus()
                             : absl::DataLossError("the answer ends in its middle");
  }

 protected:
  virtual absl::Status OnValue(const std::string& member, const std::string& text,
                               std::uint64_t size) = 0;
  absl::Status TellOversize(const std::string& text, std::uint64_t size) {
    return sink_.OnOversize(MetadataText(text, "namespace"), MetadataText(text, "name"), size);
  }

  const std::string kind_;
  Message& object_;
  AnswerSink& sink_;

 private:
  JsonSplitter splitter_;
};

class JsonListDecoder final : public JsonDecoder {
 public:
  JsonListDecoder(const std::string& kind, Message& object, AnswerSink& sink)
      : JsonDecoder(JsonSplitter::Form::kMembersAndItems, kind, object, sink) {}

 private:
  absl::Status OnValue(const std::string& member, const std::string& text,
                       std::uint64_t size) override {
    if (member == "items" && text.front() == '{') {
      if (size > text.size()) return TellOversize(text, size);
      const absl::Status read = ReadJsonObject(text, object_);
      return read.ok() ? sink_.OnItem(object_) : Garbage(read, kind_);
    }
    if (member == "kind" && text != absl::StrCat("\"", kind_, "List\"")) {
      return absl::UnknownError(
          absl::StrCat("the server sends ", text, " where a ", kind_, "List belongs"));
    }
    if (member != "metadata") return absl::OkStatus();
    kube::ListMeta meta;
    const absl::Status read = ReadJsonObject(text, meta);
    return read.ok() ? sink_.OnListMeta(meta) : Garbage(read, "ListMeta");
  }
};

class JsonWatchDecoder final : public JsonDecoder {
 public:
  JsonWatchDecoder(const std::string& kind, Message& object, AnswerSink& sink)
      : JsonDecoder(JsonSplitter::Form::kValues, kind, object, sink) {}

 private:
  absl::Status OnValue(const std::string&, const std::string& text, std::uint64_t size) override {
    if (size > text.size()) return TellOversize(text, size);
    const absl::StatusOr<JsonWatchEvent> event = ReadJsonWatchEvent(text);
    if (!event.ok()) return Garbage(event.status(), "watch event");
    if (event->type == "ERROR") {
      kube::Status error;
      const absl::Status read = ReadJsonObject(event->object, error);
      return read.ok() ? sink_.OnError(error) : Garbage(read, "Status");
    }
    ASSIGN_OR_RETURN(const WatchEventType type, ReadWatchEventType(event->type));
    if (event->kind != kind_) {
      return absl::UnknownError(
          absl::StrCat("the server sends a ", event->kind, " where a ", kind_, " belongs"));
    }
    const absl::Status read = ReadJsonObject(event->object, object_);
    return read.ok() ? sink_.OnEvent(type, object_) : Garbage(read, kind_);
  }
};

}  // namespace

std::unique_ptr<AnswerDecoder> MakeJsonDecoder(AnswerForm form, const std::string& kind,
                                               Message& object, AnswerSink& sink) {
  if (form == AnswerForm::kList) return std::make_unique<JsonListDecoder>(kind, object, sink);
  return std::make_unique<JsonWatchDecoder>(kind, object, sink);
}

}  // namespace sluice
