// SPDX-License-Identifier: Apache-2.0
#include "control/config/config_fields.h"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

using enum FieldKind;

constexpr bool kUsed = true;
constexpr bool kUnused = false;

constexpr std::array kFields = {
    ConfigField{"featureGates", "feature-gates", kBoolMap, kUnused, "", "FeatureGates"},
    ConfigField{"clientConnection.kubeconfig", "kubeconfig", kText, kUsed, "",
                "ClientConnection.Kubeconfig"},
    ConfigField{"clientConnection.acceptContentTypes", "", kText, kUnused, "",
                "ClientConnection.AcceptContentTypes"},
    ConfigField{"clientConnection.contentType", "kube-api-content-type", kText, kUsed,
                "application/vnd.kubernetes.protobuf", "ClientConnection.ContentType"},
    ConfigField{"clientConnection.qps", "kube-api-qps", kNumber, kUsed, "5",
                "ClientConnection.QPS"},
    ConfigField{"clientConnection.burst", "kube-api-burst", kInteger, kUsed, "10",
                "ClientConnection.Burst"},
    ConfigField{"logging.format", "logging-format", kText, kUnused, "text", "Logging.format"},
    ConfigField{"logging.flushFrequency", "log-flush-frequency", kAnything, kUnused, "5s",
                "Logging.flushFrequency"},
    ConfigField{"logging.verbosity", "v", kInteger, kUsed, "0", "Logging.verbosity"},
    ConfigField{"logging.vmodule", "vmodule", kAnything, kUnused, "", ""},
    ConfigField{"logging.options", "", kAnything, kUnused, "", ""},
    ConfigField{"hostnameOverride", "hostname-override", kText, kUsed, "", "HostnameOverride"},
    ConfigField{"bindAddress", "bind-address", kText, kUsed, "0.0.0.0", "BindAddress"},
    ConfigField{"healthzBindAddress", "healthz-bind-address", kText, kUsed, "0.0.0.0:10256",
                "HealthzBindAddress"},
    ConfigField{"metricsBindAddress", "metrics-bind-address", kText, kUsed, "127.0.0.1:10249",
                "MetricsBindAddress"},
    ConfigField{"bindAddressHardFail", "bind-address-hard-fail", kBool, kUsed, "false",
                "BindAddressHardFail"},
    ConfigField{"enableProfiling", "profiling", kBool, kUnused, "false", "EnableProfiling"},
    ConfigField{"showHiddenMetricsForVersion", "show-hidden-metrics-for-version", kText, kUnused,
                "", "ShowHiddenMetricsForVersion"},
    ConfigField{"mode", "proxy-mode", kText, kUnused, "", "Mode"},
    ConfigField{"iptables.masqueradeBit", "iptables-masquerade-bit", kInteger, kUnused, "14",
                "IPTables.MasqueradeBit"},
    ConfigField{"iptables.masqueradeAll", "masquerade-all", kBool, kUnused, "false",
                "Linux.MasqueradeAll"},
    ConfigField{"iptables.localhostNodePorts", "iptables-localhost-nodeports", kBool, kUnused,
                "true", "IPTables.LocalhostNodePorts"},
    ConfigField{"iptables.snatNodeInternalIP", "", kBool, kUnused, "false", ""},
    ConfigField{"iptables.syncPeriod", "iptables-sync-period", kDuration, kUnused, "30s",
                "SyncPeriod"},
    ConfigField{"iptables.minSyncPeriod", "iptables-min-sync-period", kDuration, kUnused, "1s",
                "MinSyncPeriod"},
    ConfigField{"ipvs.syncPeriod", "ipvs-sync-period", kDuration, kUnused, "30s", ""},
    ConfigField{"ipvs.minSyncPeriod", "ipvs-min-sync-period", kDuration, kUnused, "0s", ""},
    ConfigField{"ipvs.scheduler", "ipvs-scheduler", kText, kUnused, "", "IPVS.Scheduler"},
    ConfigField{"ipvs.excludeCIDRs", "ipvs-exclude-cidrs", kTextList, kUnused, "",
                "IPVS.ExcludeCIDRs"},
    ConfigField{"ipvs.strictARP", "ipvs-strict-arp", kBool, kUnused, "false", "IPVS.StrictARP"},
    ConfigField{"ipvs.tcpTimeout", "ipvs-tcp-timeout", kDuration, kUnused, "0s", "IPVS.TCPTimeout"},
    ConfigField{"ipvs.tcpFinTimeout", "ipvs-tcpfin-timeout", kDuration, kUnused, "0s",
                "IPVS.TCPFinTimeout"},
    ConfigField{"ipvs.udpTimeout", "ipvs-udp-timeout", kDuration, kUnused, "0s", "IPVS.UDPTimeout"},
    ConfigField{"nftables.masqueradeBit", "", kInteger, kUnused, "14", "NFTables.MasqueradeBit"},
    ConfigField{"nftables.masqueradeAll", "", kBool, kUnused, "false", ""},
    ConfigField{"nftables.syncPeriod", "", kDuration, kUnused, "30s", ""},
    ConfigField{"nftables.minSyncPeriod", "", kDuration, kUnused, "1s", ""},
    ConfigField{"winkernel.networkName", "", kText, kUnused, "", "Winkernel.NetworkName"},
    ConfigField{"winkernel.sourceVip", "", kText, kUnused, "", "Winkernel.SourceVip"},
    ConfigField{"winkernel.enableDSR", "", kBool, kUnused, "false", "Winkernel.EnableDSR"},
    ConfigField{"winkernel.rootHnsEndpointName", "", kText, kUnused, "",
                "Winkernel.RootHnsEndpointName"},
    ConfigField{"winkernel.forwardHealthCheckVip", "", kBool, kUnused, "false",
                "Winkernel.ForwardHealthCheckVip"},
    ConfigField{"detectLocalMode", "detect-local-mode", kText, kUsed, "ClusterCIDR",
                "DetectLocalMode"},
    ConfigField{"detectLocal.bridgeInterface", "pod-bridge-interface", kText, kUnused, "",
                "DetectLocal.BridgeInterface"},
    ConfigField{"detectLocal.interfaceNamePrefix", "pod-interface-name-prefix", kText, kUsed, "",
                "DetectLocal.InterfaceNamePrefix"},
    ConfigField{"clusterCIDR", "cluster-cidr", kText, kUsed, "", "DetectLocal.ClusterCIDRs"},
    ConfigField{"nodePortAddresses", "nodeport-addresses", kTextList, kUsed, "",
                "NodePortAddresses"},
    ConfigField{"oomScoreAdj", "oom-score-adj", kInteger, kUsed, "-999", "Linux.OOMScoreAdj"},
    ConfigField{"conntrack.maxPerCore", "conntrack-max-per-core", kInteger, kUnused, "32768",
                "Linux.Conntrack.MaxPerCore"},
    ConfigField{"conntrack.min", "conntrack-min", kInteger, kUnused, "131072",
                "Linux.Conntrack.Min"},
    ConfigField{"conntrack.tcpEstablishedTimeout", "conntrack-tcp-timeout-established", kDuration,
                kUsed, "", "Linux.Conntrack.TCPEstablishedTimeout"},
    ConfigField{"conntrack.tcpCloseWaitTimeout", "conntrack-tcp-timeout-close-wait", kDuration,
                kUnused, "1h0m0s", "Linux.Conntrack.TCPCloseWaitTimeout"},
    ConfigField{"conntrack.tcpBeLiberal", "conntrack-tcp-be-liberal", kBool, kUnused, "false",
                "Linux.Conntrack.TCPBeLiberal"},
    ConfigField{"conntrack.udpTimeout", "conntrack-udp-timeout", kDuration, kUnused, "0s",
                "Linux.Conntrack.UDPTimeout"},
    ConfigField{"conntrack.udpStreamTimeout", "conntrack-udp-timeout-stream", kDuration, kUsed, "",
                "Linux.Conntrack.UDPStreamTimeout"},
    ConfigField{"configSyncPeriod", "config-sync-period", kDuration, kUnused, "15m0s",
                "ConfigSyncPeriod"},
    ConfigField{"portRange", "", kText, kUnused, "", ""},
    ConfigField{"windowsRunAsService", "", kBool, kUnused, "false", "Windows.RunAsService"},
};

}  // namespace

std::span<const ConfigField> ConfigFields() { return kFields; }

const ConfigField* FindField(std::string_view path) {
  const auto found = std::find_if(kFields.begin(), kFields.end(),
                                  [&](const ConfigField& field) { return field.path == path; });
  return found == kFields.end() ? nullptr : &*found;
}

bool IsGroup(std::string_view path) {
  return std::any_of(kFields.begin(), kFields.end(), [&](const ConfigField& field) {
    return field.path.size() > path.size() && field.path.starts_with(path) &&
           field.path[path.size()] == '.';
  });
}

}  // namespace sluice
