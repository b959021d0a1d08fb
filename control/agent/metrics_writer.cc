// SPDX-License-Identifier: Apache-2.0
#include "control/agent/metrics_writer.h"

#include <array>
#include <charconv>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace sluice {
namespace {

// The shortest text that reads back as the same number.
std::string NumberText(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  return std::string(text.data(), end.ptr);
}

}  // namespace

void MetricsWriter::Begin(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  absl::StrAppend(&text_, "# HELP ", name_, " ", std::string(help), "\n# TYPE ", name_, " ",
                  std::string(type), "\n");
}

void MetricsWriter::Sample(const Labels& labels, std::uint64_t value) {
  Line("", labels, absl::StrCat(value));
}

void MetricsWriter::Sample(const Labels& labels, double value) {
  Line("", labels, NumberText(value));
}

void MetricsWriter::Sample(const Labels& labels, const Histogram& histogram) {
  const std::vector<std::uint64_t> counts = histogram.Cumulative();
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const bool last = i == histogram.bounds().size();
    with_bound.back().second = last ? "+Inf" : NumberText(histogram.bounds()[i]);
    Line("_bucket", with_bound, absl::StrCat(counts[i]));
  }
  Line("_sum", labels, NumberText(histogram.sum()));
  Line("_count", labels, absl::StrCat(histogram.count()));
}

void MetricsWriter::SummarySum(const Labels& labels, double sum) {
  Line("_sum", labels, NumberText(sum));
}

void MetricsWriter::SummaryCount(const Labels& labels, std::uint64_t count) {
  Line("_count", labels, absl::StrCat(count));
}

void MetricsWriter::Line(std::string_view suffix, const Labels& labels, const std::string& value) {
  absl::StrAppend(&text_, name_, std::string(suffix));
  const char* separator = "{";
  for (const auto& [label, text] : labels) {
    absl::StrAppend(&text_, separator, std::string(label), "=\"",
                    absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
                    "\"");
    separator = ",";
  }
  absl::StrAppend(&text_, labels.empty() ? "" : "}", " ", value, "\n");
}

}  // namespace sluice
