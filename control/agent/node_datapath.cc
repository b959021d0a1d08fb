// SPDX-License-Identifier: Apache-2.0
#include "control/agent/node_datapath.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"

#include "control/base/errno_status.h"
#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/datapath/loader.h"
#include "control/datapath/node_config.h"
#include "control/datapath/socket_programs.h"

namespace sluice {
namespace {

constexpr absl::Duration kRetryInterval = absl::Seconds(5);
constexpr absl::Duration kForwardingInterval = absl::Seconds(30);

template <typename V>
absl::Status WriteRow(Table<std::uint32_t, V>& table, const V& value) {
  const std::pair<std::uint32_t, V> row{0, value};
  return table.Update(std::span(&row, 1)).status;
}

std::string EndText(const abi::addr& addr, std::uint16_t port_be) {
  return IpAddress::FromAbi(addr).WithPort(ntohs(port_be));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeDatapath>> NodeDatapath::Create(const AgentOptions& options,
                                                                   EventLoop& loop,
                                                                   const Clock& clock,
                                                                   NoticeSink notice) {
  auto node = absl::WrapUnique(new NodeDatapath(options, loop, std::move(notice)));
  RETURN_IF_ERROR(CheckServiceCidrs(options.service_cidrs));
  ASSIGN_OR_RETURN(const PortRange ephemeral, ReadEphemeralPorts());
  RETURN_IF_ERROR(CheckSnatPorts(options.snat_ports, ephemeral));
  ASSIGN_OR_RETURN(NodeRecord record, NodeRecord::Open(options.state_dir));
  node->record_ = std::make_unique<NodeRecord>(std::move(record));
  RETURN_IF_ERROR(WriteBpffsRecord(options.state_dir, options.bpffs));
  RETURN_IF_ERROR(node->Load());
  RETURN_IF_ERROR(node->WriteMeta(clock));
  RETURN_IF_ERROR(node->ReservePorts());
  NodeDatapath* self = node.get();
  ASSIGN_OR_RETURN(node->drops_, DropEvents::Start(loop, node->maps_->events_fd(),
                                                   [self](const abi::drop_event& event) {
                                                     self->OnDrop(event);
                                                   }));
  ASSIGN_OR_RETURN(node->monitor_, NetworkMonitor::Create(loop, options.xdp != XdpMode::kOff));
  return node;
}

NodeDatapath::NodeDatapath(const AgentOptions& options, EventLoop& loop, NoticeSink notice)
    : options_(options),
      loop_(loop),
      notice_(std::move(notice)),
      service_cidrs_(options.service_cidrs) {}

NodeDatapath::~NodeDatapath() {
  loop_.Cancel(retry_timer_);
  loop_.Cancel(forwarding_timer_);
}

absl::Status NodeDatapath::Load() {
  ASSIGN_OR_RETURN(features_, ProbeFeatures());
  mode_ = options_.attach.value_or(features_.tcx ? AttachMode::kTcx : AttachMode::kClsact);
  if (mode_ == AttachMode::kTcx && !features_.tcx) {
    return absl::FailedPreconditionError(absl::StrCat(
        "kernel ", features_.kernel, " has no tcx links (Linux 6.6); use --attach auto or clsact"));
  }
  ASSIGN_OR_RETURN(const bool mounted, EnsureBpffs(options_.bpffs));
  if (mounted) notice_(Severity::kInfo, "mounted a BPF file system on /sys/fs/bpf");
  ASSIGN_OR_RETURN(LoadedPrograms loaded, LoadPrograms(options_.bpffs, options_.sizes));
  for (const std::string& kept : loaded.kept_sizes) notice_(Severity::kWarning, kept);
  const std::string folder = PinFolder(options_.bpffs);
  ASSIGN_OR_RETURN(MapSet maps, MapSet::OpenPinned(folder));
  maps_ = std::make_unique<MapSet>(std::move(maps));
  // Of flows that are there a new table does not know: until two sweeps have ended, all clients may
  // have some.
  if (loaded.new_clients) maps_->clients().MarkAll();
  ASSIGN_OR_RETURN(attacher_,
                   Attacher::Create(folder, mode_, std::move(loaded.programs), *record_));
  notice_(Severity::kInfo,
          absl::StrCat("programs loaded (", loaded.reused_maps ? "on the pinned maps" : "new maps",
                       " in ", folder, ", kernel ", features_.kernel, ")"));
  return absl::OkStatus();
}

// TC does all that sl_xdp does: without it the node is slower, not wrong.
void NodeDatapath::LoadXdp() {
  const std::string folder = PinFolder(options_.bpffs);
  if (options_.xdp == XdpMode::kOff) {
    xdp_status_ = DetachXdp(folder);
  } else {
    absl::StatusOr<std::unique_ptr<XdpAttacher>> xdp = XdpAttacher::Create(folder, options_.xdp);
    xdp_status_ = Annotate(xdp.status(), "--xdp");
    if (xdp.ok()) {
      xdp_ = *std::move(xdp);
    } else {
      xdp_status_.Update(DetachXdp(folder));  // what an earlier agent left would be nobody's
    }
  }
  if (!xdp_status_.ok()) notice_(Severity::kWarning, std::string(xdp_status_.message()));
}

// A node whose own processes are without services is better than one whose pods are too, which the
// programs on their interfaces serve.
void NodeDatapath::ServeSockets() {
  const std::string folder = PinFolder(options_.bpffs);
  if (options_.socket_lb == SocketLb::kOff) {
    socket_status_ = StopSocketPrograms(folder);
    return;
  }
  const bool pods = options_.socket_lb == SocketLb::kOn;
  const auto attach = [&]() -> absl::Status {
    std::string cgroup = options_.cgroup;
    if (cgroup.empty()) {
      ASSIGN_OR_RETURN(cgroup, FindCgroupRoot());
    }
    ASSIGN_OR_RETURN(const std::uint64_t netns, OwnNetnsCookie());
    ASSIGN_OR_RETURN(const SocketPrograms programs,
                     AttachSocketPrograms(folder, cgroup, {netns, pods}));
    accounting_status_ = programs.accounting;
    notice_(Severity::kInfo,
            absl::StrCat("backends chosen at connect() for this node's own ",
                         pods ? "processes and pods" : "processes", ", by cgroup ", cgroup));
    return absl::OkStatus();
  };
  socket_status_ = Annotate(attach(), pods ? "--socket-lb on" : "--socket-lb host");
  serves_sockets_ = socket_status_.ok();
  if (!accounting_status_.ok()) {
    notice_(Severity::kWarning, std::string(accounting_status_.message()));
  }
  if (!serves_sockets_) notice_(Severity::kError, std::string(socket_status_.message()));
}

absl::Status NodeDatapath::WriteMeta(const Clock& clock) {
  ASSIGN_OR_RETURN(const std::optional<abi::meta> before, maps_->meta().Lookup(0));
  abi::meta meta{};
  meta.abi_version = abi::SL_ABI_VERSION;
  meta.agent_pid = static_cast<std::uint32_t>(::getpid());
  meta.generation = before.value_or(abi::meta{}).generation + 1;
  meta.started_unix = static_cast<std::uint64_t>(absl::ToUnixSeconds(clock.Now()));
  RETURN_IF_ERROR(WriteRow(maps_->meta(), meta));
  // A restart goes on with what the last agent had programmed, the service range included.
  ASSIGN_OR_RETURN(const std::optional<abi::node_config> config, maps_->config().Lookup(0));
  config_ = config.value_or(abi::node_config{});
  // For good: another seed would lose the flows that are being opened.
  if (config_.hash_seed == 0) config_.hash_seed = std::random_device()();
  const abi::node_config none{};
  service_range_ =
      std::memcmp(config_.service_range, none.service_range, sizeof(none.service_range)) != 0;
  return absl::OkStatus();
}

absl::Status NodeDatapath::ReservePorts() {
  ASSIGN_OR_RETURN(PortSet present, ReadReservedPorts());
  ASSIGN_OR_RETURN(const PortSet added_before, PortSet::Parse(record_->changes().reserved_ports));
  // What an earlier agent added and this one does not want goes; what others reserved stays.
  const PortSet others = present.Without(added_before);
  PortSet wanted = others;
  wanted.Add(options_.snat_ports);
  wanted.Add(kNodePortRange);
  NodeChanges changes = record_->changes();
  changes.reserved_ports = wanted.Without(others).ToString();
  RETURN_IF_ERROR(record_->Write(changes));
  return wanted == present ? absl::OkStatus() : WriteReservedPorts(wanted);
}

absl::Status NodeDatapath::Start(std::function<void()> on_addresses) {
  on_addresses_ = std::move(on_addresses);
  ServeSockets();
  LoadXdp();
  RETURN_IF_ERROR(monitor_->Start([this] { OnNetworkChange(); }));
  CheckForwarding();  // which families matter is known now
  return absl::OkStatus();
}

void NodeDatapath::SetNodeObject(std::vector<IpAddress> addresses) {
  if (object_addresses_ == addresses) return;
  object_addresses_ = std::move(addresses);
  OnNetworkChange();
}

void NodeDatapath::SetServiceCidrs(std::vector<IpPrefix> service_cidrs) {
  service_cidrs_ = std::move(service_cidrs);
  if (service_range_) WriteConfig();
}

void NodeDatapath::EnableServiceRange() {
  if (service_range_) return;
  service_range_ = true;
  WriteConfig();
}

void NodeDatapath::OnNetworkChange() {
  const NetworkState& network = monitor_->state();
  const std::vector<Interface> interfaces =
      Classify(network, options_.interfaces,
               std::set<IpAddress>(object_addresses_.begin(), object_addresses_.end()));
  NodeAddresses addresses = FindNodeAddresses(
      network, interfaces,
      {options_.node_port_addresses, options_.snat_addresses, options_.interfaces.cluster_cidrs},
      object_addresses_);
  const bool changed = addresses != addresses_;
  addresses_ = std::move(addresses);
  // Before any program runs: it must not choose a source that is not the node's.
  WriteConfig();
  Attach(interfaces);
  if (changed) on_addresses_();
}

// Of the interface that has the address: other nodes are reached by it, or by one of its kind.
std::uint32_t NodeDatapath::MtuOf(const std::optional<IpAddress>& address) const {
  const NetworkState& network = monitor_->state();
  for (const LinkAddress& one : network.addresses) {
    const auto link = network.links.find(one.ifindex);
    if (one.address == address && link != network.links.end()) return link->second.mtu;
  }
  return 0;
}

void NodeDatapath::WriteConfig() {
  abi::node_config config = MakeNodeConfig(
      addresses_, options_.snat_ports, service_range_ ? service_cidrs_ : std::vector<IpPrefix>{});
  config.hash_seed = config_.hash_seed;
  config.clients_half = config_.clients_half;
  config.tunnel_kind = static_cast<__u8>(options_.tunnel);
  for (const abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    config.tunnel_mss[family] =
        TunnelMss(MtuOf(addresses_.source[family]), family, options_.tunnel);
  }
  // Also when nothing has changed: the filter may be a new one.
  for (const abi::addr& address : config.node_address) maps_->filter().AddAddress(address);
  for (const IpAddress& address : addresses_.snat) {
    maps_->filter().AddSnatAddress(address.ToAbi());
  }
  if (config_status_.ok() && std::memcmp(&config, &config_, sizeof(config)) == 0) return;
  config_status_ = Annotate(WriteRow(maps_->config(), config), "write sl_config");
  if (!config_status_.ok()) {
    notice_(Severity::kError, std::string(config_status_.message()));
    return;
  }
  config_ = config;
}

absl::Status NodeDatapath::UseClientsHalf(std::uint32_t half) {
  abi::node_config config = config_;
  config.clients_half = static_cast<__u8>(half);
  RETURN_IF_ERROR(WriteRow(maps_->config(), config));
  config_ = config;
  return absl::OkStatus();
}

void NodeDatapath::Attach(const std::vector<Interface>& interfaces) {
  std::vector<AttachedInterface> now = attacher_->Apply(interfaces);
  std::map<int, XdpInterface> xdp;
  if (xdp_ != nullptr) xdp = xdp_->Apply(interfaces, monitor_->state().links);
  for (AttachedInterface& interface : now) {
    const XdpInterface& early = xdp[interface.ifindex];
    if (!early.hook.empty()) interface.hooks.push_back(early.hook);
    if (interface.error.empty()) interface.error = early.error;
  }
  ReportInterfaces(now);
  attached_ = std::move(now);
  const bool failed =
      std::any_of(attached_.begin(), attached_.end(), [](const AttachedInterface& interface) {
        return !interface.error.empty() && !absl::StartsWith(interface.error, "not an Ethernet");
      });
  loop_.Cancel(retry_timer_);
  retry_timer_ = 0;
  if (failed || !config_status_.ok()) {
    retry_timer_ = loop_.RunAfter(kRetryInterval, [this] { OnNetworkChange(); });
  }
}

void NodeDatapath::ReportInterfaces(const std::vector<AttachedInterface>& now) const {
  for (const AttachedInterface& interface : now) {
    if (std::find(attached_.begin(), attached_.end(), interface) != attached_.end()) continue;
    notice_(interface.error.empty() ? Severity::kInfo : Severity::kWarning,
            absl::StrCat("interface ", interface.name, " (", std::string(RoleName(interface.role)),
                         "): ",
                         interface.error.empty()
                             ? absl::StrCat("attached ", absl::StrJoin(interface.hooks, ", "))
                             : interface.error));
  }
  for (const AttachedInterface& interface : attached_) {
    const bool still = std::any_of(now.begin(), now.end(), [&](const AttachedInterface& other) {
      return other.ifindex == interface.ifindex;
    });
    if (!still) notice_(Severity::kInfo, absl::StrCat("interface ", interface.name, ": left"));
  }
}

void NodeDatapath::CheckForwarding() {
  std::vector<std::string> off;
  const absl::StatusOr<bool> v4 = ForwardingEnabled(true);
  if (v4.ok() && !*v4) {
    off.push_back(
        "IPv4 forwarding is off: services work only for local processes; "
        "set net.ipv4.ip_forward=1");
  }
  const absl::StatusOr<bool> v6 = ForwardingEnabled(false);
  if (v6.ok() && !*v6 && addresses_.source[abi::SL_FAMILY_V6].has_value()) {
    off.push_back(
        "IPv6 forwarding is off although the node has an IPv6 address; "
        "set net.ipv6.conf.all.forwarding=1");
  }
  for (const std::string& reason : off) {
    if (std::find(forwarding_off_.begin(), forwarding_off_.end(), reason) ==
        forwarding_off_.end()) {
      notice_(Severity::kWarning, reason);
    }
  }
  forwarding_off_ = std::move(off);
  forwarding_timer_ = loop_.RunAfter(kForwardingInterval, [this] { CheckForwarding(); });
}

std::vector<std::string> NodeDatapath::Degraded() const {
  std::vector<std::string> reasons = forwarding_off_;
  if (!config_status_.ok()) reasons.emplace_back(config_status_.message());
  if (!socket_status_.ok()) reasons.emplace_back(socket_status_.message());
  if (!accounting_status_.ok()) reasons.emplace_back(accounting_status_.message());
  if (!xdp_status_.ok()) reasons.emplace_back(xdp_status_.message());
  if (!monitor_->status().ok()) reasons.emplace_back(monitor_->status().message());
  reasons.insert(reasons.end(), addresses_.snat_problems.begin(), addresses_.snat_problems.end());
  if (NamesAnotherMachine(object_addresses_, addresses_.local)) {
    reasons.push_back(absl::StrCat(
        "the Node ", options_.node_name, " has the address ", object_addresses_.front().ToString(),
        ", which this machine has not: is it the right name (--hostname-override), and is there no "
        "other machine of that name?"));
  }
  for (const AttachedInterface& interface : attached_) {
    if (!interface.error.empty()) {
      reasons.push_back(absl::StrCat("interface ", interface.name, ": ", interface.error));
    }
  }
  return reasons;
}

void NodeDatapath::OnDrop(const abi::drop_event& event) const {
  notice_(Severity::kDebug,
          absl::StrCat("dropped: ", std::string(ReasonName(event.reason)), ", service ",
                       event.service_id, ", ", EndText(event.flow.source, event.flow.source_port),
                       " -> ", EndText(event.flow.destination, event.flow.destination_port), " ",
                       ProtocolName(event.flow.protocol), ", ", std::string(HookName(event.hook)),
                       " of interface ", event.ifindex));
}

absl::Status CleanUpNode(const std::string& bpffs, const std::string& state_dir) {
  absl::Status first;
  ASSIGN_OR_RETURN(NodeRecord record, NodeRecord::Open(state_dir));
  // Programs go first, so that none runs on maps that are going.
  first.Update(DetachXdp(PinFolder(bpffs)));
  first.Update(DetachSocketPrograms(PinFolder(bpffs)));
  first.Update(DetachEverything(PinFolder(bpffs), record));
  const std::string reserved = record.changes().reserved_ports;
  if (!reserved.empty()) {
    ASSIGN_OR_RETURN(const PortSet ours, PortSet::Parse(reserved));
    ASSIGN_OR_RETURN(const PortSet present, ReadReservedPorts());
    const PortSet left = present.Without(ours);
    const absl::Status written = left == present ? absl::OkStatus() : WriteReservedPorts(left);
    first.Update(written);
    if (written.ok()) {
      NodeChanges changes = record.changes();
      changes.reserved_ports.clear();
      first.Update(record.Write(changes));
    }
  }
  // Links that could not be detached keep their pins: without one nobody could find them again.
  if (!first.ok()) return first;
  std::error_code error;
  std::filesystem::remove_all(PinFolder(bpffs), error);
  if (error) first.Update(ErrnoStatus(error.value(), absl::StrCat("remove ", PinFolder(bpffs))));
  std::filesystem::remove(bpffs, error);  // fails when others have something in it, rightly
  return first;
}

}  // namespace sluice
