// SPDX-License-Identifier: Apache-2.0
// Removes flows that are over from sl_flows, and counts those that are not. The programs never
// evict a flow: but for flows that start anew in place of one, or whose backend is gone, this is
// the only way that rows leave the table.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/gc/flow_cursor.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/row_compare.h"
#include "maps/service.h"
#include "maps/table.h"

namespace sluice {

// How long a flow is kept after its last packet. Told apart to a tick (1.07 s), never too early.
struct SweepTimeouts {
  absl::Duration tcp_established = absl::Seconds(8000);
  absl::Duration tcp_closing = absl::Seconds(10);  // after a FIN each way
  // After an RST alone, which anyone may have made up: long enough for a living connection to send
  // something, upon which the datapath takes the mark away.
  absl::Duration tcp_reset = absl::Seconds(120);
  absl::Duration udp = absl::Seconds(60);
};

enum class FlowState { kTcpEstablished, kTcpClosing, kTcpReset, kUdp };
inline constexpr std::size_t kFlowStates = 4;
std::string_view FlowStateName(FlowState state);  // "tcp_established", ...

// The key of the row for the other direction.
abi::flow PartnerKey(const abi::flow_entry& entry);

// {id, generation}: a flow may outlive its backend, whose id is then another's.
using BackendKey = std::pair<std::uint32_t, std::uint32_t>;

// A source address and where it has ports towards: a flow without a source port.
using SnatPath = abi::flow;
// The path of a forward row with SL_FLOW_SNAT.
SnatPath SnatPathOf(const abi::flow& key, const abi::flow_entry& entry);
// The ports that are taken, host order; one may be there twice.
using SnatPathPorts = std::map<SnatPath, std::vector<std::uint16_t>>;

// What one sweep found.
struct SweepCounts {
  std::array<std::uint64_t, kFlowStates> rows{};  // left in the table, by state
  std::uint64_t deleted = 0;
  // Flows by backend: one each, whatever rows it has; closing and reset ones are not counted.
  std::map<BackendKey, std::uint64_t> connections;
  // Source ports of flows whose both ends are rewritten. A closed flow gives its port to who asks.
  SnatPathPorts snat_ports;
};

// Thread: loop only.
class ConntrackSweep {
 public:
  struct Tables {
    Table<abi::flow, abi::flow_entry>& flows;
    Table<std::uint32_t, abi::backend>& backends;
    Table<std::uint32_t, abi::service_name>& service_names;
  };

  // What is in `tables`, and `clock`, must outlive the sweep. `see`: told of every row, before it
  // is judged.
  ConntrackSweep(std::unique_ptr<FlowCursor> cursor, Tables tables, const Clock& clock,
                 const SweepTimeouts& timeouts, std::function<void(const FlowRow&)> see = {});

  // Judges the next piece of the table and deletes what is over. True: that was the last piece;
  // counts() tells of this sweep, and the next call begins another. On an error the sweep starts
  // over with the next call. Cost: a batch of lookups, one lookup for each row that may be over,
  // two calls for each that is.
  absl::StatusOr<bool> Step();

  // Of the last complete sweep; all zero before.
  const SweepCounts& counts() const { return counts_; }
  std::uint64_t sweeps() const { return sweeps_; }
  std::uint64_t deleted_total() const { return deleted_total_; }
  // Of those, rows of flows whose client came over IPv4.
  std::uint64_t deleted_v4() const { return deleted_v4_; }

 private:
  absl::Status Judge(const FlowRow& row, std::set<abi::flow>& judged);
  absl::StatusOr<bool> End(const FlowRow& row, bool idle);
  absl::StatusOr<bool> LostItsOwner(const abi::flow_entry& entry);
  absl::Duration TimeoutOf(FlowState state) const;
  bool Expired(FlowState state, std::uint32_t last_seen) const;
  absl::StatusOr<bool> StepOrFail();

  std::unique_ptr<FlowCursor> cursor_;
  Tables tables_;
  const Clock& clock_;
  const SweepTimeouts timeouts_;
  const std::function<void(const FlowRow&)> see_;
  std::uint32_t now_ticks_ = 0;
  SweepCounts counts_;
  SweepCounts running_;
  std::uint64_t sweeps_ = 0;
  std::uint64_t deleted_total_ = 0;
  std::uint64_t deleted_v4_ = 0;
  // What rows said during this step; few ids stand for many flows.
  std::unordered_map<std::uint32_t, std::optional<std::uint32_t>> generations_;  // unset: gone
  std::unordered_map<std::uint32_t, bool> services_;                             // exists
};

}  // namespace sluice
