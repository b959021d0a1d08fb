// SPDX-License-Identifier: Apache-2.0
#include "control/agent/socket_metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

TEST(SocketMetricsTest, WritesOutcomesAndSummaries) {
  abi::connection_stats stats{};
  stats.established = 4;
  stats.failed = 1;
  stats.closed = 2;
  stats.reset = 1;
  stats.retransmissions = 9;
  stats.connect_us = 200;
  stats.connect_times[6] = 4;  // 32 to 64 us
  stats.rtt_times[10] = 3;     // 512 to 1024 us
  MetricsWriter writer;
  AddSocketMetrics("sluice_service", {{{{"service", "web"}}, stats}}, writer);
  const std::string& text = writer.text();
  const std::string prefix = "\nsluice_service_socket_";
  for (const char* line :
       {"established_total{service=\"web\"} 4\n", "failed_total{service=\"web\"} 1\n",
        "closed_total{service=\"web\"} 2\n", "reset_total{service=\"web\"} 1\n",
        "retransmissions_total{service=\"web\"} 9\n",
        "connect_seconds{service=\"web\",quantile=\"0.5\"} 4.8e-05\n",
        "connect_seconds_sum{service=\"web\"} 0.00019999999999999998\n",
        "connect_seconds_count{service=\"web\"} 4\n",
        "round_trip_seconds{service=\"web\",quantile=\"0.5\"} 0.000768\n",
        "round_trip_seconds_count{service=\"web\"} 3\n"}) {
    EXPECT_THAT(text, HasSubstr(prefix + line));
  }
  EXPECT_THAT(text, HasSubstr("# TYPE sluice_service_socket_connect_seconds summary\n"));
}

}  // namespace
}  // namespace sluice
