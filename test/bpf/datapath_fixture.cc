// SPDX-License-Identifier: Apache-2.0
#include "test/bpf/datapath_fixture.h"

#include <linux/bpf.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"

#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "maps/names.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// Loading takes a good part of a second, so all tests of the process share it.
struct Node {
  std::unique_ptr<NetNs> net;
  std::unique_ptr<ProgRunner> runner;
};

absl::Status BuildNetwork(NetNs& net) {
  for (const char* name : {"uplink", "pod1", "pod2"}) {
    RETURN_IF_ERROR(net.AddDevice(name));
  }
  std::vector<std::string> lines = {
      "addr add 192.0.2.10/24 dev uplink",
      "addr add 2001:db8::10/64 dev uplink nodad",
      "neigh add 192.0.2.1 lladdr 02:00:00:00:01:01 dev uplink",
      "neigh add 192.0.2.20 lladdr 02:00:00:00:01:20 dev uplink",
      "neigh add 2001:db8::1 lladdr 02:00:00:00:01:01 dev uplink",
      "neigh add 2001:db8::20 lladdr 02:00:00:00:01:20 dev uplink",
      "route add 198.51.100.0/24 via 192.0.2.1",
      "route add 10.0.2.0/24 via 192.0.2.20",
      absl::StrCat("route add 10.0.3.0/24 via 192.0.2.20 mtu lock ", kNarrowMtu),
      "route add 2001:db8:f::/64 via 2001:db8::1",
      "route add fd00:0:0:2::/64 via 2001:db8::20",
      absl::StrCat("route add fd00:0:0:3::/64 via 2001:db8::20 mtu lock ", kNarrowMtu),
  };
  for (int pod : {1, 2}) {
    const std::string device = absl::StrCat("pod", pod);
    for (const std::string& address :
         {absl::StrCat("10.0.1.", pod), absl::StrCat("fd00:0:0:1::", pod)}) {
      lines.push_back(absl::StrCat("route add ", address, " dev ", device));
      lines.push_back(
          absl::StrCat("neigh add ", address, " lladdr 02:00:00:00:02:0", pod, " dev ", device));
    }
  }
  return net.Ip(lines);
}

absl::StatusOr<Node> MakeNode(std::uint32_t flow_rows) {
  Node node;
  ASSIGN_OR_RETURN(node.net, NetNs::Create());
  RETURN_IF_ERROR(BuildNetwork(*node.net));
  MapSizes sizes = SmallMaps();
  sizes[names::kFlows] = flow_rows;
  ASSIGN_OR_RETURN(node.runner, ProgRunner::Create(sizes));
  return node;
}

// Made at the first call, with so many rows of sl_flows.
absl::StatusOr<Node>& SharedNode(std::uint32_t flow_rows = 1024) {
  static absl::StatusOr<Node> node = MakeNode(flow_rows);
  return node;
}

template <typename K, typename V>
void DeleteAll(Table<K, V>& table) {
  const auto rows = table.Dump();
  ASSERT_THAT(rows, IsOk());
  std::vector<K> keys;
  for (const auto& [key, value] : *rows) keys.push_back(key);
  ASSERT_THAT(table.Delete(keys).status, IsOk());
}

template <typename V>
void ZeroAll(Table<std::uint32_t, V>& table) {
  auto rows = table.Dump();
  ASSERT_THAT(rows, IsOk());
  for (auto& [key, value] : *rows) value = V{};
  ASSERT_THAT(table.Update(*rows).status, IsOk());
}

abi::addr_range Range(const std::string& prefix, const std::string& mask) {
  abi::addr_range range{.prefix = MapAddress(prefix), .mask = MapAddress(mask)};
  if (mask.find(':') == std::string::npos) {
    std::memset(&range.mask, 0xff, 12);  // of a v4-mapped address the first 96 bits count too
  }
  return range;
}

}  // namespace

