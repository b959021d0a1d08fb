// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/json_object.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "control/base/status_macros.h"

namespace sluice {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Json = nlohmann::json;

absl::Status WrongType(const std::string& path, const Json& value) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": unexpected ", value.type_name()));
}

// The two messages that JSON writes as something else than an object.
bool IsTime(const Message& message) { return message.GetDescriptor()->name() == "Time"; }
bool IsIntOrString(const Message& message) {
  return message.GetDescriptor()->name() == "IntOrString";
}

absl::Status ReadTime(const Json& value, const std::string& path, Message& message) {
  absl::Time time;
  std::string error;
  if (!value.is_string()) return WrongType(path, value);
  if (!absl::ParseTime(absl::RFC3339_full, value.get_ref<const std::string&>(), &time, &error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no time: ", error));
  }
  const auto* descriptor = message.GetDescriptor();
  const Reflection* reflection = message.GetReflection();
  const std::int64_t seconds = absl::ToUnixSeconds(time);
  const auto nanos = absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds));
  reflection->SetInt64(&message, descriptor->FindFieldByName("seconds"), seconds);
  reflection->SetInt32(&message, descriptor->FindFieldByName("nanos"),
                       static_cast<std::int32_t>(nanos));
  return absl::OkStatus();
}

absl::Status ReadIntOrString(const Json& value, const std::string& path, Message& message) {
  const auto* descriptor = message.GetDescriptor();
  const Reflection* reflection = message.GetReflection();
  const bool is_text = value.is_string();
  if (!is_text && !value.is_number_integer()) return WrongType(path, value);
  reflection->SetInt64(&message, descriptor->FindFieldByName("type"), is_text ? 1 : 0);
  if (is_text) {
    reflection->SetString(&message, descriptor->FindFieldByName("str_val"),
                          value.get<std::string>());
  } else {
    reflection->SetInt32(&message, descriptor->FindFieldByName("int_val"),
                         static_cast<std::int32_t>(value.get<std::int64_t>()));
  }
  return absl::OkStatus();
}

constexpr int kMaxDepth = 200;  // objects of Kubernetes have some twenty

// The library parses any depth, but writes by recursion: a server could overflow the stack.
bool IsTooDeep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

absl::Status ReadMessage(const Json& value, const std::string& path, Message& message);

absl::Status ReadMap(const Json& value, const std::string& path, const FieldDescriptor* field,
                     Message& message) {
  if (!value.is_object()) return WrongType(path, value);
  const Reflection* reflection = message.GetReflection();
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) return WrongType(absl::StrCat(path, ".", key), text);
    Message* entry = reflection->AddMessage(&message, field);
    const auto* descriptor = entry->GetDescriptor();
    entry->GetReflection()->SetString(entry, descriptor->map_key(), key);
    entry->GetReflection()->SetString(entry, descriptor->map_value(), text.get<std::string>());
  }
  return absl::OkStatus();
}

// One value: of a single field, or one more of a repeated one.
absl::Status ReadValue(const Json& value, const std::string& path, const FieldDescriptor* field,
                       Message& message) {
  const Reflection* reflection = message.GetReflection();
  const bool repeated = field->is_repeated();
  const auto wrong = [&] { return WrongType(path, value); };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ReadMessage(value, path,
                         repeated ? *reflection->AddMessage(&message, field)
                                  : *reflection->MutableMessage(&message, field));
    case FieldDescriptor::CPPTYPE_STRING:
      if (!value.is_string()) return wrong();
      repeated ? reflection->AddString(&message, field, value.get<std::string>())
               : reflection->SetString(&message, field, value.get<std::string>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!value.is_boolean() || repeated) return wrong();
      reflection->SetBool(&message, field, value.get<bool>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64: {
      if (!value.is_number_integer() || repeated) return wrong();
      const auto number = value.get<std::int64_t>();
      const bool fits = field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
                        (number >= INT32_MIN && number <= INT32_MAX);
      if (!fits) return absl::InvalidArgumentError(absl::StrCat(path, ": ", number, " is too big"));
      field->cpp_type() == FieldDescriptor::CPPTYPE_INT64
          ? reflection->SetInt64(&message, field, number)
          : reflection->SetInt32(&message, field, static_cast<std::int32_t>(number));
      return absl::OkStatus();
    }
    default:
      return absl::InternalError(absl::StrCat(path, ": a type that the messages do not have"));
  }
}

absl::Status ReadMessage(const Json& value, const std::string& path, Message& message) {
  if (IsTime(message)) return ReadTime(value, path, message);
  if (IsIntOrString(message)) return ReadIntOrString(value, path, message);
  if (!value.is_object()) return WrongType(path, value);
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    const auto member = value.find(field->json_name());
    if (member == value.end() || member->is_null()) continue;
    const std::string below =
        path.empty() ? field->json_name() : absl::StrCat(path, ".", field->json_name());
    if (field->is_map()) {
      RETURN_IF_ERROR(ReadMap(*member, below, field, message));
    } else if (!field->is_repeated()) {
      RETURN_IF_ERROR(ReadValue(*member, below, field, message));
    } else {
      if (!member->is_array()) return WrongType(below, *member);
      for (const Json& element : *member) {
        RETURN_IF_ERROR(ReadValue(element, below, field, message));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadJsonObject(std::string_view text, Message& message) {
  const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError("not JSON");
  message.Clear();
  return ReadMessage(value, "", message);
}

absl::StatusOr<JsonWatchEvent> ReadJsonWatchEvent(std::string_view text) {
  if (IsTooDeep(text)) {
    return absl::InvalidArgumentError(absl::StrCat("nested deeper than ", kMaxDepth));
  }
  const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !value.is_object()) return absl::InvalidArgumentError("not JSON");
  const auto type = value.find("type");
  const auto object = value.find("object");
  if (type == value.end() || !type->is_string() || object == value.end() || !object->is_object()) {
    return absl::InvalidArgumentError("not a watch event: no type or no object");
  }
  const auto kind = object->find("kind");
  const bool has_kind = kind != object->end() && kind->is_string();
  // The replacement of bytes that are not UTF-8 keeps dump() from throwing.
  return JsonWatchEvent{type->get<std::string>(), has_kind ? kind->get<std::string>() : "",
                        object->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

}  // namespace sluice
