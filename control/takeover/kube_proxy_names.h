// SPDX-License-Identifier: Apache-2.0
// The names that kube-proxy gives to what it puts into the kernel, in all its Linux modes. Names of
// its neighbours begin alike (kubelet's KUBE-FIREWALL, kube-router's KUBE-ROUTER-*), so there is no
// "all that begins with KUBE-" here. Pure; any thread.
#pragma once

#include <string_view>

namespace sluice {

// The table of nftables mode, in the families ip and ip6.
inline constexpr char kKubeProxyNftTable[] = "kube-proxy";
// The dummy device of ipvs mode, which holds every service address.
inline constexpr char kKubeProxyIpvsDevice[] = "kube-ipvs0";

// Is `chain` of the iptables table `table` one that kube-proxy makes?
bool IsKubeProxyChain(std::string_view table, std::string_view chain);

// Of those: does kube-proxy itself jump to it from built-in chains? Other jumps there are not its.
bool IsKubeProxyEntryChain(std::string_view chain);

// Is `set` an ipset of ipvs mode, of either family?
bool IsKubeProxySet(std::string_view set);

}  // namespace sluice