std::vector<Flavor> AllFlavors() {
  return {{.v6 = false, .protocol = 6},
          {.v6 = false, .protocol = 17},
          {.v6 = true, .protocol = 6},
          {.v6 = true, .protocol = 17}};
}

std::vector<Flavor> SctpFlavors() {
  return {{.v6 = false, .protocol = 132}, {.v6 = true, .protocol = 132}};
}

std::string FlavorName(const Flavor& flavor) {
  const char* protocol = flavor.tcp() ? "Tcp" : flavor.sctp() ? "Sctp" : "Udp";
  return absl::StrCat(flavor.v6 ? "V6" : "V4", protocol);
}

std::string FlavorCaseName(const ::testing::TestParamInfo<Flavor>& test) {
  return FlavorName(test.param);
}

void PrintTo(const Flavor& flavor, std::ostream* os) { *os << FlavorName(flavor); }

const Addresses& AddressesOf(bool v6) {
  static const Addresses v4 = {.pod1 = "10.0.1.1",
                               .pod2 = "10.0.1.2",
                               .remote = "10.0.2.1",
                               .remote2 = "10.0.2.2",
                               .narrow = "10.0.3.1",
                               .nowhere = "10.0.99.1",
                               .outside = "198.51.100.5",
                               .node = "192.0.2.10",
                               .cluster_ip = "10.96.0.10",
                               .cluster_ip2 = "10.96.0.11",
                               .unallocated = "10.96.7.7"};
  static const Addresses sixes = {.pod1 = "fd00:0:0:1::1",
                                  .pod2 = "fd00:0:0:1::2",
                                  .remote = "fd00:0:0:2::1",
                                  .remote2 = "fd00:0:0:2::2",
                                  .narrow = "fd00:0:0:3::1",
                                  .nowhere = "fd00:0:0:99::1",
                                  .outside = "2001:db8:f::5",
                                  .node = "2001:db8::10",
                                  .cluster_ip = "fd00:96::10",
                                  .cluster_ip2 = "fd00:96::11",
                                  .unallocated = "fd00:96::777"};
  return v6 ? sixes : v4;
}

std::string HookName(const Hook& hook) {
  return absl::StrCat(ProgramName(hook.program), " at ", hook.device);
}

namespace {

int VerdictOfXdp(int action) {
  switch (action) {
    case XDP_PASS:
      return kNext;
    case XDP_DROP:
      return kDrop;
    case XDP_TX:
      return kSent;
    case XDP_REDIRECT:
      return kRedirect;
    default:
      return action;
  }
}

std::uint8_t ChunkOfFlags(const std::string& flags) {
  const auto has = [&flags](char flag) { return flags.find(flag) != std::string::npos; };
  if (has('S')) return has('A') ? kSctpInitAck : kSctpInit;
  if (has('R')) return kSctpAbort;
  return has('F') ? kSctpShutdown : kSctpData;
}

std::string Be32Text(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text.push_back(static_cast<char>(value >> shift));
  return text;
}

// RFC 9260 3.3: what the datapath has to know of a chunk, and else zeros of the right length.
SctpChunk MakeChunk(const Shape& shape) {
  SctpChunk chunk{.type = shape.chunk.value_or(ChunkOfFlags(shape.flags))};
  if (chunk.type == kSctpInit || chunk.type == kSctpInitAck) {
    chunk.value = Be32Text(shape.sequence + 1) + std::string(12, '\1');
  } else if (chunk.type == kSctpData) {
    chunk.flags = 3;  // a message's beginning and end
    chunk.value = std::string(12, '\2') + shape.payload;
  } else if (chunk.type == kSctpShutdown) {
    chunk.value = std::string(4, '\3');
  } else if (chunk.type == kSctpCookieEcho) {
    chunk.value = "cookie";
  } else if (chunk.type == kSctpError) {
    chunk.value = shape.payload;
  }
  return chunk;
}

}  // namespace

