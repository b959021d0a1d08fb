// SPDX-License-Identifier: Apache-2.0
#include "control/report/output.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "yaml-cpp/yaml.h"

namespace sluice::report {
namespace {

// Whether a YAML reader would take the unquoted text for something else than this string.
bool ReadsAsOtherType(const std::string& text) {
  const YAML::Node node(text);
  bool as_bool = false;
  double as_number = 0;
  return text.empty() || YAML::IsNullString(text) || YAML::convert<bool>::decode(node, as_bool) ||
         YAML::convert<double>::decode(node, as_number);
}

void EmitYaml(YAML::Emitter& out, const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      if (value.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (const auto& [key, child] : value.items()) {
        out << YAML::Key << key << YAML::Value;
        EmitYaml(out, child);
      }
      out << YAML::EndMap;
      return;
    case Json::value_t::array:
      if (value.empty()) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const Json& child : value) EmitYaml(out, child);
      out << YAML::EndSeq;
      return;
    case Json::value_t::string: {
      const std::string& text = value.get_ref<const std::string&>();
      if (ReadsAsOtherType(text)) out << YAML::DoubleQuoted;
      out << text;
      return;
    }
    case Json::value_t::null:
      out << YAML::Null;
      return;
    default:  // booleans and numbers are written alike in both languages
      out << value.dump();
      return;
  }
}

// At least three significant digits, cut after `base`-sized steps.
std::string Human(std::uint64_t value, double base, const std::array<const char*, 7>& units) {
  if (static_cast<double>(value) < base) return absl::StrCat(value, units[0]);
  double scaled = static_cast<double>(value);
  std::size_t unit = 0;
  while (scaled >= base && unit + 1 < units.size()) {
    scaled /= base;
    ++unit;
  }
  const int decimals = scaled < 9.995 ? 2 : (scaled < 99.95 ? 1 : 0);
  return absl::StrFormat("%.*f%s", decimals, scaled, units[unit]);
}

}  // namespace

std::string RenderJson(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string RenderYaml(const Json& value) {
  YAML::Emitter out;
  EmitYaml(out, value);
  return absl::StrCat(out.c_str(), "\n");
}

TextTable::TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

void TextTable::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    if (cell.empty()) cell = "-";
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::Render() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string blanks(widths[i] - cell.size(), ' ');
      const bool right = columns_[i].align == Align::kRight;
      absl::StrAppend(&line, i == 0 ? "" : "  ", right ? blanks : "", cell, right ? "" : blanks);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  };
  add_line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t i) -> const std::string& { return row[i]; });
  }
  return text;
}

std::string HumanCount(std::uint64_t count) {
  return Human(count, 1000, {"", "k", "M", "G", "T", "P", "E"});
}

std::string HumanBytes(std::uint64_t bytes) {
  return Human(bytes, 1024, {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"});
}

std::string HumanSeconds(std::uint64_t seconds) {
  constexpr std::uint64_t kMinute = 60;
  constexpr std::uint64_t kHour = 60 * kMinute;
  constexpr std::uint64_t kDay = 24 * kHour;
  if (seconds < kMinute) return absl::StrCat(seconds, "s");
  if (seconds < kHour) return absl::StrFormat("%dm%02ds", seconds / kMinute, seconds % kMinute);
  if (seconds < kDay) {
    return absl::StrFormat("%dh%02dm", seconds / kHour, seconds % kHour / kMinute);
  }
  return absl::StrFormat("%dd%02dh", seconds / kDay, seconds % kDay / kHour);
}

}  // namespace sluice::report
