// SPDX-License-Identifier: Apache-2.0
#include "control/agent/metrics_writer.h"

#include "gtest/gtest.h"

namespace sluice {
namespace {

TEST(MetricsWriterTest, WritesPrometheusText) {
  MetricsWriter writer;
  writer.Begin("sluice_x_total", "counter", "What it is.");
  writer.Sample({{"namespace", "default"}, {"reason", "no_backend"}}, std::uint64_t{3});
  writer.Sample({}, std::uint64_t{0});
  EXPECT_EQ(writer.text(),
            "# HELP sluice_x_total What it is.\n"
            "# TYPE sluice_x_total counter\n"
            "sluice_x_total{namespace=\"default\",reason=\"no_backend\"} 3\n"
            "sluice_x_total 0\n");
}

TEST(MetricsWriterTest, QuotesWhatEndsALabel) {
  MetricsWriter writer;
  writer.Begin("x", "gauge", "X.");
  writer.Sample({{"a", "q\"b\\n\n"}}, std::uint64_t{1});
  EXPECT_NE(writer.text().find("x{a=\"q\\\"b\\\\n\\n\"} 1\n"), std::string::npos) << writer.text();
}

}  // namespace
}  // namespace sluice
