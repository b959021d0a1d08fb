// SPDX-License-Identifier: Apache-2.0
#include "test/support/datapath_tables.h"

#include <arpa/inet.h>
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "maps/names.h"
#include "test/support/packet.h"

namespace sluice::testing {
namespace {

template <typename K, typename V>
absl::StatusOr<BpfTable<K, V>> OpenTable(const bpf_object& object, const char* name) {
  const int fd = bpf_object__find_map_fd_by_name(&object, name);
  if (fd < 0) return absl::NotFoundError(absl::StrCat("map ", name));
  UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return ErrnoStatus(errno, name);
  ASSIGN_OR_RETURN(BpfMap map, BpfMap::FromFd(std::move(own)));
  return BpfTable<K, V>::Create(std::move(map));
}

template <typename K, typename V>
absl::Status Put(Table<K, V>& table, const K& key, const V& value) {
  const std::pair<K, V> row(key, value);
  return table.Update(std::span(&row, 1)).status;
}

}  // namespace

absl::StatusOr<DatapathTables> DatapathTables::Open(const bpf_object& object) {
  using U32 = std::uint32_t;
  ASSIGN_OR_RETURN(auto services,
                   (OpenTable<abi::service_key, abi::service>(object, names::kServices)));
  ASSIGN_OR_RETURN(auto service_stats,
                   (OpenTable<U32, abi::service_stats>(object, names::kServiceStats)));
  ASSIGN_OR_RETURN(auto source_ranges, (OpenTable<abi::source_range_key, abi::source_range>(
                                           object, names::kSourceRanges)));
  ASSIGN_OR_RETURN(auto slots, (OpenTable<U32, abi::slot>(object, names::kSlots)));
  ASSIGN_OR_RETURN(auto backends, (OpenTable<U32, abi::backend>(object, names::kBackends)));
  ASSIGN_OR_RETURN(auto backend_stats,
                   (OpenTable<U32, abi::backend_stats>(object, names::kBackendStats)));
  ASSIGN_OR_RETURN(auto affinity,
                   (OpenTable<abi::affinity_key, abi::affinity>(object, names::kAffinity)));
  ASSIGN_OR_RETURN(auto flows, (OpenTable<abi::flow, abi::flow_entry>(object, names::kFlows)));
  ASSIGN_OR_RETURN(auto opening, (OpenTable<U32, abi::opening_bucket>(object, names::kOpening)));
  ASSIGN_OR_RETURN(auto fragments,
                   (OpenTable<abi::fragment_key, abi::fragment>(object, names::kFragments)));
  ASSIGN_OR_RETURN(auto drops, (OpenTable<abi::drop_key, abi::drop_count>(object, names::kDrops)));
  ASSIGN_OR_RETURN(auto config, (OpenTable<U32, abi::node_config>(object, names::kConfig)));
  ASSIGN_OR_RETURN(auto loads, (OpenTable<U32, abi::backend_load>(object, names::kLoads)));
  ASSIGN_OR_RETURN(auto snat_ports, (OpenTable<U32, abi::snat_ports>(object, names::kSnatPorts)));
  ASSIGN_OR_RETURN(auto nodes, (OpenTable<U32, abi::node>(object, names::kNodes)));
  ASSIGN_OR_RETURN(auto node_ids, (OpenTable<abi::addr, U32>(object, names::kNodeIds)));
  const bpf_map* filter_map = bpf_object__find_map_by_name(&object, names::kFilter);
  if (filter_map == nullptr) return absl::NotFoundError("no map sl_filter");
  ASSIGN_OR_RETURN(Mapping filter, Mapping::Map(bpf_map__fd(filter_map),
                                                sizeof(abi::filter_word) * abi::SL_FILTER_WORDS,
                                                PROT_READ | PROT_WRITE, 0));
  const bpf_map* clients_map = bpf_object__find_map_by_name(&object, names::kClients);
  if (clients_map == nullptr) return absl::NotFoundError("no map sl_clients");
  const std::uint32_t words = bpf_map__max_entries(clients_map);
  ASSIGN_OR_RETURN(Mapping clients,
                   Mapping::Map(bpf_map__fd(clients_map), sizeof(abi::client_word) * words,
                                PROT_READ | PROT_WRITE, 0));
  return DatapathTables{std::move(services),
                        std::move(service_stats),
                        std::move(source_ranges),
                        std::move(slots),
                        std::move(backends),
                        std::move(backend_stats),
                        std::move(affinity),
                        std::move(flows),
                        std::move(opening),
                        std::move(fragments),
                        std::move(drops),
                        std::move(config),
                        std::move(nodes),
                        std::move(node_ids),
                        std::move(filter),
                        std::move(loads),
                        std::move(snat_ports),
                        std::move(clients),
                        words};
}

void DatapathTables::ClearFilter() const {
  std::memset(filter_memory.memory(), 0, sizeof(abi::filter_word) * abi::SL_FILTER_WORDS);
}

void DatapathTables::ClearClients() const {
  std::memset(clients_memory.memory(), 0, sizeof(abi::client_word) * clients_size);
}

absl::Status DatapathTables::SetConfig(const abi::node_config& config_row) {
  for (const abi::addr& address : config_row.node_address) filter().AddAddress(address);
  for (const auto& addresses : config_row.snat_address) {
    for (const abi::addr& address : addresses) filter().AddSnatAddress(address);
  }
  return Put(config, 0u, config_row);
}

void SetNodeAddresses(abi::node_config& config, std::string_view v4, std::string_view v6) {
  for (const auto& [family, text] :
       {std::pair{abi::SL_FAMILY_V4, v4}, std::pair{abi::SL_FAMILY_V6, v6}}) {
    const abi::addr address = text.empty() ? abi::addr{} : MapAddress(text);
    config.node_address[family] = address;
    config.snat_address[family][0] = address;
    config.snat_addresses[family] = text.empty() ? 0 : 1;
  }
}

absl::StatusOr<std::uint32_t> DatapathWriter::AddBackend(const BackendSpec& spec) {
  const std::uint32_t id = next_backend_++;
  RETURN_IF_ERROR(SetBackend(id, spec));
  return id;
}

absl::Status DatapathWriter::SetBackend(std::uint32_t id, const BackendSpec& spec) {
  const abi::backend row{.address = MapAddress(spec.address),
                         .port = htons(spec.port),
                         .flags = spec.flags,
                         .protocol = spec.protocol,
                         .generation = spec.generation,
                         .service_id = 0,
                         .node = spec.node};
  tables_.filter().Add(row);
  return Put(tables_.backends, id, row);
}

absl::StatusOr<abi::slot_range> DatapathWriter::WriteSlots(
    const std::vector<std::uint32_t>& backend_ids) {
  const abi::slot_range range{.offset = next_slot_,
                              .count = static_cast<std::uint32_t>(backend_ids.size())};
  std::vector<std::pair<std::uint32_t, abi::slot>> rows;
  for (std::uint32_t backend_id : backend_ids) rows.push_back({next_slot_++, {backend_id}});
  RETURN_IF_ERROR(tables_.slots.Update(rows).status);
  return range;
}

absl::Status DatapathWriter::SetService(const ServiceSpec& spec) {
  ASSIGN_OR_RETURN(const abi::slot_range internal, WriteSlots(spec.backends));
  abi::slot_range external = internal;
  if (spec.external_backends) {
    ASSIGN_OR_RETURN(external, WriteSlots(*spec.external_backends));
  }
  abi::service row{};
  row.id = spec.id;
  row.flags = spec.flags;
  row.kind = spec.kind;
  row.slots[abi::SL_SCOPE_INTERNAL] = internal;
  row.slots[abi::SL_SCOPE_EXTERNAL] = external;
  row.affinity_s = spec.affinity_s;
  row.algorithm = spec.algorithm;
  tables_.filter().Add(ServiceKey(spec));
  return Put(tables_.services, ServiceKey(spec), row);
}

absl::Status DatapathWriter::DeleteService(const ServiceSpec& spec) {
  const abi::service_key key = ServiceKey(spec);
  return tables_.services.Delete(std::span(&key, 1)).status;
}

abi::service_key ServiceKey(const ServiceSpec& spec) {
  return {.address = MapAddress(spec.address),
          .port = htons(spec.port),
          .pad = 0,
          .protocol = spec.protocol};
}

abi::flow FlowKey(const std::string& source, std::uint16_t source_port,
                  const std::string& destination, std::uint16_t destination_port,
                  std::uint32_t protocol) {
  return {.source = MapAddress(source),
          .destination = MapAddress(destination),
          .source_port = htons(source_port),
          .destination_port = htons(destination_port),
          .protocol = protocol};
}

}  // namespace sluice::testing
