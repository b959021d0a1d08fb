// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/wire_format.h"

#include <map>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

#include "control/model/meta.pb.h"

namespace sluice::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::internal::WireFormatLite;
using nlohmann::json;

// Fields of one message, in the order they are added.
class Fields {
 public:
  Fields& Text(int number, std::string_view value) {
    WireFormatLite::WriteBytes(number, std::string(value), &out_);
    return *this;
  }
  Fields& Number(int number, std::int64_t value) {
    WireFormatLite::WriteInt64(number, value, &out_);
    return *this;
  }
  std::string Take() {
    out_.Trim();
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
  google::protobuf::io::StringOutputStream stream_{&bytes_};
  google::protobuf::io::CodedOutputStream out_{&stream_};
};

constexpr std::string_view kMagic("k8s\0", 4);

const std::map<int, std::pair<const char*, const char*>>& KnownCodes() {
  static const auto* codes = new std::map<int, std::pair<const char*, const char*>>{
      {400, {"BadRequest", "the server could not understand the request"}},
      {401, {"Unauthorized", "Unauthorized"}},
      {403, {"Forbidden", "forbidden"}},
      {404, {"NotFound", "the server could not find the requested resource"}},
      {406,
       {"NotAcceptable",
        "only the following media types are accepted: application/json, application/yaml"}},
      {409, {"AlreadyExists", "the object already exists"}},
      {410, {"Expired", "The resourceVersion for the provided watch is too old."}},
      {422, {"Invalid", "the request is invalid"}},
      {429, {"TooManyRequests", "Too many requests, please try again later."}},
      {500, {"InternalError", "an error on the server has prevented the request from succeeding"}},
      {503, {"ServiceUnavailable", "the server is currently unable to handle the request"}},
      {504, {"Timeout", "the server was unable to return a response in the time allotted"}},
  };
  return *codes;
}

json ScalarToJson(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  const bool repeated = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return repeated ? reflection->GetRepeatedString(message, field, index)
                      : reflection->GetString(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? reflection->GetRepeatedBool(message, field, index)
                      : reflection->GetBool(message, field);
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? reflection->GetRepeatedInt32(message, field, index)
                      : reflection->GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? reflection->GetRepeatedInt64(message, field, index)
                      : reflection->GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(repeated ? reflection->GetRepeatedMessage(message, field, index)
                             : reflection->GetMessage(message, field));
    default:
      return nullptr;  // no other type is in control/model
  }
}

json MapToJson(const Message& message, const FieldDescriptor* field) {
  json object = json::object();
  const Reflection* reflection = message.GetReflection();
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, field, i);
    const google::protobuf::Descriptor* type = entry.GetDescriptor();
    object[entry.GetReflection()->GetString(entry, type->map_key())] =
        ScalarToJson(entry, type->map_value(), -1);
  }
  return object;
}

// Go writes "", 0 and false in protobuf and leaves them out in JSON, except behind pointers.
bool LeftOutOfJson(const FieldDescriptor* field, const json& value) {
  static const auto* behind_pointers = new std::set<std::string>{
      "EndpointConditions", "EndpointPort", "ClientIpConfig", "allocate_load_balancer_node_ports"};
  if (behind_pointers->count(field->containing_type()->name()) > 0) return false;
  if (behind_pointers->count(field->name()) > 0) return false;
  return value == json("") || value == json(0) || value == json(false);
}

}  // namespace

Status WithDefaults(Status status) {
  const auto known = KnownCodes().find(status.code);
  if (status.reason.empty() && known != KnownCodes().end()) status.reason = known->second.first;
  if (status.message.empty() && known != KnownCodes().end()) status.message = known->second.second;
  return status;
}

Status TooLarge(std::uint64_t asked, std::uint64_t current) {
  return {504, "Timeout",
          absl::StrCat("Timeout: Too large resource version: ", asked, ", current: ", current), 1};
}

std::string Envelope(const TypeName& type, std::string_view object) {
  const std::string name = Fields().Text(1, type.api_version).Text(2, type.kind).Take();
  std::string envelope(kMagic);
  return envelope.append(Fields().Text(1, name).Text(2, object).Text(3, "").Text(4, "").Take());
}

