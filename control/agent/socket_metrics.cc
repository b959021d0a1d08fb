// SPDX-License-Identifier: Apache-2.0
#include "control/agent/socket_metrics.h"

#include <array>
#include <cstdint>
#include <span>

#include "absl/strings/str_cat.h"

#include "control/base/connection_stats.h"

namespace sluice {
namespace {

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
  const auto counter = [&](const char* rest, const char* help, auto value) {
    writer.Begin(name(rest), "counter", help);
    for (const auto& [labels, stats] : rows) writer.Sample(labels, std::uint64_t{stats.*value});
  };
  counter("_socket_established_total",
          "TCP connections that got their backend at connect(), and were established.",
          &abi::connection_stats::established);
  counter("_socket_failed_total", "Those that never were: refused, or without an answer.",
          &abi::connection_stats::failed);
  counter("_socket_closed_total", "Established ones that ended in good order.",
          &abi::connection_stats::closed);
  counter("_socket_reset_total", "Established ones that ended in any other way.",
          &abi::connection_stats::reset);
  counter("_socket_retransmissions_total", "Segments that they sent again.",
          &abi::connection_stats::retransmissions);
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
