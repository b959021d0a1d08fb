// SPDX-License-Identifier: Apache-2.0
#include "control/source/message_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "control/model/meta.pb.h"

namespace sluice {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A document may hold a value once and name it often (aliases), and so on for each level: without a
// bound a kilobyte can stand for a billion endpoints.
constexpr std::size_t kMaxAliasedValues = 1'000'000;
constexpr int kMaxMergeDepth = 8;
constexpr std::size_t kShownLength = 40;

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// Reads 80, +80, 0x50 and 0o120; nothing when it does not fit. A leading zero is octal to some
// parsers and decimal to others, so it is not taken.
std::optional<std::int64_t> IntegerOf(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    base = text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : text[1] == 'b' ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  }
  if (base == 10 && text.size() > 1 && text[0] == '0') return std::nullopt;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? -number : number;
}

}  // namespace

std::string MessageReader::Path() const {
  std::string path;
  for (const Step& step : path_) {
    if (step.name.empty()) {
      absl::StrAppend(&path, "[", step.index, "]");
    } else {
      absl::StrAppend(&path, path.empty() ? "" : ".", ToAbsl(step.name));
    }
  }
  return path;
}

void MessageReader::AddProblem(Id value, std::string message) {
  if (problems_.size() >= kMaxFieldProblems) return;
  const std::string path = Path();
  problems_.push_back(
      {tree_.line(value), path.empty() ? std::move(message) : absl::StrCat(path, ": ", message)});
}

void MessageReader::RemarkUnknownField(Id key, const Message& message) {
  const google::protobuf::Descriptor* type = message.GetDescriptor();
  const std::string_view name = tree_.text(key);
  if (name == "<<" || remarks_.size() >= kMaxFieldProblems || !IsUnknownField(type, name) ||
      !unknown_fields_.emplace(type, name).second) {
    return;
  }
  path_.push_back({name});
  remarks_.push_back({tree_.line(key), absl::StrCat(Path(), ": unknown field; it is ignored")});
  path_.pop_back();
}

std::string MessageReader::Describe(Id value) const {
  const ValueKind kind = tree_.kind(value);
  const std::string_view name = ValueKindName(kind);
  if (kind == ValueKind::kNull || kind == ValueKind::kSequence || kind == ValueKind::kMapping) {
    return std::string(name);
  }
  const std::string_view text = tree_.text(value);
  const absl::string_view quote = kind == ValueKind::kString ? "\"" : "";
  return absl::StrCat(ToAbsl(name), " ", quote, ToAbsl(text.substr(0, kShownLength)),
                      text.size() > kShownLength ? "..." : "", quote);
}

void MessageReader::AddTypeProblem(Id value, std::string_view expected) {
  const ValueKind kind = tree_.kind(value);
  const bool number_like =
      kind == ValueKind::kBool || kind == ValueKind::kInteger || kind == ValueKind::kFloat;
  const char* advice = "";
  if (expected == "a string" && number_like) advice = ": put it in quotes";
  if (expected != "a string" && kind == ValueKind::kString) advice = ": is it in quotes?";
  AddProblem(value,
             absl::StrCat("expected ", ToAbsl(expected), ", found ", Describe(value), advice));
}

bool MessageReader::Count(Id value) {
  if (too_many_values_) return false;
  if (++values_read_ <= tree_.size() + kMaxAliasedValues) return true;
  too_many_values_ = true;
  AddProblem(value, "aliases stand for more than a million values: write them out");
  return false;
}

void MessageReader::Read(Id value, Message& message) { ReadMessage(value, message); }

void MessageReader::ReadMessage(Id value, Message& message) {
  if (!Count(value)) return;
  const std::string& type = message.GetDescriptor()->full_name();
  if (type == "sluice.model.Time") return ReadTime(value, message);
  if (type == "sluice.model.IntOrString") return ReadIntOrString(value, message);
  if (tree_.kind(value) != ValueKind::kMapping) return AddTypeProblem(value, "a mapping");
  std::vector<Id> seen_at(FieldsOf(message.GetDescriptor()).size(), ValueTree::kNone);
  ReadFields(value, message, seen_at, 0);
}

