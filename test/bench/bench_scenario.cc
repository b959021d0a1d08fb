// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_scenario.h"

#include <arpa/inet.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "control/base/status_macros.h"
#include "maps/names.h"
#include "test/bench/bench_frame.h"
#include "test/support/packet.h"

namespace sluice::bench {
namespace {

using testing::MapAddress;
using testing::SetNodeAddresses;
using Row = std::pair<abi::flow, abi::flow_entry>;

constexpr std::uint16_t kServicePort = 80;
constexpr std::uint16_t kBackendPort = 8080;
constexpr char kNodeV4[] = "192.0.2.10";
constexpr char kNodeV6[] = "2001:db8::10";
constexpr char kOtherNodeV4[] = "192.0.2.20";
constexpr char kOtherNodeV6[] = "2001:db8::20";
constexpr std::uint32_t kOtherNodeIndex = 2;  // in sl_nodes
// Prime to the number of backends, so that no two flows to one have the same source port.
constexpr std::uint32_t kSourcePorts = 64511;

std::uint32_t NowTicks() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const std::uint64_t ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                           static_cast<std::uint64_t>(now.tv_nsec);
  return static_cast<std::uint32_t>(ns >> abi::SL_TICK_SHIFT);
}

// The address that comes `n` after one whose last bytes are 0.
std::string After(std::uint32_t first, std::uint32_t n) {
  const std::uint32_t address = first + n;
  return absl::StrFormat("%d.%d.%d.%d", address >> 24, address >> 16 & 255, address >> 8 & 255,
                         address & 255);
}

abi::flow_entry EntryOf(const FlowEnds& ends, int flags, std::uint32_t now) {
  abi::flow_entry entry{};
  entry.service_id = ends.service_id;
  entry.backend_id = ends.backend_id;
  entry.backend_generation = 1;
  entry.last_seen = now;
  entry.flags = static_cast<std::uint8_t>(abi::SL_FLOW_ANSWERED | flags);
  return entry;
}

// Both rows of an established flow.
void AppendRows(const FlowEnds& ends, bool snat, std::uint32_t now, std::vector<Row>& rows) {
  abi::flow_entry entry = EntryOf(ends, snat ? abi::SL_FLOW_SNAT : 0, now);
  abi::flow_entry forward = entry;
  forward.flags |= abi::SL_FLOW_FORWARD;
  forward.new_source = MapAddress(ends.seen_client.address);
  forward.new_source_port = htons(ends.seen_client.port);
  forward.new_destination = MapAddress(ends.backend.address);
  forward.new_destination_port = htons(ends.backend.port);
  rows.emplace_back(testing::FlowKey(ends.client.address, ends.client.port, ends.service.address,
                                     ends.service.port, IPPROTO_TCP),
                    forward);
  entry.new_source = MapAddress(ends.service.address);
  entry.new_source_port = htons(ends.service.port);
  entry.new_destination = MapAddress(ends.client.address);
  entry.new_destination_port = htons(ends.client.port);
  rows.emplace_back(testing::FlowKey(ends.backend.address, ends.backend.port,
                                     ends.seen_client.address, ends.seen_client.port, IPPROTO_TCP),
                    entry);
}

// The one row of a flow that is passed on to the other node.
void AppendPassedRow(const FlowEnds& ends, bool v6, std::uint32_t now, std::vector<Row>& rows) {
  abi::flow_entry entry = EntryOf(ends, abi::SL_FLOW_FORWARD, now);
  entry.path = abi::SL_PATH_TO_NODE;
  entry.new_source = MapAddress(v6 ? kNodeV6 : kNodeV4);
  entry.new_destination = MapAddress(v6 ? kOtherNodeV6 : kOtherNodeV4);
  std::memcpy(&entry.new_source_port, &kOtherNodeIndex, sizeof(kOtherNodeIndex));
  rows.emplace_back(testing::FlowKey(ends.client.address, ends.client.port, ends.service.address,
                                     ends.service.port, IPPROTO_TCP),
                    entry);
}

}  // namespace

