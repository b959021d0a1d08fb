// SPDX-License-Identifier: Apache-2.0
// MapState: what is in the maps that the planner writes, and what follows from it: which ids and
// slots are free, and which rows and backends belong to which service. Built
// from the rows read at start, then changed by the steps that landed and by nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "control/desired/desired_state.h"
#include "control/plan/backend_index.h"
#include "control/plan/id_allocator.h"
#include "control/plan/map_plan.h"
#include "control/plan/slot_allocator.h"

namespace sluice {

// max_entries of the maps.
struct MapLimits {
  std::uint32_t services = 0;
  std::uint32_t service_ids = 0;
  std::uint32_t source_ranges = 0;
  std::uint32_t slots = 0;
  std::uint32_t backends = 0;
};

// The rows of the maps as read. Of `slots`: from the first to at least the last one that a service
// row names and the map has.
struct MapRows {
  std::vector<std::pair<abi::service_key, abi::service>> services;
  std::vector<std::pair<std::uint32_t, abi::service_name>> names;
  std::vector<std::pair<std::uint32_t, abi::backend>> backends;
  std::vector<abi::source_range_key> source_ranges;
  std::vector<std::uint32_t> slots;
};

// Keys and rows of the maps for the values of control/desired.
abi::service_key ServiceKey(const Frontend& frontend);
abi::service_name NameRow(const ServicePortName& name);
ServicePortName NameOf(const abi::service_name& row);
abi::source_range_key SourceRangeKey(std::uint32_t service_id, const IpPrefix& prefix);
// An address, port and protocol as one key: of a backend too, whose address has the same parts.
abi::service_key AddressKey(const IpAddress& address, std::uint16_t port, std::uint32_t protocol);

// Thread-compatible.
class MapState {
 public:
  // Empty maps.
  explicit MapState(const MapLimits& limits);
  MapState(MapState&&) = default;
  MapState& operator=(MapState&&) = default;

  // Whatever the rows say is taken as it is, also where it makes no sense: what is of no use to
  // the planner is left for it to delete. Backend ids that are free count as freed at `read_at_ns`,
  // since nobody knows when they were; free slots and service ids may be used at once.
  static MapState FromRows(const MapLimits& limits, MapRows rows, std::uint64_t read_at_ns);

  // Follows the first `landed` rows of `step`.
  void Apply(const MapStep& step, std::size_t landed);
  void Apply(const MapPlan& plan);  // all of it

  const MapLimits& limits() const { return limits_; }

  const abi::service* FindService(const abi::service_key& key) const;
  const absl::flat_hash_map<abi::service_key, abi::service>& services() const { return services_; }
  // Keys of the rows that carry the id.
  const std::vector<abi::service_key>& KeysOf(std::uint32_t service_id) const;

  // 0: none.
  std::uint32_t ServiceId(const ServicePortName& name) const;
  const std::map<ServicePortName, std::uint32_t>& service_ids() const { return service_ids_; }
  // Ids that have rows of services, backends or source ranges, or the name of another id, and that
  // no name leads to: only what FromRows() found, until ClearNames of them lands.
  const std::set<std::uint32_t>& stray_service_ids() const { return stray_service_ids_; }

  const std::set<abi::source_range_key>& SourceRangesOf(std::uint32_t service_id) const;
  std::uint32_t source_range_count() const { return source_range_count_; }

  // 0: the service has no present backend of that address. Of two, the one read first.
  std::uint32_t BackendId(std::uint32_t service_id, const BackendAddress& address) const;
  // All-zero for an id that was never given out.
  abi::backend Backend(std::uint32_t backend_id) const;
  // The present backends of the service, in no order; orphans included.
  const std::vector<std::uint32_t>& BackendsOf(std::uint32_t service_id) const;
  // Those of all services that have the address of the row.
  BackendIndex::Ids BackendsAt(const abi::backend& row) const {
    return backends_at_.At(backends_, AddressOf(row));
  }
  // Present backends with SL_BACKEND_ORPHAN.
  const std::set<std::uint32_t>& orphans() const { return orphans_; }

  // The backend ids in a range that is in use; empty when it is not.
  std::span<const std::uint32_t> Slots(abi::slot_range range) const;
  // How many times service rows name a range that is in use.
  std::uint32_t TimesNamed(abi::slot_range range) const;
  // Ranges in use that no service row names.
  const std::set<std::pair<std::uint32_t, std::uint32_t>>& unnamed_ranges() const {
    return unnamed_ranges_;
  }

  const IdAllocator& service_id_allocator() const { return service_id_allocator_; }
  const IdAllocator& backend_id_allocator() const { return backend_id_allocator_; }
  const SlotAllocator& slot_allocator() const { return slot_allocator_; }

  // How many rows of the maps differ; books, which are in no map, are not compared.
  std::size_t CountDifferences(const MapState& other) const;

 private:
  using RangeKey = std::pair<std::uint32_t, std::uint32_t>;  // offset, count

  void Land(const ZeroServiceStats&, std::size_t) {}
  void Land(const ZeroBackendStats&, std::size_t) {}
  void Land(const ForgetAffinity&, std::size_t) {}
  void Land(const WriteNames& step, std::size_t landed);
  void Land(const ClearNames& step, std::size_t landed);
  void Land(const WriteBackends& step, std::size_t landed);
  void Land(const RetireBackends& step, std::size_t landed);
  void Land(const WriteSourceRanges& step, std::size_t landed);
  void Land(const DeleteSourceRanges& step, std::size_t landed);
  void Land(const WriteSlots& step, std::size_t landed);
  void Land(const FreeSlots& step, std::size_t landed);
  void Land(const WriteServices& step, std::size_t landed);
  void Land(const DeleteServices& step, std::size_t landed);

  void SetServiceRow(const abi::service_key& key, const abi::service& row);
  void EraseServiceRow(const abi::service_key& key);
  void NameRanges(const abi::service& row, bool named);
  void SetBackendRow(std::uint32_t id, const abi::backend& row);

  void AdoptNames(const MapRows& rows);
  void AdoptSlots(MapRows& rows);
  void AdoptServices(const MapRows& rows);
  void AdoptBackends(const MapRows& rows, std::uint64_t read_at_ns);

  MapLimits limits_;
  absl::flat_hash_map<abi::service_key, abi::service> services_;
  absl::flat_hash_map<std::uint32_t, std::vector<abi::service_key>> keys_by_id_;
  std::map<ServicePortName, std::uint32_t> service_ids_;
  // Into service_ids_, whose nodes stay where they are, also when a MapState is moved.
  absl::flat_hash_map<std::uint32_t, const ServicePortName*> names_;
  std::set<std::uint32_t> stray_service_ids_;
  absl::flat_hash_map<std::uint32_t, std::set<abi::source_range_key>> source_ranges_;
  std::uint32_t source_range_count_ = 0;
  std::vector<abi::backend> backends_;  // by id
  BackendIndex backends_at_;            // the present ones of backends_
  absl::flat_hash_map<std::uint32_t, std::vector<std::uint32_t>> backends_of_;  // by service id
  std::set<std::uint32_t> orphans_;
  std::vector<std::uint32_t> slots_;          // up to the highest slot ever in use
  std::map<RangeKey, std::uint32_t> ranges_;  // in use -> rows and scopes that name it
  std::set<RangeKey> unnamed_ranges_;
  IdAllocator service_id_allocator_;
  IdAllocator backend_id_allocator_;
  SlotAllocator slot_allocator_;
};

}  // namespace sluice
