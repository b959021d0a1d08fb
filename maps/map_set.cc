// SPDX-License-Identifier: Apache-2.0
#include "maps/map_set.h"

#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "maps/mapping.h"

namespace sluice {
namespace {

template <typename K, typename V>
MapShape Shape(const char* name, std::uint32_t type, std::uint32_t max_entries,
               std::uint32_t flags = 0) {
  return {name, type, sizeof(K), sizeof(V), max_entries, flags};
}

// Opens the map of `folder` that ExpectedMaps() calls `name`, and checks it.
absl::StatusOr<BpfMap> OpenChecked(const std::string& folder, const char* name) {
  ASSIGN_OR_RETURN(BpfMap map, BpfMap::OpenPinned(absl::StrCat(folder, "/", name)));
  for (const MapShape& expected : ExpectedMaps()) {
    if (expected.name == name) {
      RETURN_IF_ERROR(Annotate(CheckShape(expected, map.shape()), folder));
    }
  }
  return map;
}

template <typename K, typename V>
absl::Status Open(const std::string& folder, const char* name,
                  std::optional<BpfTable<K, V>>& table) {
  ASSIGN_OR_RETURN(BpfMap map, OpenChecked(folder, name));
  // Without BTF (maps of tests) the kernel knows of no lock in the value.
  if (std::is_same_v<V, abi::opening_bucket> && map.has_btf()) map.UseRowLocks();
  ASSIGN_OR_RETURN(table, (BpfTable<K, V>::Create(std::move(map))));
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> CountRows(const BpfMap& map) {
  std::uint64_t rows = 0;
  const std::vector<std::byte> zero(map.value_stride());
  RETURN_IF_ERROR(map.ForEach([&](const std::byte*, const std::byte* value) {
    if (!map.is_array() || std::memcmp(value, zero.data(), zero.size()) != 0) ++rows;
  }));
  return rows;
}

// A freed id keeps its row for the generation.
absl::StatusOr<std::uint64_t> CountBackends(const BpfMap& map) {
  std::uint64_t backends = 0;
  RETURN_IF_ERROR(map.ForEach([&](const std::byte*, const std::byte* value) {
    backends += value[offsetof(abi::backend, flags)] != std::byte{0};
  }));
  return backends;
}

// Slots of the ranges that service rows name; what other slots hold is left over.
absl::StatusOr<std::uint64_t> CountSlots(const BpfMap& services) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> ranges;
  RETURN_IF_ERROR(services.ForEach([&](const std::byte*, const std::byte* value) {
    abi::service row;
    std::memcpy(&row, value, sizeof(row));
    for (const abi::slot_range& range : row.slots) ranges.emplace(range.offset, range.count);
  }));
  std::uint64_t slots = 0;
  for (const auto& [offset, count] : ranges) slots += count;
  return slots;
}

absl::StatusOr<std::uint64_t> CountOpening(const BpfMap& map) {
  std::uint64_t flows = 0;
  RETURN_IF_ERROR(map.ForEach([&](const std::byte*, const std::byte* value) {
    std::uint32_t tags[abi::SL_OPENING_WAYS];
    std::memcpy(tags, value + offsetof(abi::opening_bucket, tag), sizeof(tags));
    for (std::uint32_t tag : tags) flows += tag != 0;
  }));
  return flows;
}

// The ring buffer's two positions, each at the start of a page of its own (kernel/bpf/ringbuf.c).
absl::StatusOr<std::uint64_t> CountUnreadBytes(int ring_fd) {
  ASSIGN_OR_RETURN(Mapping consumer, Mapping::Map(ring_fd, Mapping::PageSize(), PROT_READ, 0));
  ASSIGN_OR_RETURN(Mapping producer, Mapping::Map(ring_fd, Mapping::PageSize(), PROT_READ,
                                                  static_cast<off_t>(Mapping::PageSize())));
  const auto read = [](const Mapping& page) {
    return __atomic_load_n(static_cast<const unsigned long*>(page.memory()), __ATOMIC_ACQUIRE);
  };
  const std::uint64_t consumed = read(consumer);
  const std::uint64_t produced = read(producer);
  return produced > consumed ? produced - consumed : 0;
}

}  // namespace

std::span<const MapShape> ExpectedMaps() {
  using std::uint32_t;
  static const std::array<MapShape, 22> kMaps = {
      Shape<abi::service_key, abi::service>(names::kServices, BPF_MAP_TYPE_HASH, 65536),
      Shape<uint32_t, abi::service_stats>(names::kServiceStats, BPF_MAP_TYPE_PERCPU_ARRAY, 32768),
      Shape<uint32_t, abi::service_name>(names::kServiceNames, BPF_MAP_TYPE_ARRAY, 32768),
      Shape<abi::source_range_key, abi::source_range>(names::kSourceRanges, BPF_MAP_TYPE_LPM_TRIE,
                                                      65536, BPF_F_NO_PREALLOC),
      Shape<uint32_t, abi::slot>(names::kSlots, BPF_MAP_TYPE_ARRAY, 1048576, BPF_F_MMAPABLE),
      Shape<uint32_t, abi::backend>(names::kBackends, BPF_MAP_TYPE_ARRAY, 262144),
      Shape<uint32_t, abi::backend_stats>(names::kBackendStats, BPF_MAP_TYPE_ARRAY, 262144),
      Shape<uint32_t, abi::backend_load>(names::kLoads, BPF_MAP_TYPE_ARRAY, 262144, BPF_F_MMAPABLE),
      Shape<abi::connection_stats_key, abi::connection_stats>(
          names::kConnectionStats, BPF_MAP_TYPE_HASH, 65536, BPF_F_NO_PREALLOC),
      Shape<uint32_t, abi::filter_word>(names::kFilter, BPF_MAP_TYPE_ARRAY, abi::SL_FILTER_WORDS,
                                        BPF_F_MMAPABLE),
      Shape<abi::affinity_key, abi::affinity>(names::kAffinity, BPF_MAP_TYPE_LRU_HASH, 65536),
      Shape<abi::flow, abi::flow_entry>(names::kFlows, BPF_MAP_TYPE_HASH, 524288),
      Shape<uint32_t, abi::opening_bucket>(names::kOpening, BPF_MAP_TYPE_ARRAY, 32768,
                                           BPF_F_MMAPABLE),
      Shape<uint32_t, abi::client_word>(names::kClients, BPF_MAP_TYPE_ARRAY, 131072,
                                        BPF_F_MMAPABLE),
      Shape<uint32_t, abi::snat_ports>(names::kSnatPorts, BPF_MAP_TYPE_ARRAY, abi::SL_SNAT_TABLES,
                                       BPF_F_MMAPABLE),
      Shape<uint32_t, abi::node>(names::kNodes, BPF_MAP_TYPE_ARRAY, abi::SL_NODES),
      Shape<abi::addr, uint32_t>(names::kNodeIds, BPF_MAP_TYPE_HASH, abi::SL_NODE_ADDRESSES),
      Shape<abi::fragment_key, abi::fragment>(names::kFragments, BPF_MAP_TYPE_LRU_HASH, 8192),
      Shape<abi::drop_key, abi::drop_count>(names::kDrops, BPF_MAP_TYPE_PERCPU_HASH, 65536),
      MapShape{names::kEvents, BPF_MAP_TYPE_RINGBUF, 0, 0, 262144, 0},
      Shape<uint32_t, abi::node_config>(names::kConfig, BPF_MAP_TYPE_ARRAY, 1),
      Shape<uint32_t, abi::meta>(names::kMeta, BPF_MAP_TYPE_ARRAY, 1),
  };
  return kMaps;
}

absl::Status CheckShape(const MapShape& expected, const MapShape& found) {
  if (found.type == expected.type && found.key_size == expected.key_size &&
      found.value_size == expected.value_size && (found.flags & expected.flags) == expected.flags) {
    return absl::OkStatus();
  }
  const auto describe = [](const MapShape& shape) {
    return absl::StrCat("type ", shape.type, ", keys of ", shape.key_size, " and values of ",
                        shape.value_size, " bytes, flags 0x", absl::Hex(shape.flags));
  };
  return absl::FailedPreconditionError(absl::StrCat(
      "map ", expected.name, ": expected ", describe(expected), "; found ", describe(found),
      ". It was pinned by another version: remove it with --cleanup"));
}

struct MapSet::Maps {
  std::optional<BpfTable<abi::service_key, abi::service>> services;
  std::optional<BpfTable<std::uint32_t, abi::service_stats>> service_stats;
  std::optional<BpfTable<std::uint32_t, abi::service_name>> service_names;
  std::optional<BpfTable<abi::source_range_key, abi::source_range>> source_ranges;
  std::optional<BpfTable<std::uint32_t, abi::backend>> backends;
  std::optional<BpfTable<std::uint32_t, abi::backend_stats>> backend_stats;
  std::optional<BpfTable<abi::connection_stats_key, abi::connection_stats>> connection_stats;
  std::optional<BpfTable<abi::affinity_key, abi::affinity>> affinity;
  std::optional<BpfTable<abi::flow, abi::flow_entry>> flows;
  std::optional<BpfTable<std::uint32_t, abi::opening_bucket>> opening;
  std::optional<BpfTable<std::uint32_t, abi::node>> nodes;
  std::optional<BpfTable<abi::addr, std::uint32_t>> node_ids;
  std::optional<BpfTable<abi::fragment_key, abi::fragment>> fragments;
  std::optional<BpfTable<abi::drop_key, abi::drop_count>> drops;
  std::optional<BpfTable<std::uint32_t, abi::node_config>> config;
  std::optional<BpfTable<std::uint32_t, abi::meta>> meta;
  std::optional<BpfMap> slots_map;
  std::optional<BpfMap> events;
  std::optional<BpfMap> filter_map;
  std::optional<BpfMap> loads_map;
  std::optional<BpfMap> clients_map;
  std::optional<BpfMap> snat_map;
  Mapping slots_memory;
  Mapping filter_memory;
  Mapping loads_memory;
  Mapping clients_memory;
  Mapping snat_memory;
  std::optional<SlotArray> slots;
  std::optional<FilterArray> filter;
  std::optional<LoadArray> loads;
  std::optional<ClientArray> clients;
  std::optional<SnatArray> snat_ports;

