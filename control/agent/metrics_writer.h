// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format, written metric by metric.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/agent/proxy_metrics.h"

namespace sluice {

// All samples of one metric must follow its Begin.
class MetricsWriter {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;

  // `type`: "counter", "gauge", "histogram", "summary" or "untyped".
  void Begin(std::string_view name, std::string_view type, std::string_view help);
  void Sample(const Labels& labels, std::uint64_t value);
  void Sample(const Labels& labels, double value);
  // Buckets, sum and count of one histogram.
  void Sample(const Labels& labels, const Histogram& histogram);
  // Of a summary, after its quantiles, which are samples with a label of that name.
  void SummarySum(const Labels& labels, double sum);
  void SummaryCount(const Labels& labels, std::uint64_t count);
  // A metric with one sample and no labels.
  void Single(std::string_view name, std::string_view type, std::string_view help,
              std::uint64_t value) {
    Begin(name, type, help);
    Sample({}, value);
  }

  const std::string& text() const { return text_; }

 private:
  void Line(std::string_view suffix, const Labels& labels, const std::string& value);

  std::string name_;
  std::string text_;
};

}  // namespace sluice