Packet MakePacket(const Flavor& flavor, const End& from, const End& to, const Shape& shape) {
  Packet packet = {Ethernet()};
  if (flavor.v6) {
    packet.push_back(Ipv6{.source = from.address, .destination = to.address});
  } else {
    packet.push_back(Ipv4{.source = from.address, .destination = to.address, .id = 1});
  }
  if (flavor.tcp()) {
    packet.push_back(Tcp{.source_port = from.port,
                         .destination_port = to.port,
                         .flags = shape.flags,
                         .sequence = shape.sequence,
                         .acknowledgment = shape.acknowledgment});
  } else if (flavor.sctp()) {
    packet.push_back(Sctp{.source_port = from.port,
                          .destination_port = to.port,
                          .tag = shape.acknowledgment,
                          .chunks = {MakeChunk(shape)}});
    return packet;
  } else {
    packet.push_back(Udp{.source_port = from.port, .destination_port = to.port});
  }
  if (!shape.payload.empty()) packet.push_back(Payload{shape.payload});
  return packet;
}

Packet Hop(Packet packet) {
  for (Layer& layer : packet) {
    if (auto* v4 = std::get_if<Ipv4>(&layer)) {
      --v4->ttl;
      return packet;
    }
    if (auto* v6 = std::get_if<Ipv6>(&layer)) {
      --v6->hop_limit;
      return packet;
    }
  }
  return packet;
}

void DatapathTest::SetUpTestSuite() { ASSERT_THAT(SharedNode(flow_rows_), IsOk()); }

// Asked for by a socket: the namespace has no sysfs of its own.
std::string MacOf(const std::string& device) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  device.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  EXPECT_EQ(::ioctl(socket.get(), SIOCGIFHWADDR, &request), 0) << device;
  std::vector<std::string> bytes;
  for (int i = 0; i < 6; ++i) {
    bytes.push_back(
        absl::StrFormat("%02x", static_cast<unsigned char>(request.ifr_hwaddr.sa_data[i])));
  }
  return absl::StrJoin(bytes, ":");
}

void SetUplink(ProgRunner& runner, const abi::uplink_key& key, std::uint32_t ifindex,
               const std::string& mac) {
  abi::uplink uplink = {};
  uplink.ifindex = ifindex;
  for (std::size_t i = 0; i < sizeof(uplink.mac); ++i) {
    uplink.mac[i] = static_cast<__u8>(std::stoul(mac.substr(3 * i, 2), nullptr, 16));
  }
  ASSERT_THAT(runner.SetXdpRow(names::kUplinks, key, uplink), IsOk());
}

void DatapathTest::SetUp() {
  DeleteAll(tables().services);
  DeleteAll(tables().source_ranges);
  DeleteAll(tables().affinity);
  DeleteAll(tables().flows);
  DeleteAll(tables().fragments);
  DeleteAll(tables().drops);
  DeleteAll(tables().node_ids);
  const std::uint32_t uplink = Ifindex("uplink");
  SetUplink(runner(), {.device = uplink, .vlan = 0}, uplink, MacOf("uplink"));
  ZeroAll(tables().service_stats);
  ZeroAll(tables().slots);
  ZeroAll(tables().backends);
  ZeroAll(tables().backend_stats);
  ZeroAll(tables().loads);
  ZeroAll(tables().nodes);
  ZeroAll(tables().snat_ports);
  ZeroAll(tables().opening);
  tables().ClearFilter();
  tables().ClearClients();
  SetConfig(DefaultConfig());
  writer_ = std::make_unique<DatapathWriter>(tables());
}

abi::node_config DatapathTest::DefaultConfig() {
  abi::node_config config{};
  SetNodeAddresses(config, AddressesOf(false).node, AddressesOf(true).node);
  config.service_range[abi::SL_FAMILY_V4] = Range("10.96.0.0", "255.255.0.0");
  config.service_range[abi::SL_FAMILY_V6] =
      Range("fd00:96::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0");
  config.snat_port_min = kSnatMin;
  config.snat_port_max = kSnatMax;
  return config;
}