  // Maps the rows of `map` into memory.
  template <typename Row>
  static absl::StatusOr<std::span<Row>> MapRows(const BpfMap& map, Mapping& memory) {
    const std::size_t count = map.shape().max_entries;
    absl::StatusOr<Mapping> mapped =
        Mapping::Map(map.fd(), count * sizeof(Row), PROT_READ | PROT_WRITE, 0);
    if (!mapped.ok()) return Annotate(mapped.status(), absl::StrCat("map ", map.shape().name));
    memory = *std::move(mapped);
    return std::span(static_cast<Row*>(memory.memory()), count);
  }

  absl::Status OpenSlots(const std::string& folder) {
    ASSIGN_OR_RETURN(slots_map, OpenChecked(folder, names::kSlots));
    ASSIGN_OR_RETURN(const auto rows, MapRows<SlotArray::Cell>(*slots_map, slots_memory));
    slots.emplace(rows);
    return absl::OkStatus();
  }

  absl::Status OpenLoads(const std::string& folder) {
    ASSIGN_OR_RETURN(loads_map, OpenChecked(folder, names::kLoads));
    ASSIGN_OR_RETURN(const auto rows, MapRows<abi::backend_load>(*loads_map, loads_memory));
    loads.emplace(rows);
    return absl::OkStatus();
  }

