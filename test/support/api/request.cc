// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/request.h"

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "control/model/meta.pb.h"

namespace sluice::api {
namespace {

using google::protobuf::Message;

constexpr std::string_view kProtobufType = "application/vnd.kubernetes.protobuf";
constexpr std::string_view kJsonType = "application/json";

std::string Get(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  return found == query.end() ? "" : found->second;
}

bool IsTrue(const std::string& text) { return text == "1" || text == "true"; }

model::ObjectMeta& MetaOf(Message& message) {
  const google::protobuf::FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName("metadata");
  return static_cast<model::ObjectMeta&>(*message.GetReflection()->MutableMessage(&message, field));
}

std::string VerbOf(std::string_view method, const Target& target, const Query& query) {
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method != "GET") return absl::AsciiStrToLower(std::string(method));
  if (!target.name.empty()) return "get";
  return IsTrue(Get(query, "watch")) ? "watch" : "list";
}

}  // namespace

Target ParseTarget(std::string_view method, std::string_view path, const Query& query) {
  Target target;
  std::vector<std::string> parts = absl::StrSplit(std::string(path), '/', absl::SkipEmpty());
  std::size_t at = 0;
  if (parts.size() > 2 && parts[0] == "api") {
    at = 2;
  } else if (parts.size() > 3 && parts[0] == "apis") {
    target.group = parts[1];
    at = 3;
  } else {
    target.verb = absl::AsciiStrToLower(std::string(method));
    return target;
  }
  if (parts.size() > at + 2 && parts[at] == "namespaces") {
    target.name_space = parts[at + 1];
    at += 2;
  }
  target.resource = parts[at];
  if (parts.size() > at + 1) target.name = parts[at + 1];
  target.verb = VerbOf(method, target, query);
  return target;
}

bool NodeProxierMay(const Target& target) {
  const bool follow = target.verb == "list" || target.verb == "watch";
  if (target.group.empty()) {
    if (target.resource == "services" || target.resource == "endpoints") return follow;
    if (target.resource == "nodes") return follow || target.verb == "get";
  }
  if (target.group == "discovery.k8s.io" && target.resource == "endpointslices") return follow;
  if (target.group == "networking.k8s.io" && target.resource == "servicecidrs") return follow;
  const bool writes = target.verb == "create" || target.verb == "patch" || target.verb == "update";
  return target.resource == "events" && writes &&
         (target.group.empty() || target.group == "events.k8s.io");
}

std::string ForbiddenMessage(const Target& target, std::string_view user) {
  std::string what = target.resource;
  if (!target.group.empty()) absl::StrAppend(&what, ".", target.group);
  if (!target.name.empty()) absl::StrAppend(&what, " \"", target.name, "\"");
  const std::string scope = target.name_space.has_value()
                                ? absl::StrCat("in the namespace \"", *target.name_space, "\"")
                                : "at the cluster scope";
  return absl::StrCat(what, " is forbidden: User \"", std::string(user), "\" cannot ", target.verb,
                      " resource \"", target.resource, "\" in API group \"", target.group, "\" ",
                      scope);
}

std::optional<Format> Negotiate(std::string_view accept, bool protobuf) {
  if (accept.empty()) return Format::kJson;
  const std::vector<std::string> choices = absl::StrSplit(std::string(accept), ',');
  for (const std::string& choice : choices) {
    const std::string type(absl::StripAsciiWhitespace(choice.substr(0, choice.find(';'))));
    if (type == kProtobufType && protobuf) return Format::kProtobuf;
    if (type == kJsonType || type == "*/*" || type == "application/*") return Format::kJson;
  }
  return std::nullopt;
}

std::string_view ContentType(Format format) {
  return format == Format::kProtobuf ? kProtobufType : kJsonType;
}

std::string ContinueToken(std::uint64_t version, const ObjectName& last) {
  return absl::WebSafeBase64Escape(absl::StrCat("v1 ", version, " ", last.first, "/", last.second));
}

