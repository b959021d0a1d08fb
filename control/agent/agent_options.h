// SPDX-License-Identifier: Apache-2.0
// What the flags of sluiced say. Defaults work on a plain node.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/datapath/attachment.h"
#include "control/datapath/classify.h"
#include "control/datapath/loader.h"
#include "control/datapath/node_addresses.h"
#include "control/datapath/port_ranges.h"
#include "control/datapath/xdp_attachment.h"
#include "control/desired/build_desired_state.h"
#include "control/gc/conntrack_sweep.h"
#include "control/kubernetes/kube_options.h"

namespace sluice {

// Whose sockets get their backend when they connect, and no packet of them is rewritten.
enum class SocketLb {
  kOff,   // nobody's: the node's own processes reach no service
  kHost,  // those of the node's own network namespace
  kOn,    // those, and TCP of pods
};

enum class HealthKeeperChoice { kStart, kBeside, kNone };

struct AgentOptions {
  std::string manifests = "/etc/sluice/manifests";
  std::optional<KubeOptions> kube;  // set: the Kubernetes API is followed, and no manifests
  std::string node_name;
  std::string bpffs = "/sys/fs/bpf/sluice";
  std::string state_dir = "/var/lib/sluice";
  SocketLb socket_lb = SocketLb::kOff;
  std::string cgroup;         // empty: the machine's cgroup v2 hierarchy
  bool reset_removed = true;  // sockets whose endpoint is gone are ended
  InterfaceFlags interfaces;  // cluster_cidrs included
  NodePortFlag node_port_addresses;
  std::vector<IpPrefix> service_cidrs;
  bool allow_external_cluster_ip = false;
  bool service_echo = true;  // ICMP echoes to services' addresses are answered
  bool force_node_ports = false;
  std::optional<AttachMode> attach;  // not set: tcx if the kernel has it
  XdpMode xdp = XdpMode::kOff;
  PortRange snat_ports = {5000, 29999};
  std::vector<IpPrefix> snat_addresses;       // empty: the main address of each family
  Forwarding forwarding = Forwarding::kSnat;  // of Services that say nothing else
  abi::sl_tunnel_kind tunnel = abi::SL_TUNNEL_IPIP;
  ObjectName node_service = {"kube-system", "sluice"};  // whose slices say who runs sluice
  MapSizes sizes;
  SweepTimeouts timeouts;
  std::string healthz_address = "0.0.0.0:10256";    // empty: not served
  std::string metrics_address = "127.0.0.1:10249";  // empty: not served
  bool bind_address_hard_fail = false;
  std::size_t metrics_backends = 0;  // that have metrics of their own
  std::string configz = "{}";        // what /configz shows
  // Health sockets outlive the agent by ten seconds, with a process that it starts, or that runs
  // beside it anyway.
  HealthKeeperChoice health_keeper = HealthKeeperChoice::kStart;
};

}  // namespace sluice