  // Of a map whose rows are found by a hash: another size would be another hash.
  static absl::Status CheckRows(const BpfMap& map, std::uint32_t expected) {
    if (map.shape().max_entries == expected) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("map ", map.shape().name, ": ", map.shape().max_entries, " rows instead of ",
                     expected, ". It was pinned by another version: remove it with --cleanup"));
  }

  absl::Status OpenClients(const std::string& folder) {
    ASSIGN_OR_RETURN(clients_map, OpenChecked(folder, names::kClients));
    ASSIGN_OR_RETURN(const auto rows, MapRows<abi::client_word>(*clients_map, clients_memory));
    clients.emplace(rows);
    return absl::OkStatus();
  }

  absl::Status OpenSnatPorts(const std::string& folder) {
    ASSIGN_OR_RETURN(snat_map, OpenChecked(folder, names::kSnatPorts));
    RETURN_IF_ERROR(CheckRows(*snat_map, abi::SL_SNAT_TABLES));
    ASSIGN_OR_RETURN(const auto rows, MapRows<abi::snat_ports>(*snat_map, snat_memory));
    snat_ports.emplace(rows);
    return absl::OkStatus();
  }

  absl::Status OpenFilter(const std::string& folder) {
    ASSIGN_OR_RETURN(filter_map, OpenChecked(folder, names::kFilter));
    RETURN_IF_ERROR(CheckRows(*filter_map, abi::SL_FILTER_WORDS));
    ASSIGN_OR_RETURN(const auto rows, MapRows<abi::filter_word>(*filter_map, filter_memory));
    filter.emplace(rows);
    return absl::OkStatus();
  }
};

