// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_scenario.h"

#include <arpa/inet.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "control/base/status_macros.h"
#include "test/bench/bench_frame.h"
#include "test/support/packet.h"

namespace sluice::bench {
namespace {

using testing::DatapathTables;
using testing::MapAddress;
using testing::SetNodeAddresses;
using Row = std::pair<abi::flow, abi::flow_entry>;

constexpr std::uint16_t kServicePort = 80;
constexpr std::uint16_t kBackendPort = 8080;
constexpr char kNodeV4[] = "192.0.2.10";
constexpr char kNodeV6[] = "2001:db8::10";

std::uint32_t NowTicks() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const std::uint64_t ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                           static_cast<std::uint64_t>(now.tv_nsec);
  return static_cast<std::uint32_t>(ns >> abi::SL_TICK_SHIFT);
}

// Both rows of an established flow.
void AppendRows(const FlowEnds& ends, bool snat, std::uint32_t now, std::vector<Row>& rows) {
  abi::flow_entry entry{};
  entry.service_id = ends.service_id;
  entry.backend_id = ends.backend_id;
  entry.backend_generation = 1;
  entry.last_seen = now;
  entry.flags = static_cast<std::uint8_t>(abi::SL_FLOW_ANSWERED | (snat ? abi::SL_FLOW_SNAT : 0));
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

}  // namespace

absl::Status BuildNetwork(testing::NetNs& net) {
  RETURN_IF_ERROR(net.AddDevice("uplink").status());
  RETURN_IF_ERROR(net.AddDevice("pod").status());
  return net.Ip({
      absl::StrCat("addr add ", kNodeV4, "/24 dev uplink"),
      absl::StrCat("addr add ", kNodeV6, "/64 dev uplink nodad"),
      "neigh add 192.0.2.1 lladdr 02:00:00:00:01:01 dev uplink",
      "neigh add 192.0.2.20 lladdr 02:00:00:00:01:20 dev uplink",
      "neigh add 2001:db8::1 lladdr 02:00:00:00:01:01 dev uplink",
      "neigh add 2001:db8::20 lladdr 02:00:00:00:01:20 dev uplink",
      "route add default via 192.0.2.1",
      "route add 10.128.0.0/9 via 192.0.2.20",
      "route add default via 2001:db8::1",
      "route add fd00:b::/64 via 2001:db8::20",
  });
}

std::string Scenario::Service(Side side, std::uint32_t service) const {
  const bool pod = side == Side::kPod;
  if (v6_) return absl::StrFormat("fd00:%s::%x", pod ? "96" : "e", service + 1);
  return absl::StrFormat("%s.%d.%d", pod ? "10.96" : "203.0", service >> 8, service & 255);
}

std::string Scenario::Backend(std::uint32_t backend) const {
  if (v6_) return absl::StrFormat("fd00:b::%x:%x", (backend >> 16) + 1, backend & 0xffff);
  return absl::StrFormat("10.%d.%d.%d", 128 + (backend >> 16), backend >> 8 & 255, backend & 255);
}

FlowEnds Scenario::Flow(Side side, std::uint32_t i) const {
  const std::uint32_t service = i % services_;
  const std::uint32_t backend = service * kBackendsPerService + i / services_ % kBackendsPerService;
  const bool pod = side == Side::kPod;
  FlowEnds ends;
  ends.client.port = static_cast<std::uint16_t>(1024 + i * 7919 % 60000);
  ends.client.address =
      v6_ ? absl::StrFormat("fd00:%s::%x", pod ? "c" : "f", i + 1)
          : absl::StrFormat("%s.%d.%d", pod ? "10.64" : "198.18", i >> 8, i & 255);
  ends.service = {Service(side, service), kServicePort};
  ends.backend = {Backend(backend), kBackendPort};
  ends.seen_client = ends.client;
  if (!pod) ends.seen_client = {v6_ ? kNodeV6 : kNodeV4, static_cast<std::uint16_t>(1024 + i)};
  ends.service_id = service + 1;
  ends.backend_id = backend + 1;
  return ends;
}

absl::Status Scenario::WriteServicesTo(DatapathTables& tables) {
  abi::node_config config{};
  SetNodeAddresses(config, kNodeV4, kNodeV6);
  config.snat_port_min = 1024;
  config.snat_port_max = 65535;
  RETURN_IF_ERROR(tables.SetConfig(config));

  const std::uint32_t count = services_ * kBackendsPerService;
  std::vector<std::pair<std::uint32_t, abi::backend>> backends;
  std::vector<std::pair<std::uint32_t, abi::slot>> slots;
  for (std::uint32_t i = 0; i < count; ++i) {
    backends.push_back({i + 1,
                        {.address = MapAddress(Backend(i)),
                         .port = htons(kBackendPort),
                         .flags = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE,
                         .protocol = IPPROTO_TCP,
                         .generation = 1,
                         .service_id = i / kBackendsPerService + 1,
                         .node = 0}});
    tables.filter().Add(backends.back().second);
    slots.push_back({i, {i + 1}});
  }
  RETURN_IF_ERROR(tables.backends.Update(backends).status);
  RETURN_IF_ERROR(kernel_.floor_backends().Update(backends).status);
  RETURN_IF_ERROR(tables.slots.Update(slots).status);
  std::vector<std::pair<abi::service_key, abi::service>> services;
  for (const Side side : {Side::kPod, Side::kOutside}) {
    for (std::uint32_t i = 0; i < services_; ++i) {
      abi::service service{};
      service.id = i + 1;
      service.flags = abi::SL_SERVICE_HAS_ENDPOINTS;
      service.kind =
          side == Side::kPod ? abi::SL_FRONTEND_CLUSTER_IP : abi::SL_FRONTEND_EXTERNAL_IP;
      for (abi::slot_range& range : service.slots) {
        range = {i * kBackendsPerService, kBackendsPerService};
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

absl::Status Scenario::WriteServices() {
  RETURN_IF_ERROR(WriteServicesTo(kernel_.tables()));
  return WriteServicesTo(kernel_.counted_tables());
}

absl::Status Scenario::WriteFlows(std::uint32_t first, std::uint32_t last) {
  const std::uint32_t now = NowTicks();
  std::vector<Row> rows;
  for (std::uint32_t i = first; i < last; ++i) {
    AppendRows(Flow(Side::kPod, i), false, now, rows);
    AppendRows(Flow(Side::kOutside, i), true, now, rows);
  }
  RETURN_IF_ERROR(kernel_.tables().flows.Update(rows).status);
  RETURN_IF_ERROR(kernel_.counted_tables().flows.Update(rows).status);
  return kernel_.floor_flows().Update(rows).status;
}

absl::Status Scenario::FillFlows() {
  auto& flows = kernel_.tables().flows;
  std::vector<Row> rows(4096);
  for (std::uint32_t base = 0; base < flows.max_entries(); base += 4096) {
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      rows[i].first = {};
      rows[i].first.source.w[0] = 1;  // no address that a packet can have is mapped to this
      rows[i].first.source.w[3] = base + i;
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
  if (v6_) {
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
  const std::size_t headers = v6_ ? 74 : 54;
  packet.push_back(testing::Payload{std::string(BENCH_FRAME_SIZE - headers, 'x')});
  return testing::Build(packet);
}

std::vector<Bytes> Scenario::NewFrames(Side side) const {
  std::vector<Bytes> frames;
  // The wrapper fills in the address's low 32 bits and the port; see bench_new.
  const End nobody{v6_ ? "fd00:d::" : "0.0.0.0", 0};
  for (std::uint32_t i = 0; i < std::min(services_, std::uint32_t{10000}); ++i) {
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
