// SPDX-License-Identifier: Apache-2.0
// The maps of one loaded datapath object as typed tables, and a small writer that puts services and
// backends there as the agent would. For tests and benchmarks that have no agent.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "maps/backend.h"
#include "maps/bpf_table.h"
#include "maps/client_array.h"
#include "maps/config.h"
#include "maps/filter_array.h"
#include "maps/flow.h"
#include "maps/fragment.h"
#include "maps/mapping.h"
#include "maps/node.h"
#include "maps/reason.h"
#include "maps/service.h"
#include "maps/snat.h"

namespace sluice::testing {

struct DatapathTables {
  // Opens the maps of a loaded object. The object may be closed before the tables.
  static absl::StatusOr<DatapathTables> Open(const bpf_object& object);

  BpfTable<abi::service_key, abi::service> services;
  BpfTable<std::uint32_t, abi::service_stats> service_stats;
  BpfTable<abi::source_range_key, abi::source_range> source_ranges;
  BpfTable<std::uint32_t, abi::slot> slots;
  BpfTable<std::uint32_t, abi::backend> backends;
  BpfTable<std::uint32_t, abi::backend_stats> backend_stats;
  BpfTable<abi::affinity_key, abi::affinity> affinity;
  BpfTable<abi::flow, abi::flow_entry> flows;
  BpfTable<std::uint32_t, abi::opening_bucket> opening;
  BpfTable<abi::fragment_key, abi::fragment> fragments;
  BpfTable<abi::drop_key, abi::drop_count> drops;
  BpfTable<std::uint32_t, abi::node_config> config;
  BpfTable<std::uint32_t, abi::node> nodes;
  BpfTable<abi::addr, std::uint32_t> node_ids;
  Mapping filter_memory;
  BpfTable<std::uint32_t, abi::backend_load> loads;
  BpfTable<std::uint32_t, abi::snat_ports> snat_ports;
  Mapping clients_memory;
  std::uint32_t clients_size = 0;

  // Valid as long as this is, also when it is moved.
  FilterArray filter() const {
    return FilterArray(std::span(static_cast<abi::filter_word*>(filter_memory.memory()),
                                 std::size_t{abi::SL_FILTER_WORDS}));
  }
  ClientArray clients() const {
    return ClientArray(
        std::span(static_cast<abi::client_word*>(clients_memory.memory()), clients_size));
  }
  void ClearFilter() const;
  void ClearClients() const;
  // Writes sl_config, and lets replies to its addresses through the filter.
  absl::Status SetConfig(const abi::node_config& config_row);
};

// Makes them the node's main addresses, which SNAT takes too; an empty one is none.
void SetNodeAddresses(abi::node_config& config, std::string_view v4, std::string_view v6);

struct BackendSpec {
  std::string address = {};
  std::uint16_t port = 0;  // host order
  std::uint8_t protocol = 6;
  std::uint8_t flags = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE;
  std::uint32_t generation = 1;
  std::uint32_t node = 0;
};

struct ServiceSpec {
  std::uint32_t id = 0;
  std::string address = {};
  std::uint16_t port = 0;  // host order
  std::uint32_t protocol = 6;
  std::uint8_t kind = abi::SL_FRONTEND_CLUSTER_IP;
  std::uint16_t flags = abi::SL_SERVICE_HAS_ENDPOINTS;
  std::vector<std::uint32_t> backends = {};                          // ids, for pods
  std::optional<std::vector<std::uint32_t>> external_backends = {};  // unset: as `backends`
  std::uint32_t affinity_s = 0;
  abi::sl_algorithm algorithm = abi::SL_ALGORITHM_RANDOM;
};

// Writes rows as the agent lays them out: slots first, then the service. Slots are never reused.
class DatapathWriter {
 public:
  explicit DatapathWriter(DatapathTables& tables) : tables_(tables) {}

  // The id: 1, 2, ... Errors: those of Table::Update.
  absl::StatusOr<std::uint32_t> AddBackend(const BackendSpec& spec);
  absl::Status SetBackend(std::uint32_t id, const BackendSpec& spec);
  absl::Status SetService(const ServiceSpec& spec);
  absl::Status DeleteService(const ServiceSpec& spec);

 private:
  absl::StatusOr<abi::slot_range> WriteSlots(const std::vector<std::uint32_t>& backend_ids);

  DatapathTables& tables_;
  std::uint32_t next_backend_ = 1;
  std::uint32_t next_slot_ = 0;
};

abi::service_key ServiceKey(const ServiceSpec& spec);

// Ports are in host order here and in network order in the key.
abi::flow FlowKey(const std::string& source, std::uint16_t source_port,
                  const std::string& destination, std::uint16_t destination_port,
                  std::uint32_t protocol);

}  // namespace sluice::testing
