// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/kube_proxy_names.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string>

namespace sluice {
namespace {

// Chains that built-in chains jump to, in iptables and in ipvs mode.
constexpr std::array<std::string_view, 9> kEntryChains = {
    "KUBE-SERVICES",    "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS",
    "KUBE-POSTROUTING", "KUBE-FORWARD",           "KUBE-PROXY-FIREWALL",
    "KUBE-NODE-PORT",   "KUBE-IPVS-FILTER",       "KUBE-IPVS-OUT-FILTER",
};

// Chains that only kube-proxy's own chains jump to. KUBE-MARK-DROP and the filter table's
// KUBE-FIREWALL are kubelet's and stay.
constexpr std::array<std::string_view, 4> kInnerChains = {
    "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY", "KUBE-LOAD-BALANCER", "KUBE-SOURCE-RANGES-FIREWALL"};

// One chain a service port or endpoint: the prefix, then kHashLength letters of base 32.
constexpr std::array<std::string_view, 6> kHashedPrefixes = {"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-",
                                                             "KUBE-EXT-", "KUBE-FW-",  "KUBE-XLB-"};
constexpr std::size_t kHashLength = 16;

// Without the prefix, which is KUBE- for IPv4 and KUBE-6- for IPv6.
constexpr std::array<std::string_view, 17> kSets = {"LOOP-BACK",
                                                    "CLUSTER-IP",
                                                    "EXTERNAL-IP",
                                                    "EXTERNAL-IP-LOCAL",
                                                    "LOAD-BALANCER",
                                                    "LOAD-BALANCER-LOCAL",
                                                    "LOAD-BALANCER-FW",
                                                    "LOAD-BALANCER-SOURCE-IP",
                                                    "NODE-PORT-TCP",
                                                    "LOAD-BALANCER-SOURCE-CIDR",
                                                    "NODE-PORT-UDP",
                                                    "NODE-PORT-LOCAL-TCP",
                                                    "IPVS-IPS",
                                                    "NODE-PORT-LOCAL-UDP",
                                                    "NODE-PORT-SCTP-HASH",
                                                    "NODE-PORT-LOCAL-SCTP-HASH",
                                                    "HEALTH-CHECK-NODE-PORT"};
constexpr std::size_t kLongestSetName = 31;  // of the kernel; kube-proxy cuts what is longer

template <typename Names>
bool Contains(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool IsHash(std::string_view text) {
  return text.size() == kHashLength && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= '2' && c <= '7');
         });
}

}  // namespace

bool IsKubeProxyChain(std::string_view table, std::string_view chain) {
  if (table == "mangle" || table == "raw" || table == "security") {
    return chain == "KUBE-PROXY-CANARY";
  }
  // In nat it was ipvs mode's; in filter it is kubelet's guard of 127.0.0.0/8.
  if (chain == "KUBE-FIREWALL") return table == "nat";
  if (IsKubeProxyEntryChain(chain) || Contains(kInnerChains, chain)) return true;
  return std::any_of(kHashedPrefixes.begin(), kHashedPrefixes.end(), [&](std::string_view prefix) {
    return chain.starts_with(prefix) && IsHash(chain.substr(prefix.size()));
  });
}

bool IsKubeProxyEntryChain(std::string_view chain) { return Contains(kEntryChains, chain); }

bool IsKubeProxySet(std::string_view set) {
  return std::any_of(kSets.begin(), kSets.end(), [&](std::string_view name) {
    const std::string six = std::string("KUBE-6-").append(name);
    return set == std::string("KUBE-").append(name) ||
           set == std::string_view(six).substr(0, kLongestSetName);
  });
}

}  // namespace sluice
