// SPDX-License-Identifier: Apache-2.0
#include "test/unit/report/pinned_node.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <span>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "test/support/packet.h"

namespace sluice::report {
namespace {

using testing::MapAddress;

constexpr MapSizes kSmall = {
    .frontends = 64, .services = 64, .backends = 64, .slots = 1024, .flows = 128, .opening = 32};
struct FrontendSpec {
  const char* address;
  std::uint16_t port;
  std::uint32_t service_id;
  abi::sl_frontend_kind kind;
  int flags;
  abi::slot_range slots;
};

template <typename K, typename V>
absl::Status Put(Table<K, V>& table, const K& key, const V& value) {
  const std::pair<K, V> row(key, value);
  return table.Update(std::span(&row, 1)).status;
}

abi::service_name Name(const char* name_space, const char* name, const char* port,
                       std::uint32_t protocol) {
  abi::service_name row{};
  std::strncpy(row.name_space, name_space, sizeof(row.name_space) - 1);
  std::strncpy(row.name, name, sizeof(row.name) - 1);
  std::strncpy(row.port_name, port, sizeof(row.port_name) - 1);
  row.protocol = protocol;
  return row;
}

abi::backend Backend(const char* address, int flags) {
  return {.address = MapAddress(address),
          .port = htons(8080),
          .flags = static_cast<std::uint8_t>(flags),
          .protocol = IPPROTO_TCP,
          .generation = 1,
          .service_id = 1,
          .node = 0};
}

}  // namespace

absl::StatusOr<std::unique_ptr<PinnedNode>> PinnedNode::Create() {
  auto node = std::unique_ptr<PinnedNode>(
      new PinnedNode(absl::StrCat("/sys/fs/bpf/sluice-report-test-", getpid())));
  ASSIGN_OR_RETURN(node->net_, testing::NetNs::Create());
  RETURN_IF_ERROR(node->SetUpNetwork());
  RETURN_IF_ERROR(EnsureBpffs(node->bpffs_));
  ASSIGN_OR_RETURN(node->programs_, LoadPrograms(node->bpffs_, kSmall));
  ASSIGN_OR_RETURN(node->maps_, MapSet::OpenPinned(PinFolder(node->bpffs_)));
  RETURN_IF_ERROR(node->WriteServices());
  return node;
}

PinnedNode::~PinnedNode() {
  std::error_code ignored;  // nothing more can be done about a folder that stays
  std::filesystem::remove_all(bpffs_, ignored);
}

absl::Status PinnedNode::SetUpNetwork() {
  RETURN_IF_ERROR(net_->AddDevice("pod0"));
  RETURN_IF_ERROR(net_->AddDevice("eth.100"));
  return net_->Ip({"addr add 192.0.2.10/24 dev eth.100",
                   "addr add 2001:db8:1::10/64 dev eth.100 nodad",
                   "route add 203.0.113.0/24 via 192.0.2.2",
                   "neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev eth.100",
                   "route add 2001:db8:2::/64 via 2001:db8:1::2",
                   "neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:22 dev eth.100"});
}

absl::Status PinnedNode::WriteServices() {
  constexpr int kUsable = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE;
  auto& backends = maps_->backends();
  RETURN_IF_ERROR(Put(backends, 1u, Backend("203.0.113.1", kUsable | abi::SL_BACKEND_LOCAL)));
  RETURN_IF_ERROR(Put(backends, 2u, Backend("203.0.113.2", kUsable)));
  RETURN_IF_ERROR(Put(backends, 3u, Backend("2001:db8:2::1", kUsable)));
  const std::uint32_t slots[] = {1, 2, 2, 3};
  if (!maps_->slots().Write(0, slots)) return absl::InternalError("no room for slots");
  auto& names = maps_->service_names();
  RETURN_IF_ERROR(Put(names, 1u, Name("default", "web", "http", IPPROTO_TCP)));
  RETURN_IF_ERROR(Put(names, 2u, Name("kube-system", "dns", "", IPPROTO_UDP)));
  RETURN_IF_ERROR(Put(maps_->service_stats(), 1u,
                      abi::service_stats{.packets_in = 5,
                                         .bytes_in = 500,
                                         .packets_out = 4,
                                         .bytes_out = 4000,
                                         .opened = 3,
                                         .rejected = 2,
                                         .dropped = 1,
                                         .failed = 0}));
  constexpr int kClusterIp = abi::SL_SERVICE_DENY_EXTERNAL | abi::SL_SERVICE_HAS_ENDPOINTS;
  const FrontendSpec frontends[] = {
      {"198.51.100.1", 80, 1, abi::SL_FRONTEND_CLUSTER_IP, kClusterIp, {0, 2}},
      {"2001:db8::1", 80, 1, abi::SL_FRONTEND_CLUSTER_IP, kClusterIp, {3, 1}},
      {"192.0.2.10", 30080, 1, abi::SL_FRONTEND_NODE_PORT, abi::SL_SERVICE_HAS_ENDPOINTS, {2, 1}},
      {"198.51.100.2", 53, 2, abi::SL_FRONTEND_CLUSTER_IP, abi::SL_SERVICE_DENY_EXTERNAL, {0, 0}}};
  for (const FrontendSpec& spec : frontends) {
    const abi::service_key key = {
        .address = MapAddress(spec.address),
        .port = htons(spec.port),
        .pad = 0,
        .protocol = spec.service_id == 1 ? std::uint32_t{IPPROTO_TCP} : std::uint32_t{IPPROTO_UDP}};
    abi::service row{};
    row.id = spec.service_id;
    row.flags = static_cast<std::uint16_t>(spec.flags);
    row.kind = static_cast<std::uint8_t>(spec.kind);
    row.slots[abi::SL_SCOPE_INTERNAL] = spec.slots;
    row.slots[abi::SL_SCOPE_EXTERNAL] = spec.slots;
    maps_->filter().Add(key);
    RETURN_IF_ERROR(Put(maps_->services(), key, row));
  }
  abi::node_config config{};
  for (const auto& [family, text] : {std::pair{abi::SL_FAMILY_V4, "192.0.2.10"},
                                     std::pair{abi::SL_FAMILY_V6, "2001:db8:1::10"}}) {
    config.node_address[family] = MapAddress(text);
    config.snat_address[family][0] = config.node_address[family];
    config.snat_addresses[family] = 1;
  }
  config.snat_port_min = 20000;
  config.snat_port_max = 29999;
  return Put(maps_->config(), 0u, config);
}

}  // namespace sluice::report
