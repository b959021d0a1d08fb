// SPDX-License-Identifier: Apache-2.0
// The datapath of this node, kept right while the agent runs: programs and maps in the kernel,
// programs on the interfaces that need them, the node's own addresses in sl_config.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/agent/agent_options.h"
#include "control/agent/notice.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/datapath/attachment.h"
#include "control/datapath/drop_events.h"
#include "control/datapath/feature_probe.h"
#include "control/datapath/network_monitor.h"
#include "control/datapath/node_addresses.h"
#include "control/datapath/node_record.h"
#include "control/datapath/xdp_attachment.h"
#include "maps/map_set.h"

namespace sluice {

// Thread: loop only. Its destructor leaves the datapath working.
class NodeDatapath {
 public:
  // Probes, loads, pins; attaches nothing yet. All arguments must outlive the result.
  // Errors: as ProbeFeatures, EnsureBpffs, LoadPrograms, CheckSnatPorts and NodeRecord::Open.
  static absl::StatusOr<std::unique_ptr<NodeDatapath>> Create(const AgentOptions& options,
                                                              EventLoop& loop, const Clock& clock,
                                                              NoticeSink notice);
  ~NodeDatapath();

  // Finds interfaces and addresses, attaches, and follows changes from here on. `on_addresses` is
  // called after each change of addresses().
  absl::Status Start(std::function<void()> on_addresses);

  // What the Node object says of this node: addresses in its order, empty without an object.
  void SetNodeObject(std::vector<IpAddress> addresses);
  // The ranges of ClusterIPs, as CheckServiceCidrs allows; at first those of the options.
  void SetServiceCidrs(std::vector<IpPrefix> service_cidrs);
  // From here on addresses of the service range that no service has are dropped: call when all
  // services are programmed.
  void EnableServiceRange();

  const MapSet& maps() const { return *maps_; }
  const Features& features() const { return features_; }
  AttachMode attach_mode() const { return mode_; }
  // Whether the node's own processes reach services, and whether TCP of pods gets its backend at
  // connect().
  bool serves_sockets() const { return serves_sockets_; }
  bool serves_pod_sockets() const { return serves_sockets_ && options_.socket_lb == SocketLb::kOn; }
  const NodeAddresses& addresses() const { return addresses_; }
  const std::vector<AttachedInterface>& interfaces() const { return attached_; }
  const DropEvents& drops() const { return *drops_; }
  // What programs are told.
  const abi::node_config& config() const { return config_; }
  // Of sl_clients. Errors: those of Table::Update; programs go on where they were then.
  absl::Status UseClientsHalf(std::uint32_t half);
  // What does not work as it should, for people.
  std::vector<std::string> Degraded() const;

 private:
  NodeDatapath(const AgentOptions& options, EventLoop& loop, NoticeSink notice);
  absl::Status Load();
  absl::Status WriteMeta(const Clock& clock);
  void ServeSockets();
  void LoadXdp();
  absl::Status ReservePorts();
  void OnNetworkChange();
  void Attach(const std::vector<Interface>& interfaces);
  void ReportInterfaces(const std::vector<AttachedInterface>& now) const;
  std::uint32_t MtuOf(const std::optional<IpAddress>& address) const;
  void WriteConfig();
  void CheckForwarding();
  void OnDrop(const abi::drop_event& event) const;

  const AgentOptions& options_;
  EventLoop& loop_;
  const NoticeSink notice_;
  std::unique_ptr<NodeRecord> record_;
  Features features_;
  AttachMode mode_ = AttachMode::kTcx;
  std::unique_ptr<MapSet> maps_;
  std::unique_ptr<Attacher> attacher_;
  std::unique_ptr<XdpAttacher> xdp_;  // null: off, or the kernel refuses the program
  absl::Status xdp_status_;
  std::unique_ptr<DropEvents> drops_;
  std::unique_ptr<NetworkMonitor> monitor_;
  std::function<void()> on_addresses_;
  std::vector<IpAddress> object_addresses_;
  NodeAddresses addresses_;
  std::vector<AttachedInterface> attached_;
  std::vector<IpPrefix> service_cidrs_;
  bool service_range_ = false;
  abi::node_config config_{};
  absl::Status config_status_;
  bool serves_sockets_ = false;
  absl::Status socket_status_;
  absl::Status accounting_status_;  // of what sockets carry
  std::vector<std::string> forwarding_off_;
  EventLoop::TimerId retry_timer_ = 0;
  EventLoop::TimerId forwarding_timer_ = 0;
};

// Takes back everything that an agent with these folders has done to the node, also when it is not
// running; nothing there is no error. Returns the first failure, having tried the rest.
absl::Status CleanUpNode(const std::string& bpffs, const std::string& state_dir);

}  // namespace sluice