MapSet::MapSet(std::unique_ptr<Maps> maps) : maps_(std::move(maps)) {}
MapSet::MapSet(MapSet&&) noexcept = default;
MapSet& MapSet::operator=(MapSet&&) noexcept = default;
MapSet::~MapSet() = default;

absl::StatusOr<MapSet> MapSet::OpenPinned(const std::string& folder) {
  auto maps = std::make_unique<Maps>();
  RETURN_IF_ERROR(Open(folder, names::kServices, maps->services));
  RETURN_IF_ERROR(Open(folder, names::kServiceStats, maps->service_stats));
  RETURN_IF_ERROR(Open(folder, names::kServiceNames, maps->service_names));
  RETURN_IF_ERROR(Open(folder, names::kSourceRanges, maps->source_ranges));
  RETURN_IF_ERROR(maps->OpenSlots(folder));
  RETURN_IF_ERROR(Open(folder, names::kBackends, maps->backends));
  RETURN_IF_ERROR(Open(folder, names::kBackendStats, maps->backend_stats));
  RETURN_IF_ERROR(maps->OpenLoads(folder));
  RETURN_IF_ERROR(Open(folder, names::kConnectionStats, maps->connection_stats));
  RETURN_IF_ERROR(maps->OpenFilter(folder));
  RETURN_IF_ERROR(Open(folder, names::kAffinity, maps->affinity));
  RETURN_IF_ERROR(Open(folder, names::kFlows, maps->flows));
  RETURN_IF_ERROR(Open(folder, names::kOpening, maps->opening));
  RETURN_IF_ERROR(maps->OpenClients(folder));
  RETURN_IF_ERROR(maps->OpenSnatPorts(folder));
  RETURN_IF_ERROR(Open(folder, names::kNodes, maps->nodes));
  RETURN_IF_ERROR(Open(folder, names::kNodeIds, maps->node_ids));
  RETURN_IF_ERROR(Open(folder, names::kFragments, maps->fragments));
  RETURN_IF_ERROR(Open(folder, names::kDrops, maps->drops));
  ASSIGN_OR_RETURN(maps->events, OpenChecked(folder, names::kEvents));
  RETURN_IF_ERROR(Open(folder, names::kConfig, maps->config));
  RETURN_IF_ERROR(Open(folder, names::kMeta, maps->meta));
  return MapSet(std::move(maps));
}

Table<abi::service_key, abi::service>& MapSet::services() const { return *maps_->services; }
Table<std::uint32_t, abi::service_stats>& MapSet::service_stats() const {
  return *maps_->service_stats;
}
Table<std::uint32_t, abi::service_name>& MapSet::service_names() const {
  return *maps_->service_names;
}
Table<abi::source_range_key, abi::source_range>& MapSet::source_ranges() const {
  return *maps_->source_ranges;
}
Table<std::uint32_t, abi::backend>& MapSet::backends() const { return *maps_->backends; }
Table<std::uint32_t, abi::backend_stats>& MapSet::backend_stats() const {
  return *maps_->backend_stats;
}
Table<abi::connection_stats_key, abi::connection_stats>& MapSet::connection_stats() const {
  return *maps_->connection_stats;
}
Table<abi::affinity_key, abi::affinity>& MapSet::affinity() const { return *maps_->affinity; }
Table<abi::flow, abi::flow_entry>& MapSet::flows() const { return *maps_->flows; }
Table<std::uint32_t, abi::opening_bucket>& MapSet::opening() const { return *maps_->opening; }
Table<std::uint32_t, abi::node>& MapSet::nodes() const { return *maps_->nodes; }
Table<abi::addr, std::uint32_t>& MapSet::node_ids() const { return *maps_->node_ids; }
Table<abi::fragment_key, abi::fragment>& MapSet::fragments() const { return *maps_->fragments; }
Table<abi::drop_key, abi::drop_count>& MapSet::drops() const { return *maps_->drops; }
Table<std::uint32_t, abi::node_config>& MapSet::config() const { return *maps_->config; }
Table<std::uint32_t, abi::meta>& MapSet::meta() const { return *maps_->meta; }
SlotArray& MapSet::slots() const { return *maps_->slots; }
LoadArray& MapSet::loads() const { return *maps_->loads; }
ClientArray& MapSet::clients() const { return *maps_->clients; }
SnatArray& MapSet::snat_ports() const { return *maps_->snat_ports; }
FilterArray& MapSet::filter() const { return *maps_->filter; }
int MapSet::events_fd() const { return maps_->events->fd(); }