absl::Status BuildNetwork(testing::NetNs& net) {
  RETURN_IF_ERROR(net.AddDevice("uplink").status());
  RETURN_IF_ERROR(net.AddDevice("pod").status());
  return net.Ip({
      absl::StrCat("addr add ", kNodeV4, "/24 dev uplink"),
      absl::StrCat("addr add ", kNodeV6, "/64 dev uplink nodad"),
      absl::StrCat("neigh add 192.0.2.1 lladdr ", kRouter, " dev uplink"),
      absl::StrCat("neigh add 192.0.2.20 lladdr ", kOtherNode, " dev uplink"),
      absl::StrCat("neigh add 2001:db8::1 lladdr ", kRouter, " dev uplink"),
      absl::StrCat("neigh add 2001:db8::20 lladdr ", kOtherNode, " dev uplink"),
      "route add default via 192.0.2.1",
      "route add 10.128.0.0/9 via 192.0.2.20",
      "route add default via 2001:db8::1",
      "route add fd00:b::/64 via 2001:db8::20",
  });
}

testing::MapSizes SizesFor(const Shape& shape) {
  constexpr std::uint32_t kSpare = 128;  // id 0, and what a case adds
  const std::uint32_t ids = shape.services + kSpare;
  const std::uint32_t backends = shape.services * shape.backends + kSpare;
  testing::MapSizes sizes;
  if (shape.services > 30000) {
    for (const char* map : {names::kServiceStats, names::kServiceNames}) sizes[map] = ids;
    sizes[names::kServices] = 2 * ids;
  }
  if (backends > 262144) {
    for (const char* map : {names::kBackends, names::kBackendStats, names::kLoads}) {
      sizes[map] = backends;
    }
  }
  return sizes;
}

std::vector<Side> Scenario::Sides() const {
  return shape_.pods ? std::vector{Side::kPod, Side::kOutside} : std::vector{Side::kOutside};
}

std::string Scenario::Service(Side side, std::uint32_t service) const {
  const bool pod = side == Side::kPod;
  if (shape_.v6) return absl::StrFormat("fd00:%s::%x", pod ? "96" : "e", service + 1);
  return After(pod ? 10U << 24 | 96 << 16 : 203U << 24, service);
}

std::string Scenario::Backend(std::uint32_t backend) const {
  if (shape_.v6) {
    return absl::StrFormat("fd00:b::%x:%x", (backend >> 16) + 1, backend & 0xffff);
  }
  return After(10U << 24 | 128 << 16, backend);
}

FlowEnds Scenario::Flow(Side side, std::uint32_t i) const {
  const std::uint32_t service = i % shape_.services;
  const std::uint32_t backend = service * shape_.backends + i / shape_.services % shape_.backends;
  const bool pod = side == Side::kPod;
  FlowEnds ends;
  ends.client.port = static_cast<std::uint16_t>(1024 + i * 7919ULL % 60000);
  ends.client.address = shape_.v6 ? absl::StrFormat("fd00:%s::%x", pod ? "c" : "f", i + 1)
                                  : After(pod ? 10U << 24 | 64 << 16 : 198U << 24 | 18 << 16, i);
  ends.service = {Service(side, service), kServicePort};
  ends.backend = {Backend(backend), kBackendPort};
  ends.seen_client = ends.client;
  if (!pod) {
    ends.seen_client = {shape_.v6 ? kNodeV6 : kNodeV4,
                        static_cast<std::uint16_t>(1024 + i % kSourcePorts)};
  }
  ends.service_id = service + 1;
  ends.backend_id = backend + 1;
  return ends;
}

