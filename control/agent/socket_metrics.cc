// SPDX-License-Identifier: Apache-2.0
#include "control/agent/socket_metrics.h"

#include <array>
#include <cstdint>
#include <span>

#include "absl/strings/str_cat.h"

#include "control/base/connection_stats.h"

namespace sluice {
namespace {

struct Outcome {
  const char* name;
  __u64 abi::connection_stats::*value;
};

constexpr std::array<Outcome, 4> kOutcomes = {{
    {"established", &abi::connection_stats::established},
    {"failed", &abi::connection_stats::failed},
    {"closed", &abi::connection_stats::closed},
    {"reset", &abi::connection_stats::reset},
}};

constexpr std::array<std::pair<const char*, double>, 3> kQuantiles = {
    {{"0.5", 0.5}, {"0.9", 0.9}, {"0.99", 0.99}}};

constexpr double kMicrosecond = 1e-6;

void AddQuantiles(const MetricsWriter::Labels& labels, std::span<const __u64> histogram,
                  MetricsWriter& writer) {
  MetricsWriter::Labels with_quantile = labels;
  with_quantile.emplace_back("quantile", "");
  for (const auto& [name, quantile] : kQuantiles) {
    with_quantile.back().second = name;
    writer.Sample(with_quantile, kMicrosecond * QuantileMicroseconds(histogram, quantile));
  }
}

}  // namespace

void AddSocketMetrics(const std::string& prefix, const LabelledConnections& rows,
                      MetricsWriter& writer) {
  const auto name = [&](const char* rest) { return absl::StrCat(prefix, rest); };
  writer.Begin(name("_socket_connections_total"), "counter",
               "TCP connections that got their backend at connect(), by what became of them.");
  for (const auto& [labels, stats] : rows) {
    MetricsWriter::Labels with_outcome = labels;
    with_outcome.emplace_back("outcome", "");
    for (const Outcome& outcome : kOutcomes) {
      with_outcome.back().second = outcome.name;
      writer.Sample(with_outcome, std::uint64_t{stats.*outcome.value});
    }
  }
  writer.Begin(name("_socket_retransmissions_total"), "counter", "Segments that they sent again.");
  for (const auto& [labels, stats] : rows) {
    writer.Sample(labels, std::uint64_t{stats.retransmissions});
  }
  writer.Begin(name("_socket_connect_seconds"), "summary",
               "From their SYN to the SYN-ACK; quantiles are right to a factor of two.");
  for (const auto& [labels, stats] : rows) {
    AddQuantiles(labels, stats.connect_times, writer);
    writer.SummarySum(labels, kMicrosecond * static_cast<double>(stats.connect_us));
    writer.SummaryCount(labels, CountTimes(stats.connect_times));
  }
  writer.Begin(name("_socket_round_trip_seconds"), "summary",
               "Smoothed round trip time, at the end of each.");
  for (const auto& [labels, stats] : rows) {
    AddQuantiles(labels, stats.rtt_times, writer);
    writer.SummaryCount(labels, CountTimes(stats.rtt_times));
  }
}

}  // namespace sluice
