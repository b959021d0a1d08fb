// SPDX-License-Identifier: Apache-2.0
#include "control/source/value_tree.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace sluice {
namespace {

constexpr std::array<std::string_view, 5> kNulls = {"", "~", "null", "Null", "NULL"};
constexpr std::array<std::string_view, 11> kTrue = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                                    "True", "TRUE", "on",  "On",  "ON"};
constexpr std::array<std::string_view, 11> kFalse = {"n",     "N",     "no",  "No",  "NO", "false",
                                                     "False", "FALSE", "off", "Off", "OFF"};
constexpr std::array<std::string_view, 6> kSpecialFloats = {".inf", ".Inf", ".INF",
                                                            ".nan", ".NaN", ".NAN"};

template <std::size_t n>
bool IsOneOf(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// Eats the digits of `base` at the head of `text`; says whether there was one.
bool EatDigits(std::string_view& text, int base) {
  const auto is_digit = [base](char c) {
    if (c == '_') return true;  // YAML 1.1 lets digits be grouped
    if (base == 16) return std::isxdigit(static_cast<unsigned char>(c)) != 0;
    return c >= '0' && c < '0' + base;
  };
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  const bool found = count > 0 && text[0] != '_';
  text.remove_prefix(count);
  return found;
}

bool EatOneOf(std::string_view& text, std::string_view characters) {
  if (text.empty() || characters.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

bool IsPrefixedInteger(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return false;
  const int base = text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : text[1] == 'b' ? 2 : 0;
  if (base == 0) return false;
  text.remove_prefix(2);
  return EatDigits(text, base) && text.empty();
}

ValueKind ResolveNumber(std::string_view text) {
  EatOneOf(text, "+-");
  if (IsOneOf(text, kSpecialFloats)) return ValueKind::kFloat;
  if (IsPrefixedInteger(text)) return ValueKind::kInteger;
  const bool whole = EatDigits(text, 10);
  if (whole && text.empty()) return ValueKind::kInteger;
  bool fraction = false;
  if (EatOneOf(text, ".")) fraction = EatDigits(text, 10);
  if (!whole && !fraction) return ValueKind::kString;
  if (EatOneOf(text, "eE")) {
    EatOneOf(text, "+-");
    if (!EatDigits(text, 10)) return ValueKind::kString;
  }
  return text.empty() ? ValueKind::kFloat : ValueKind::kString;
}

}  // namespace

std::string_view ValueKindName(ValueKind kind) {
  switch (kind) {
    case ValueKind::kNull:
      return "null";
    case ValueKind::kBool:
      return "the boolean";
    case ValueKind::kInteger:
    case ValueKind::kFloat:
      return "the number";
    case ValueKind::kString:
      return "the string";
    case ValueKind::kSequence:
      return "a list";
    case ValueKind::kMapping:
      return "a mapping";
  }
  return "";
}

ValueKind ResolvePlainScalar(std::string_view text) {
  if (IsOneOf(text, kNulls)) return ValueKind::kNull;
  const char first = text[0];
  const bool like_number =
      (first >= '0' && first <= '9') || first == '.' || first == '+' || first == '-';
  if (like_number) return ResolveNumber(text);
  // No word of these is longer than "false".
  if (text.size() > 5) return ValueKind::kString;
  if (IsOneOf(text, kTrue) || IsOneOf(text, kFalse)) return ValueKind::kBool;
  return ValueKind::kString;
}

bool BoolOf(std::string_view text) { return IsOneOf(text, kTrue); }

ValueTree::Id ValueTree::Find(Id id, std::string_view key) const {
  if (id == kNone || kind(id) != ValueKind::kMapping) return kNone;
  for (Id name = first_child(id); name != kNone; name = next(next(name))) {
    const Id value = next(name);
    if (value == kNone) break;  // a document that broke off after a key
    if (kind(name) != ValueKind::kSequence && kind(name) != ValueKind::kMapping &&
        text(name) == key) {
      return value;
    }
  }
  return kNone;
}

ValueTree::Id ValueTree::Add(Id parent, ValueKind kind, Place place) {
  const Id id = static_cast<Id>(nodes_.size());
  Node& node = nodes_.emplace_back();
  node.kind = kind;
  node.line = place.line;
  node.column = place.column;
  if (parent == kNone) return id;
  Node& above = nodes_[parent];
  if (above.last_child == kNone) {
    above.first_child = id;
  } else {
    nodes_[above.last_child].next = id;
  }
  above.last_child = id;
  return id;
}

ValueTree::Id ValueTree::AddScalar(Id parent, ValueKind kind, Place place, std::string_view text) {
  const Id id = Add(parent, kind, place);
  nodes_[id].text_offset = static_cast<std::uint32_t>(text_.size());
  nodes_[id].text_size = static_cast<std::uint32_t>(text.size());
  text_.append(text);
  return id;
}

ValueTree::Id ValueTree::AddAlias(Id parent, Place place, Id target) {
  const Id id = Add(parent, ValueKind::kNull, place);
  nodes_[id].is_alias = true;
  nodes_[id].first_child = target;
  return id;
}

}  // namespace sluice