void DatapathTest::SetConfig(const abi::node_config& config) {
  ASSERT_THAT(tables().SetConfig(config), IsOk());
}

NetNs& DatapathTest::net() { return *SharedNode()->net; }
ProgRunner& DatapathTest::runner() { return *SharedNode()->runner; }

std::uint32_t DatapathTest::Ifindex(const std::string& device) {
  const unsigned index = if_nametoindex(device.c_str());
  EXPECT_NE(index, 0u) << device;
  return index;
}

RunResult DatapathTest::Run(const Hook& hook, const Bytes& frame, RunContext context) {
  context.ifindex = Ifindex(hook.device);
  const absl::StatusOr<RunResult> result = runner().Run(hook.program, frame, context);
  EXPECT_THAT(result, IsOk()) << HookName(hook);
  if (!result.ok()) return {};
  RunResult told = *result;
  if (hook.program == Program::kXdp) told.verdict = VerdictOfXdp(told.verdict);
  return told;
}

::testing::AssertionResult DatapathTest::Becomes(const Hook& hook, const Bytes& in, int verdict,
                                                 const Bytes& out) {
  const RunResult result = Run(hook, in);
  std::string wrong;
  if (result.verdict != verdict) {
    absl::StrAppend(&wrong, "verdict: expected ", verdict, ", is ", result.verdict, "\n");
  }
  // A dropped packet is nobody's any more: its bytes do not matter.
  if (verdict != kDrop) absl::StrAppend(&wrong, Difference(out, result.frame));
  if (wrong.empty()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << HookName(hook) << ":\n" << wrong;
}

std::uint32_t DatapathTest::AddBackend(const BackendSpec& spec) {
  const absl::StatusOr<std::uint32_t> id = writer().AddBackend(spec);
  EXPECT_THAT(id, IsOk());
  return id.value_or(0);
}

void DatapathTest::SetService(const ServiceSpec& spec) {
  EXPECT_THAT(writer().SetService(spec), IsOk());
}

abi::service_stats DatapathTest::ServiceStats(std::uint32_t id) {
  const auto row = tables().service_stats.Lookup(id);
  EXPECT_THAT(row, IsOk());
  return row.ok() && *row ? **row : abi::service_stats{};
}

abi::backend_stats DatapathTest::BackendStats(std::uint32_t id) {
  const auto row = tables().backend_stats.Lookup(id);
  EXPECT_THAT(row, IsOk());
  return row.ok() && *row ? **row : abi::backend_stats{};
}

std::uint64_t DatapathTest::Drops(std::uint32_t reason, std::uint32_t service_id) {
  const auto row = tables().drops.Lookup({.reason = reason, .service_id = service_id});
  EXPECT_THAT(row, IsOk());
  return row.ok() && *row ? (*row)->packets : 0;
}

std::uint64_t DatapathTest::AllDrops() {
  const auto rows = tables().drops.Dump();
  EXPECT_THAT(rows, IsOk());
  std::uint64_t packets = 0;
  if (rows.ok()) {
    for (const auto& [key, count] : *rows) packets += count.packets;
  }
  return packets;
}

std::size_t DatapathTest::FlowCount() {
  const auto rows = tables().flows.Dump();
  EXPECT_THAT(rows, IsOk());
  return rows.ok() ? rows->size() : 0;
}

std::optional<abi::flow_entry> DatapathTest::FlowRow(const abi::flow& key) {
  const auto row = tables().flows.Lookup(key);
  EXPECT_THAT(row, IsOk());
  return row.ok() ? *row : std::nullopt;
}

std::size_t DatapathTest::OpeningCount() {
  const absl::StatusOr<std::size_t> count = runner().OpeningFlows();
  EXPECT_THAT(count, IsOk());
  return count.value_or(0);
}

}  // namespace sluice::testing