// seen_at[i]: where field i was found, so that it is not taken twice.
void MessageReader::ReadFields(Id value, Message& message, std::vector<Id>& seen_at,
                               int merge_depth) {
  const std::vector<FieldEntry>& fields = FieldsOf(message.GetDescriptor());
  std::vector<Id> merges;
  for (Id key = tree_.first_child(value); key != ValueTree::kNone;
       key = tree_.next(tree_.next(key))) {
    const Id field_value = tree_.next(key);
    const std::string_view name = tree_.text(key);
    if (name == "<<") merges.push_back(field_value);
    const auto entry = std::find_if(fields.begin(), fields.end(), [name](const FieldEntry& field) {
      return field.json_name == name;
    });
    if (entry == fields.end()) {
      RemarkUnknownField(key, message);
      continue;
    }
    Id& seen = seen_at[static_cast<std::size_t>(entry - fields.begin())];
    if (seen == ValueTree::kNone) {
      seen = key;
      path_.push_back({entry->json_name});
      ReadField(field_value, *entry, message);
      path_.pop_back();
    } else if (merge_depth == 0) {
      root_has_duplicates_ |= path_.empty();
      AddProblem(key, absl::StrCat(ToAbsl(name), " is said twice, first in line ", tree_.line(seen),
                                   ": is a --- missing between two objects?"));
    }
  }
  // What is merged in counts only where the mapping itself says nothing.
  for (const Id merge : merges) Merge(merge, message, seen_at, merge_depth);
}

void MessageReader::Merge(Id value, Message& message, std::vector<Id>& seen_at, int merge_depth) {
  if (merge_depth >= kMaxMergeDepth) return AddProblem(value, "merged (<<) too deeply");
  if (tree_.kind(value) == ValueKind::kMapping) {
    if (Count(value)) ReadFields(value, message, seen_at, merge_depth + 1);
    return;
  }
  if (tree_.kind(value) != ValueKind::kSequence) {
    return AddTypeProblem(value, "a mapping or a list of mappings to merge (<<)");
  }
  for (Id each = tree_.first_child(value); each != ValueTree::kNone; each = tree_.next(each)) {
    Merge(each, message, seen_at, merge_depth + 1);
  }
}

void MessageReader::ReadField(Id value, const FieldEntry& entry, Message& message) {
  if (tree_.kind(value) == ValueKind::kNull) return;  // as if it were not there
  if (entry.field->is_map()) return ReadMap(value, entry, message);
  if (entry.field->is_repeated()) return ReadList(value, entry, message);
  if (entry.field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return ReadMessage(value, *message.GetReflection()->MutableMessage(&message, entry.field));
  }
  ReadScalar(value, entry, message);
}

void MessageReader::ReadList(Id value, const FieldEntry& entry, Message& message) {
  if (tree_.kind(value) != ValueKind::kSequence) return AddTypeProblem(value, "a list");
  if (!Count(value)) return;
  path_.push_back({});
  for (Id each = tree_.first_child(value); each != ValueTree::kNone && !too_many_values_;
       each = tree_.next(each), ++path_.back().index) {
    if (entry.field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ReadMessage(each, *message.GetReflection()->AddMessage(&message, entry.field));
    } else {
      ReadScalar(each, entry, message);
    }
  }
  path_.pop_back();
}

void MessageReader::ReadMap(Id value, const FieldEntry& entry, Message& message) {
  if (tree_.kind(value) != ValueKind::kMapping) return AddTypeProblem(value, "a mapping");
  if (!Count(value)) return;
  const FieldDescriptor* key_field = entry.field->message_type()->map_key();
  const FieldDescriptor* value_field = entry.field->message_type()->map_value();
  for (Id key = tree_.first_child(value); key != ValueTree::kNone;
       key = tree_.next(tree_.next(key))) {
    const Id map_value = tree_.next(key);
    path_.push_back({tree_.text(key)});
    if (tree_.kind(key) == ValueKind::kSequence || tree_.kind(key) == ValueKind::kMapping) {
      AddTypeProblem(key, "a string as the key");
    } else if (tree_.kind(map_value) == ValueKind::kNull) {
      // Go's maps of strings read null as the empty string.
    } else if (tree_.kind(map_value) != ValueKind::kString) {
      AddTypeProblem(map_value, "a string");
    } else if (Count(map_value)) {
      Message* map_entry = message.GetReflection()->AddMessage(&message, entry.field);
      map_entry->GetReflection()->SetString(map_entry, key_field, std::string(tree_.text(key)));
      map_entry->GetReflection()->SetString(map_entry, value_field,
                                            std::string(tree_.text(map_value)));
    }
    path_.pop_back();
  }
}

