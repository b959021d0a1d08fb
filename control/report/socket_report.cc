// SPDX-License-Identifier: Apache-2.0
#include "control/report/socket_report.h"

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "control/base/connection_stats.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

constexpr std::array<std::pair<const char*, double>, 3> kQuantiles = {
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}};

// "83us", "1.2ms", "3.0s".
std::string HumanMicroseconds(double us) {
  if (us < 1000) return absl::StrFormat("%.0fus", us);
  if (us < 1e6) return absl::StrFormat("%.1fms", us / 1e3);
  return absl::StrFormat("%.1fs", us / 1e6);
}

Json TimesToJson(std::span<const __u64> histogram) {
  Json json = Json::object();
  const bool any = CountTimes(histogram) != 0;
  for (const auto& [name, quantile] : kQuantiles) {
    json[name] = any ? Json(std::round(QuantileMicroseconds(histogram, quantile))) : Json();
  }
  return json;
}

std::string TimesText(std::span<const __u64> histogram) {
  std::string text;
  for (const auto& [name, quantile] : kQuantiles) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", name, " ",
                    HumanMicroseconds(QuantileMicroseconds(histogram, quantile)));
  }
  return text;
}

}  // namespace

Json SocketsToJson(const abi::connection_stats& stats) {
  Json connect = TimesToJson(stats.connect_times);
  const std::uint64_t times = CountTimes(stats.connect_times);
  connect["mean"] = times == 0 ? Json() : Json(stats.connect_us / times);
  return {{"established", stats.established},
          {"open", OpenConnections(stats)},
          {"failed", stats.failed},
          {"closed", stats.closed},
          {"reset", stats.reset},
          {"bytesIn", stats.bytes_in},
          {"bytesOut", stats.bytes_out},
          {"retransmissions", stats.retransmissions},
          {"connectMicroseconds", std::move(connect)},
          {"roundTripMicroseconds", TimesToJson(stats.rtt_times)}};
}

bool HasConnections(const abi::connection_stats& stats) {
  return stats.established + stats.failed != 0;
}

std::string SocketsToDetail(const abi::connection_stats& stats) {
  if (!HasConnections(stats)) return "";
  std::string text =
      absl::StrCat("at connect(): established ", HumanCount(stats.established), " (",
                   HumanCount(OpenConnections(stats)), " open, ", HumanCount(stats.reset),
                   " ended by a reset), ", "failed ", HumanCount(stats.failed), "; in ",
                   HumanBytes(stats.bytes_in), ", out ", HumanBytes(stats.bytes_out),
                   ", retransmissions ", HumanCount(stats.retransmissions), "\n");
  if (stats.established == 0) return text;
  absl::StrAppend(&text, "connect time ", TimesText(stats.connect_times));
  if (CountTimes(stats.rtt_times) != 0) {
    absl::StrAppend(&text, "; round trip ", TimesText(stats.rtt_times));
  }
  return absl::StrCat(text, "\n");
}

std::string ConnectTimesText(const abi::connection_stats& stats) {
  if (CountTimes(stats.connect_times) == 0) return "";
  std::string text;
  for (const auto& [name, quantile] : kQuantiles) {
    absl::StrAppend(&text, text.empty() ? "" : " ",
                    HumanMicroseconds(QuantileMicroseconds(stats.connect_times, quantile)));
  }
  return text;
}

}  // namespace sluice::report