absl::Status Scenario::WriteBackends() {
  std::vector<std::pair<std::uint32_t, abi::backend>> backends;
  std::vector<std::pair<std::uint32_t, abi::slot>> slots;
  for (std::uint32_t i = 0; i < BackendCount(); ++i) {
    backends.push_back({i + 1,
                        {.address = MapAddress(Backend(i)),
                         .port = htons(kBackendPort),
                         .flags = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE,
                         .protocol = IPPROTO_TCP,
                         .generation = 1,
                         .service_id = i / shape_.backends + 1,
                         .node = kOtherNodeIndex}});
    kernel_.tables().filter().Add(backends.back().second);
    slots.push_back({i, {i + 1}});
  }
  RETURN_IF_ERROR(kernel_.tables().backends.Update(backends).status);
  RETURN_IF_ERROR(kernel_.floor_backends().Update(backends).status);
  return kernel_.tables().slots.Update(slots).status;
}

absl::Status Scenario::WriteServices() {
  testing::DatapathTables& tables = kernel_.tables();
  abi::node_config config{};
  SetNodeAddresses(config, kNodeV4, kNodeV6);
  // What sluiced does without --snat-ports.
  config.snat_port_min = 5000;
  config.snat_port_max = 29999;
  RETURN_IF_ERROR(tables.SetConfig(config));
  abi::node other{};
  other.address[abi::SL_FAMILY_V4] = MapAddress(kOtherNodeV4);
  other.address[abi::SL_FAMILY_V6] = MapAddress(kOtherNodeV6);
  other.flags = abi::SL_NODE_TUNNEL;
  const std::pair<std::uint32_t, abi::node> node{kOtherNodeIndex, other};
  RETURN_IF_ERROR(tables.nodes.Update(std::span(&node, 1)).status);
  RETURN_IF_ERROR(WriteBackends());
  std::vector<std::pair<abi::service_key, abi::service>> services;
  for (const Side side : Sides()) {
    const bool pod = side == Side::kPod;
    for (std::uint32_t i = 0; i < shape_.services; ++i) {
      abi::service service{};
      service.id = i + 1;
      service.flags = abi::SL_SERVICE_HAS_ENDPOINTS;
      if (shape_.dsr && !pod) service.flags |= abi::SL_SERVICE_DSR;
      service.kind = pod ? abi::SL_FRONTEND_CLUSTER_IP : abi::SL_FRONTEND_EXTERNAL_IP;
      for (abi::slot_range& range : service.slots) {
        range = {i * shape_.backends, shape_.backends};
      }
      services.emplace_back(
          testing::ServiceKey(
              {.address = Service(side, i), .port = kServicePort, .protocol = IPPROTO_TCP}),
          service);
    }
  }
  for (const auto& [key, service] : services) tables.filter().Add(key);
  return tables.services.Update(services).status;
}

absl::Status Scenario::WriteFlows(std::uint32_t first, std::uint32_t last) {
  const std::uint32_t now = NowTicks();
  std::vector<Row> rows;
  for (std::uint32_t i = first; i < last; ++i) {
    for (const Side side : Sides()) {
      const bool outside = side == Side::kOutside;
      if (outside && shape_.dsr) {
        AppendPassedRow(Flow(side, i), shape_.v6, now, rows);
      } else {
        AppendRows(Flow(side, i), outside, now, rows);
      }
    }
  }
  for (const auto& [key, entry] : rows) MarkRow(key, entry);
  RETURN_IF_ERROR(kernel_.tables().flows.Update(rows).status);
  return kernel_.floor_flows().Update(rows).status;
}

// As the programs do it; without a seed.
void Scenario::MarkRow(const abi::flow& key, const abi::flow_entry& entry) {
  ClientArray clients = kernel_.tables().clients();
  if ((entry.flags & abi::SL_FLOW_FORWARD) == 0) return;
  clients.Mark(0, abi::client_hash(&key.source, key.source_port, key.protocol, 0));
  if ((entry.flags & abi::SL_FLOW_SNAT) == 0) return;
  clients.Mark(0, abi::client_answer_hash(
                      abi::client_hash(&entry.new_source, entry.new_source_port, key.protocol, 0),
                      &entry.new_destination, entry.new_destination_port, key.protocol));
}