absl::StatusOr<Page> ParsePage(const Query& query) {
  Page page;
  if (const std::string limit = Get(query, "limit"); !limit.empty()) {
    if (!absl::SimpleAtoi(limit, &page.limit)) {
      return absl::InvalidArgumentError(absl::StrCat("limit: invalid value ", limit));
    }
  }
  const std::string token = Get(query, "continue");
  if (token.empty()) return page;
  std::string text;
  const bool decoded = absl::WebSafeBase64Unescape(token, &text);
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  if (!decoded || words.size() != 3 || !absl::SimpleAtoi(words[1], &page.version)) {
    return absl::InvalidArgumentError(
        "invalid continue token: continue key is not valid: illegal base64 data at input byte 4");
  }
  page.after = absl::StrSplit(words[2], absl::MaxSplits('/', 1));
  return page;
}

absl::StatusOr<std::string> EventName(std::string_view content_type, std::string_view body,
                                      std::string_view name_space) {
  if (content_type.substr(0, kJsonType.size()) != kJsonType) {
    return absl::InvalidArgumentError(absl::StrCat(
        "events are taken as application/json here, not as ", std::string(content_type)));
  }
  const nlohmann::json event = nlohmann::json::parse(body, nullptr, false);
  if (!event.is_object() || event.value("kind", "") != "Event" || !event.contains("metadata")) {
    return absl::InvalidArgumentError("the object provided is unrecognized: no Event");
  }
  const nlohmann::json& meta = event["metadata"];
  const std::string stated = meta.value("namespace", std::string(name_space));
  if (stated != name_space) {
    return absl::InvalidArgumentError(
        "the namespace of the provided object does not match the namespace sent on the request");
  }
  std::string name = meta.value("name", meta.value("generateName", ""));
  if (name.empty()) return absl::InvalidArgumentError("name or generateName is required");
  return name;
}

WatchCursor::WatchCursor(const Resource& resource, Selector selector, const ObjectStore& store)
    : resource_(resource), selector_(std::move(selector)), version_(store.version()) {
  for (const auto& [name, object] : store.objects(resource)) {
    if (selector_.Matches(*object)) initial_.push_back(object);
  }
}

WatchCursor::WatchCursor(const Resource& resource, Selector selector, std::uint64_t version)
    : resource_(resource), selector_(std::move(selector)), version_(version) {}

std::optional<WatchEvent> WatchCursor::Next(const ObjectStore& store) {
  if (next_initial_ < initial_.size()) {
    const ObjectPtr object = std::move(initial_[next_initial_++]);
    return WatchEvent{"ADDED", object->version, object->bytes};
  }
  while (const Change* change = store.NextChange(resource_, version_)) {
    version_ = change->version;
    const bool was_ours = change->before != nullptr && selector_.Matches(*change->before);
    const bool is_ours = !change->deleted && selector_.Matches(*change->after);
    if (!was_ours && !is_ours) continue;
    const char* type = !was_ours ? "ADDED" : is_ours ? "MODIFIED" : "DELETED";
    return WatchEvent{type, change->version, change->after->bytes};
  }
  return std::nullopt;
}

WatchEvent WatchCursor::Bookmark(bool ends_initial_events) const {
  const std::unique_ptr<Message> object(resource_.prototype->New());
  model::ObjectMeta& meta = MetaOf(*object);
  meta.set_resource_version(absl::StrCat(version_));
  if (ends_initial_events) (*meta.mutable_annotations())["k8s.io/initial-events-end"] = "true";
  return {"BOOKMARK", version_, object->SerializeAsString()};
}

void SetVersion(WatchEvent& event, const Resource& resource, std::uint64_t version) {
  const std::unique_ptr<Message> object(resource.prototype->New());
  object->ParseFromString(event.object);
  MetaOf(*object).set_resource_version(absl::StrCat(version));
  event.object = object->SerializeAsString();
}

}  // namespace sluice::api