std::string Frame(std::string_view event, std::string_view object) {
  const std::string extension = Fields().Text(1, object).Take();
  const std::string body = Fields().Text(1, event).Text(2, extension).Take();
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame.push_back(static_cast<char>((body.size() >> shift) & 0xff));
  }
  return frame + body;
}

json ToJson(const Message& message) {
  if (message.GetDescriptor() == model::Time::descriptor()) {
    const auto& time = static_cast<const model::Time&>(message);
    return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(time.seconds()),
                            absl::UTCTimeZone());
  }
  if (message.GetDescriptor() == model::IntOrString::descriptor()) {
    const auto& either = static_cast<const model::IntOrString&>(message);
    return either.type() == 0 ? json(either.int_val()) : json(either.str_val());
  }
  json object = json::object();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    json value;
    if (field->is_map()) {
      value = MapToJson(message, field);
    } else if (field->is_repeated()) {
      value = json::array();
      for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
        value.push_back(ScalarToJson(message, field, i));
      }
    } else {
      value = ScalarToJson(message, field, -1);
      if (LeftOutOfJson(field, value)) continue;
    }
    object[field->json_name()] = std::move(value);
  }
  return object;
}

namespace {

json BytesToJson(std::string_view bytes, const Message& prototype) {
  const std::unique_ptr<Message> message(prototype.New());
  message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  return ToJson(*message);
}

}  // namespace

std::string ListBody(Format format, const TypeName& list_type, const ListHeader& header,
                     const std::vector<std::string_view>& objects, const Message& prototype) {
  if (format == Format::kProtobuf) {
    Fields meta;
    meta.Text(1, "").Text(2, absl::StrCat(header.version)).Text(3, header.next);
    if (header.remaining.has_value()) meta.Number(4, *header.remaining);
    Fields list;
    list.Text(1, meta.Take());
    for (std::string_view object : objects) list.Text(2, object);
    return Envelope(list_type, list.Take());
  }
  json body = {{"kind", list_type.kind},
               {"apiVersion", list_type.api_version},
               {"metadata", {{"resourceVersion", absl::StrCat(header.version)}}},
               {"items", json::array()}};
  if (!header.next.empty()) body["metadata"]["continue"] = header.next;
  if (header.remaining.has_value()) body["metadata"]["remainingItemCount"] = *header.remaining;
  for (std::string_view object : objects) body["items"].push_back(BytesToJson(object, prototype));
  return body.dump();
}

std::string ObjectBody(Format format, const TypeName& type, std::string_view object,
                       const Message& prototype) {
  if (format == Format::kProtobuf) return Envelope(type, object);
  json body = BytesToJson(object, prototype);
  body["kind"] = type.kind;
  body["apiVersion"] = type.api_version;
  return body.dump();
}

std::string StatusBody(Format format, const Status& status) {
  if (format == Format::kProtobuf) {
    const std::string meta = Fields().Text(1, "").Text(2, "").Text(3, "").Take();
    Fields body;
    body.Text(1, meta).Text(2, "Failure").Text(3, status.message).Text(4, status.reason);
    if (status.retry_after_seconds.has_value()) {
      body.Text(5, Fields().Number(5, *status.retry_after_seconds).Take());
    }
    return Envelope({"v1", "Status"}, body.Number(6, status.code).Take());
  }
  json body = {{"kind", "Status"},    {"apiVersion", "v1"},        {"metadata", json::object()},
               {"status", "Failure"}, {"message", status.message}, {"reason", status.reason},
               {"code", status.code}};
  if (status.retry_after_seconds.has_value()) {
    body["details"] = {{"retryAfterSeconds", *status.retry_after_seconds}};
  }
  return body.dump();
}

std::string EventBody(Format format, std::string_view event, std::string_view body) {
  if (format == Format::kProtobuf) return Frame(event, body);
  std::string line = R"({"type":")";
  return line.append(event).append(R"(","object":)").append(body).append("}\n");
}

}  // namespace sluice::api
