// SPDX-License-Identifier: Apache-2.0
#include "control/agent/kube_proxy_metrics.h"

#include "gmock/gmock.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HistogramTest, CountsUpToEachBound) {
  Histogram histogram({0.25, 0.5});
  for (const double value : {0.1, 0.25, 0.3, 7.0}) histogram.Observe(value);
  EXPECT_THAT(histogram.Cumulative(), ElementsAre(2u, 3u, 4u));
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 7.65);
}

TEST(HistogramTest, BucketsAreKubeProxys) {
  EXPECT_EQ(SyncBuckets().size(), 15u);
  EXPECT_DOUBLE_EQ(SyncBuckets().front(), 0.001);
  EXPECT_DOUBLE_EQ(SyncBuckets().back(), 16.384);
  const std::vector<double> programming = ProgrammingBuckets();
  EXPECT_EQ(programming.size(), 2u + 59u + 12u + 7u);
  EXPECT_DOUBLE_EQ(programming.front(), 0.25);
  EXPECT_DOUBLE_EQ(programming.back(), 300);
}

TEST(MetricsWriterTest, AHistogramHasBucketsSumAndCount) {
  MetricsWriter writer;
  Histogram histogram({0.001});
  histogram.Observe(0.5);
  writer.Begin("x_seconds", "histogram", "X.");
  writer.Sample({{"ip_family", "IPv4"}}, histogram);
  EXPECT_EQ(writer.text(),
            "# HELP x_seconds X.\n"
            "# TYPE x_seconds histogram\n"
            "x_seconds_bucket{ip_family=\"IPv4\",le=\"0.001\"} 0\n"
            "x_seconds_bucket{ip_family=\"IPv4\",le=\"+Inf\"} 1\n"
            "x_seconds_sum{ip_family=\"IPv4\"} 0.5\n"
            "x_seconds_count{ip_family=\"IPv4\"} 1\n");
}

// Dashboards and alerts have these names and labels.
TEST(KubeProxyMetricsTest, NamesAndLabelsAreKubeProxys) {
  Snapshot snapshot;
  snapshot.metrics.sync.Observe(0.02);
  snapshot.metrics.last_sync = absl::FromUnixMillis(1'700'000'000'250);
  snapshot.metrics.programming[1].Observe(0.3);
  snapshot.endpoint_changes = {.total = 7, .pending = 2};
  snapshot.service_changes = {.total = 5, .pending = 1};
  snapshot.no_local.external = {3, 0};
  snapshot.health_requests = {
      .healthz_ok = 9, .healthz_failed = 1, .livez_ok = 8, .livez_failed = 0};
  snapshot.flows_deleted = 10;
  snapshot.flows_deleted_v4 = 4;
  MetricsWriter writer;
  AddKubeProxyMetrics(snapshot, writer);
  for (const char* line : {
           "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.032\"} 1",
           "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 0",
           "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 0",
           "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1700000000.25",
           "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 0",
           "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.5\"} 1",
           "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 0",
           "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
           "kubeproxy_sync_proxy_rules_endpoint_changes_total 7",
           "kubeproxy_sync_proxy_rules_service_changes_pending 1",
           "kubeproxy_sync_proxy_rules_service_changes_total 5",
           "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
           "{ip_family=\"IPv4\",traffic_policy=\"external\"} 3",
           "kubeproxy_proxy_healthz_total{code=\"200\"} 9",
           "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
           "kubeproxy_proxy_livez_total{code=\"200\"} 8",
           "kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv4\"} 0",
           "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 4",
           "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 6",
       }) {
    EXPECT_THAT(writer.text(), HasSubstr(std::string(line) + "\n"));
  }
}

}  // namespace
}  // namespace sluice