void MessageReader::ReadScalar(Id value, const FieldEntry& entry, Message& message) {
  if (!Count(value)) return;
  const Reflection* reflection = message.GetReflection();
  switch (entry.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (tree_.kind(value) != ValueKind::kBool) return AddTypeProblem(value, "true or false");
      return reflection->SetBool(&message, entry.field, BoolOf(tree_.text(value)));
    case FieldDescriptor::CPPTYPE_STRING:
      break;
    default:
      return ReadInteger(value, entry, message);
  }
  if (tree_.kind(value) != ValueKind::kString) return AddTypeProblem(value, "a string");
  const std::string_view text = tree_.text(value);
  const std::span<const std::string_view> words = entry.rule.words;
  // An empty word is one that was not given: the API server writes it so.
  if (!words.empty() && !text.empty() &&
      std::find(words.begin(), words.end(), text) == words.end()) {
    return AddProblem(value, absl::StrCat("expected ", ListOf(words), ", found ", Describe(value)));
  }
  if (entry.field->is_repeated()) {
    reflection->AddString(&message, entry.field, std::string(text));
  } else {
    reflection->SetString(&message, entry.field, std::string(text));
  }
}

void MessageReader::ReadInteger(Id value, const FieldEntry& entry, Message& message) {
  if (tree_.kind(value) != ValueKind::kInteger) return AddTypeProblem(value, "a whole number");
  const std::optional<std::int64_t> number = IntegerOf(tree_.text(value));
  const FieldRule& rule = entry.rule;
  const bool is_int32 = entry.field->cpp_type() == FieldDescriptor::CPPTYPE_INT32;
  const std::int64_t min = std::max<std::int64_t>(
      rule.min, is_int32 ? std::numeric_limits<std::int32_t>::min() : rule.min);
  const std::int64_t max = std::min<std::int64_t>(
      rule.max, is_int32 ? std::numeric_limits<std::int32_t>::max() : rule.max);
  if (!number.has_value() || *number < min || *number > max) {
    const bool leading_zero = !number.has_value() && tree_.text(value).starts_with('0');
    return AddProblem(value, absl::StrCat(ToAbsl(tree_.text(value).substr(0, kShownLength)),
                                          leading_zero ? " has a leading zero; write a number in "
                                                       : " is not in ",
                                          min, "..", max));
  }
  if (is_int32) {
    message.GetReflection()->SetInt32(&message, entry.field, static_cast<std::int32_t>(*number));
  } else {
    message.GetReflection()->SetInt64(&message, entry.field, *number);
  }
}

void MessageReader::ReadTime(Id value, Message& time) {
  absl::Time parsed;
  std::string error;
  if (tree_.kind(value) != ValueKind::kString ||
      !absl::ParseTime(absl::RFC3339_full, ToAbsl(tree_.text(value)), &parsed, &error)) {
    return AddTypeProblem(value, "a time like 2026-11-23T10:00:00Z");
  }
  auto& message = static_cast<model::Time&>(time);
  const std::int64_t seconds = absl::ToUnixSeconds(parsed);
  message.set_seconds(seconds);
  message.set_nanos(
      static_cast<std::int32_t>(absl::ToInt64Nanoseconds(parsed - absl::FromUnixSeconds(seconds))));
}

void MessageReader::ReadIntOrString(Id value, Message& int_or_string) {
  auto& message = static_cast<model::IntOrString&>(int_or_string);
  if (tree_.kind(value) == ValueKind::kString) {
    if (tree_.text(value).empty()) return AddProblem(value, "is empty");
    message.set_type(1);
    message.set_str_val(std::string(tree_.text(value)));
    return;
  }
  if (tree_.kind(value) != ValueKind::kInteger) {
    return AddTypeProblem(value, "a port's number or name");
  }
  const std::optional<std::int64_t> number = IntegerOf(tree_.text(value));
  if (number == 0) return;  // as if it were not there: Go's zero value
  if (!number.has_value() || *number < 1 || *number > 65535) {
    return AddProblem(value, absl::StrCat(ToAbsl(tree_.text(value).substr(0, kShownLength)),
                                          " is not in 1..65535"));
  }
  message.set_type(0);
  message.set_int_val(static_cast<std::int32_t>(*number));
}

}  // namespace sluice
