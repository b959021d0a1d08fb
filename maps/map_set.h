// SPDX-License-Identifier: Apache-2.0
// MapSet: all maps of one agent, opened from their folder of pins and checked against the ABI. The
// agent's loader creates and pins them; whoever reads or writes rows (agent, sluicectl, tests)
// comes through here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "maps/backend.h"
#include "maps/bpf_table.h"
#include "maps/client_array.h"
#include "maps/config.h"
#include "maps/connection.h"
#include "maps/filter_array.h"
#include "maps/flow.h"
#include "maps/fragment.h"
#include "maps/load_array.h"
#include "maps/names.h"
#include "maps/node.h"
#include "maps/reason.h"
#include "maps/service.h"
#include "maps/slot_array.h"
#include "maps/snat_array.h"
#include "maps/table.h"

namespace sluice {

// How full a map is.
struct MapUse {
  std::string name;
  std::uint64_t used = 0;
  std::uint64_t size = 0;
};

// What each map must be: name, type, sizes of key and value, and flags that must be set.
// max_entries is the default of bpf/maps.h. Sorted as in maps/names.h.
std::span<const MapShape> ExpectedMaps();

// Refuses a map that is not what the ABI says. Errors: FAILED_PRECONDITION naming the map, what was
// expected and what was found.
absl::Status CheckShape(const MapShape& expected, const MapShape& found);

// Thread-compatible.
class MapSet {
 public:
  // Opens every map of ExpectedMaps() in `folder` (".../v1").
  // Errors: NOT_FOUND naming the first map that is not pinned there, FAILED_PRECONDITION for one of
  // another shape, PERMISSION_DENIED without the rights for bpf(2).
  static absl::StatusOr<MapSet> OpenPinned(const std::string& folder);
  MapSet(MapSet&&) noexcept;
  MapSet& operator=(MapSet&&) noexcept;
  ~MapSet();

  Table<abi::service_key, abi::service>& services() const;
  Table<std::uint32_t, abi::service_stats>& service_stats() const;
  Table<std::uint32_t, abi::service_name>& service_names() const;
  Table<abi::source_range_key, abi::source_range>& source_ranges() const;
  Table<std::uint32_t, abi::backend>& backends() const;
  Table<std::uint32_t, abi::backend_stats>& backend_stats() const;
  Table<abi::connection_stats_key, abi::connection_stats>& connection_stats() const;
  Table<abi::affinity_key, abi::affinity>& affinity() const;
  Table<abi::flow, abi::flow_entry>& flows() const;
  Table<std::uint32_t, abi::opening_bucket>& opening() const;
  Table<std::uint32_t, abi::node>& nodes() const;
  Table<abi::addr, std::uint32_t>& node_ids() const;
  Table<abi::fragment_key, abi::fragment>& fragments() const;
  Table<abi::drop_key, abi::drop_count>& drops() const;
  Table<std::uint32_t, abi::node_config>& config() const;
  Table<std::uint32_t, abi::meta>& meta() const;
  SlotArray& slots() const;
  FilterArray& filter() const;
  LoadArray& loads() const;
  ClientArray& clients() const;
  SnatArray& snat_ports() const;
  // The ring buffer sl_events, for ring_buffer__new(). Stays this set's.
  int events_fd() const;

  // Used and size of every map, in the order of ExpectedMaps(). Units are rows, except: slots in
  // published ranges, bits of the filter and of clients, flows being opened (four a bucket), bytes
  // not yet read for the ring buffer; the rows of an id count as used while it names a service or a
  // backend. Cost: reads every map, about 50 ms at default sizes.
  absl::StatusOr<std::vector<MapUse>> Use() const;

 private:
  struct Maps;
  explicit MapSet(std::unique_ptr<Maps> maps);
  std::unique_ptr<Maps> maps_;
};

}  // namespace sluice
