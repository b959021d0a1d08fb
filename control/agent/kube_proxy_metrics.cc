// SPDX-License-Identifier: Apache-2.0
#include "control/agent/kube_proxy_metrics.h"

#include <array>

namespace sluice {
namespace {

constexpr std::array<const char*, kIpFamilies> kFamilies = {"IPv4", "IPv6"};

double Seconds(absl::Time time) {
  return time == absl::InfinitePast() ? 0 : static_cast<double>(absl::ToUnixMicros(time)) / 1e6;
}

// A round writes both families at once: each is told of it.
void AddToBoth(const char* name, const char* help, const Histogram& histogram,
               MetricsWriter& writer) {
  writer.Begin(name, "histogram", help);
  for (const char* family : kFamilies) writer.Sample({{"ip_family", family}}, histogram);
}

void AddTime(const char* name, const char* help, absl::Time time, MetricsWriter& writer) {
  writer.Begin(name, "gauge", help);
  for (const char* family : kFamilies) writer.Sample({{"ip_family", family}}, Seconds(time));
}

void AddSync(const Snapshot& snapshot, MetricsWriter& writer) {
  const ProxyMetrics& metrics = snapshot.metrics;
  AddToBoth("kubeproxy_sync_proxy_rules_duration_seconds",
            "Time of one round of bringing changes into the maps.", metrics.sync, writer);
  AddToBoth("kubeproxy_sync_full_proxy_rules_duration_seconds",
            "Time of such a round that looked at everything.", metrics.full_sync, writer);
  AddToBoth("kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "Time of such a round that looked at what had changed.", metrics.partial_sync, writer);
  AddTime("kubeproxy_sync_proxy_rules_last_timestamp_seconds",
          "When the maps were last brought up to date.", metrics.last_sync, writer);
  AddTime("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
          "When a change last came that had to wait.", snapshot.last_queued, writer);
  writer.Begin("kubeproxy_network_programming_duration_seconds", "histogram",
               "Time from a change of endpoints until it is in the maps.");
  for (std::size_t family = 0; family < kIpFamilies; ++family) {
    writer.Sample({{"ip_family", kFamilies[family]}}, metrics.programming[family]);
  }
}

void AddChanges(const Snapshot& snapshot, MetricsWriter& writer) {
  writer.Single("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge",
                "Changes of EndpointSlices that are not in the maps yet.",
                snapshot.endpoint_changes.pending);
  writer.Single("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter",
                "Changes of EndpointSlices.", snapshot.endpoint_changes.total);
  writer.Single("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge",
                "Changes of Services that are not in the maps yet.",
                snapshot.service_changes.pending);
  writer.Single("kubeproxy_sync_proxy_rules_service_changes_total", "counter",
                "Changes of Services.", snapshot.service_changes.total);
  // A gauge in kube-proxy, against Prometheus' rule that only counters end in _total, which
  // promtool checks; it does not judge what has no type.
  writer.Begin("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "untyped",
               "Services of policy Local that have endpoints and none on this node.");
  for (std::size_t family = 0; family < kIpFamilies; ++family) {
    writer.Sample({{"ip_family", kFamilies[family]}, {"traffic_policy", "internal"}},
                  snapshot.no_local.internal[family]);
    writer.Sample({{"ip_family", kFamilies[family]}, {"traffic_policy", "external"}},
                  snapshot.no_local.external[family]);
  }
}

void AddHealth(const HealthRequests& requests, MetricsWriter& writer) {
  writer.Begin("kubeproxy_proxy_healthz_total", "counter", "Answers of /healthz.");
  writer.Sample({{"code", "200"}}, requests.healthz_ok);
  writer.Sample({{"code", "503"}}, requests.healthz_failed);
  writer.Begin("kubeproxy_proxy_livez_total", "counter", "Answers of /livez.");
  writer.Sample({{"code", "200"}}, requests.livez_ok);
  writer.Sample({{"code", "503"}}, requests.livez_failed);
}

void AddConntrack(const Snapshot& snapshot, MetricsWriter& writer) {
  AddToBoth("kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time of one sweep of the flows, without what it waits in between.",
            snapshot.metrics.sweep, writer);
  writer.Begin("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter",
               "Rows of flows that were over.");
  writer.Sample({{"ip_family", kFamilies[0]}}, snapshot.flows_deleted_v4);
  writer.Sample({{"ip_family", kFamilies[1]}}, snapshot.flows_deleted - snapshot.flows_deleted_v4);
}

}  // namespace

void AddKubeProxyMetrics(const Snapshot& snapshot, MetricsWriter& writer) {
  AddSync(snapshot, writer);
  AddChanges(snapshot, writer);
  AddHealth(snapshot.health_requests, writer);
  AddConntrack(snapshot, writer);
}

}  // namespace sluice