absl::StatusOr<std::vector<MapUse>> MapSet::Use() const {
  std::vector<MapUse> uses;
  const auto add = [&](const BpfMap& map, std::uint64_t used) {
    uses.push_back({map.shape().name, used, map.shape().max_entries});
  };
  ASSIGN_OR_RETURN(const std::uint64_t services, CountRows(maps_->services->map()));
  ASSIGN_OR_RETURN(const std::uint64_t service_ids, CountRows(maps_->service_names->map()));
  ASSIGN_OR_RETURN(const std::uint64_t ranges, CountRows(maps_->source_ranges->map()));
  ASSIGN_OR_RETURN(const std::uint64_t backends, CountBackends(maps_->backends->map()));
  add(maps_->services->map(), services);
  add(maps_->service_stats->map(), service_ids);
  add(maps_->service_names->map(), service_ids);
  add(maps_->source_ranges->map(), ranges);
  ASSIGN_OR_RETURN(const std::uint64_t slots, CountSlots(maps_->services->map()));
  add(*maps_->slots_map, slots);
  add(maps_->backends->map(), backends);
  add(maps_->backend_stats->map(), backends);
  std::uint64_t loaded = 0;
  for (std::uint32_t id = 0; id < maps_->loads->size(); ++id) {
    loaded += maps_->loads->Flows(id) != 0 || maps_->loads->Sockets(id) != 0;
  }
  add(*maps_->loads_map, loaded);
  ASSIGN_OR_RETURN(const std::uint64_t connections, CountRows(maps_->connection_stats->map()));
  add(maps_->connection_stats->map(), connections);
  uses.push_back(
      {names::kFilter, maps_->filter->CountSet(), std::uint64_t{1} << abi::SL_FILTER_BITS_LOG2});
  ASSIGN_OR_RETURN(const std::uint64_t affinity, CountRows(maps_->affinity->map()));
  add(maps_->affinity->map(), affinity);
  ASSIGN_OR_RETURN(const std::uint64_t flows, CountRows(maps_->flows->map()));
  add(maps_->flows->map(), flows);
  ASSIGN_OR_RETURN(const std::uint64_t opening, CountOpening(maps_->opening->map()));
  uses.push_back({names::kOpening, opening,
                  std::uint64_t{maps_->opening->max_entries()} * abi::SL_OPENING_WAYS});
  uses.push_back({names::kClients, maps_->clients->CountSet(),
                  std::uint64_t{maps_->clients->size()} * ClientArray::kBits});
  std::uint64_t snat_tables = 0;
  for (std::uint32_t table = 0; table < maps_->snat_ports->size(); ++table) {
    snat_tables += maps_->snat_ports->Touched(table);
  }
  add(*maps_->snat_map, snat_tables);
  ASSIGN_OR_RETURN(const std::uint64_t nodes, CountRows(maps_->nodes->map()));
  add(maps_->nodes->map(), nodes);
  ASSIGN_OR_RETURN(const std::uint64_t node_ids, CountRows(maps_->node_ids->map()));
  add(maps_->node_ids->map(), node_ids);
  ASSIGN_OR_RETURN(const std::uint64_t fragments, CountRows(maps_->fragments->map()));
  add(maps_->fragments->map(), fragments);
  ASSIGN_OR_RETURN(const std::uint64_t drops, CountRows(maps_->drops->map()));
  add(maps_->drops->map(), drops);
  ASSIGN_OR_RETURN(const std::uint64_t unread, CountUnreadBytes(events_fd()));
  add(*maps_->events, unread);
  ASSIGN_OR_RETURN(const std::uint64_t config, CountRows(maps_->config->map()));
  add(maps_->config->map(), config);
  ASSIGN_OR_RETURN(const std::uint64_t meta, CountRows(maps_->meta->map()));
  add(maps_->meta->map(), meta);
  return uses;
}

}  // namespace sluice