absl::Status Scenario::FillFlows() {
  auto& flows = kernel_.tables().flows;
  ClientArray clients = kernel_.tables().clients();
  std::vector<Row> rows(4096);
  for (std::uint32_t base = 0; base < flows.max_entries(); base += 4096) {
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      rows[i].first = {};
      rows[i].first.source.w[0] = 1;  // no address that a packet can have is mapped to this
      rows[i].first.source.w[3] = base + i;
      // A pod's flow has two rows and is remembered by its client; one from outside has two and is
      // remembered by both ends, or has one. Where there are both, half of them are pods'.
      const bool of_pod = shape_.pods && base < flows.max_entries() / 2;
      if (of_pod && i % 2 != 0) continue;
      clients.Mark(0, abi::client_hash(&rows[i].first.source, 0, 0, 0));
    }
    const absl::Status status = flows.Update(rows).status;
    if (absl::IsResourceExhausted(status)) return absl::OkStatus();
    RETURN_IF_ERROR(status);
  }
  return absl::InternalError("sl_flows takes more rows than it has");
}

Bytes Scenario::Frame(const End& from, const End& to, const std::string& flags, int hops) const {
  testing::Packet packet = {testing::Ethernet()};
  const auto ttl = static_cast<std::uint8_t>(64 - hops);
  if (shape_.v6) {
    packet.push_back(
        testing::Ipv6{.source = from.address, .destination = to.address, .hop_limit = ttl});
  } else {
    packet.push_back(testing::Ipv4{.source = from.address, .destination = to.address, .ttl = ttl});
  }
  // Of a handshake that starts at 0: only the acknowledgment of the answer establishes a flow.
  packet.push_back(testing::Tcp{.source_port = from.port,
                                .destination_port = to.port,
                                .flags = flags,
                                .sequence = flags == "A" ? 1u : 0u,
                                .acknowledgment = flags == "S" ? 0u : 1u});
  const std::size_t headers = shape_.v6 ? 74 : 54;
  packet.push_back(testing::Payload{std::string(BENCH_FRAME_SIZE - headers, 'x')});
  return testing::Build(packet);
}

Bytes Scenario::Sent(const Bytes& frame, const std::string& neighbour) {
  testing::Packet packet = *testing::Parse(frame);
  packet.front() =
      testing::Ethernet{.source = testing::Ethernet{}.destination, .destination = neighbour};
  return testing::Build(packet);
}

Bytes Scenario::Wrapped(const Bytes& frame) const {
  const testing::Packet packet = *testing::Parse(frame);
  testing::Packet wrapped = {packet.front()};
  if (shape_.v6) {
    wrapped.push_back(testing::Ipv6{.source = kNodeV6, .destination = kOtherNodeV6});
  } else {
    wrapped.push_back(
        testing::Ipv4{.source = kNodeV4, .destination = kOtherNodeV4, .dont_fragment = true});
  }
  wrapped.insert(wrapped.end(), packet.begin() + 1, packet.end());
  return testing::Build(wrapped);
}

std::vector<Bytes> Scenario::NewFrames(Side side) const {
  std::vector<Bytes> frames;
  // The wrapper fills in the address's low 32 bits and the port; see bench_new.
  const End nobody{shape_.v6 ? "fd00:d::" : "0.0.0.0", 0};
  for (std::uint32_t i = 0; i < std::min(shape_.services, std::uint32_t{BENCH_MAX_FLOWS}); ++i) {
    frames.push_back(Frame(nobody, {Service(side, i), kServicePort}, "S"));
  }
  return frames;
}

std::vector<Bytes> Scenario::NoServiceFrames(std::uint32_t count) const {
  std::vector<Bytes> frames;
  for (std::uint32_t i = 0; i < count; ++i) {
    const FlowEnds ends = Flow(Side::kPod, i);
    frames.push_back(Frame(ends.client, {ends.backend.address, 443}, "A"));
  }
  return frames;
}

absl::StatusOr<std::uint64_t> Scenario::CountedPackets() const {
  ASSIGN_OR_RETURN(const auto rows, kernel_.tables().service_stats.Dump());
  std::uint64_t packets = 0;
  for (const auto& [id, stats] : rows) packets += stats.packets_in + stats.packets_out;
  return packets;
}

}  // namespace sluice::bench
