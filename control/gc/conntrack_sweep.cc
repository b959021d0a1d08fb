// SPDX-License-Identifier: Apache-2.0
#include "control/gc/conntrack_sweep.h"

#include <netinet/in.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "control/base/status_macros.h"
#include "maps/row_compare.h"

namespace sluice {
namespace {

FlowState StateOf(std::uint32_t protocol, std::uint8_t flags) {
  // Of SCTP the datapath tells as of TCP: an association is a connection.
  if (protocol == IPPROTO_UDP) return FlowState::kUdp;
  if ((flags & abi::SL_FLOW_CLOSED) == abi::SL_FLOW_CLOSED) return FlowState::kTcpClosing;
  return (flags & abi::SL_FLOW_RESET) != 0 ? FlowState::kTcpReset : FlowState::kTcpEstablished;
}

bool IsV4(const abi::addr& addr) {
  return addr.w[0] == 0 && addr.w[1] == 0 && addr.w[2] == htonl(0xffff);
}

constexpr std::uint8_t kEndFlags = abi::SL_FLOW_CLOSED | abi::SL_FLOW_RESET;

}  // namespace

std::string_view FlowStateName(FlowState state) {
  switch (state) {
    case FlowState::kTcpEstablished:
      return "tcp_established";
    case FlowState::kTcpClosing:
      return "tcp_closing";
    case FlowState::kTcpReset:
      return "tcp_reset";
    case FlowState::kUdp:
      break;
  }
  return "udp";
}

abi::flow PartnerKey(const abi::flow_entry& entry) {
  abi::flow key{};
  key.source = entry.new_destination;
  key.source_port = entry.new_destination_port;
  key.destination = entry.new_source;
  key.destination_port = entry.new_source_port;
  return key;
}

SnatPath SnatPathOf(const abi::flow& key, const abi::flow_entry& entry) {
  SnatPath path{};
  path.source = entry.new_source;
  path.destination = entry.new_destination;
  path.destination_port = entry.new_destination_port;
  path.protocol = key.protocol;
  return path;
}

ConntrackSweep::ConntrackSweep(std::unique_ptr<FlowCursor> cursor, Tables tables,
                               const Clock& clock, const SweepTimeouts& timeouts,
                               std::function<void(const FlowRow&)> see)
    : cursor_(std::move(cursor)),
      tables_(tables),
      clock_(clock),
      timeouts_(timeouts),
      see_(std::move(see)) {}

absl::StatusOr<bool> ConntrackSweep::Step() {
  absl::StatusOr<bool> ended = StepOrFail();
  if (ended.ok() && !*ended) return false;
  if (ended.ok()) {
    counts_ = std::move(running_);
    ++sweeps_;
  }
  running_ = {};
  cursor_->Rewind();
  return ended;
}

absl::StatusOr<bool> ConntrackSweep::StepOrFail() {
  ASSIGN_OR_RETURN(const std::vector<FlowRow> rows, cursor_->Next());
  if (rows.empty()) return true;
  now_ticks_ = static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT);
  // An id may be given to another within the time of a whole sweep.
  generations_.clear();
  services_.clear();
  std::set<abi::flow> judged;
  for (const FlowRow& row : rows) {
    if (see_) see_(row);
    RETURN_IF_ERROR(Judge(row, judged));
  }
  return false;
}

// `row` was judged as it is here, which may be long ago for a table in use: a client that takes the
// port of a closed flow again has a new one in its place at once. `idle`: it goes because no packet
// came, so that one that comes now keeps it.
absl::StatusOr<bool> ConntrackSweep::End(const FlowRow& row, bool idle) {
  const auto& [key, entry] = row;
  ASSIGN_OR_RETURN(const bool deleted, tables_.flows.DeleteIf(key, [&](const abi::flow_entry& now) {
    return now.backend_id == entry.backend_id &&
           now.backend_generation == entry.backend_generation &&
           now.service_id == entry.service_id && (!idle || now.last_seen == entry.last_seen);
  }));
  if (!deleted) return false;
  ++running_.deleted;
  ++deleted_total_;
  if (IsV4(key.source)) ++deleted_v4_;
  return true;
}

absl::Status ConntrackSweep::Judge(const FlowRow& row, std::set<abi::flow>& judged) {
  const auto& [key, entry] = row;
  if (judged.contains(key)) return absl::OkStatus();  // with its partner
  std::uint8_t flags = entry.flags;
  std::uint32_t last_seen = entry.last_seen;
  std::optional<FlowRow> partner_row;
  // The other row matters only when this one alone would go, or when it has seen an end.
  if ((flags & kEndFlags) != 0 || Expired(StateOf(key.protocol, flags), last_seen)) {
    abi::flow candidate = PartnerKey(entry);
    candidate.protocol = key.protocol;
    ASSIGN_OR_RETURN(const std::optional<abi::flow_entry> partner, tables_.flows.Lookup(candidate));
    if (partner.has_value()) {
      partner_row.emplace(candidate, *partner);
      flags = static_cast<std::uint8_t>(flags | (partner->flags & kEndFlags));
      last_seen = std::max(last_seen, partner->last_seen);
    }
  }
  const FlowState state = StateOf(key.protocol, flags);
  const bool idle = Expired(state, last_seen);
  bool lost = false;
  if (!idle && state == FlowState::kUdp) {
    ASSIGN_OR_RETURN(lost, LostItsOwner(entry));
  }
  if (idle || lost) {
    ASSIGN_OR_RETURN(const bool ended, End(row, idle));
    if (!partner_row.has_value()) return absl::OkStatus();
    // The partner may not know of the end, and would stay for the timeout of a living flow.
    judged.insert(partner_row->first);
    if (!ended) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool partner_ended, End(*partner_row, idle));
    if (partner_ended) return absl::OkStatus();
    // It has just been used: the flow lives, and needs both.
    RETURN_IF_ERROR(tables_.flows.Insert(key, entry).status());
    --running_.deleted;
    --deleted_total_;
    if (IsV4(key.source)) --deleted_v4_;
    return absl::OkStatus();
  }
  ++running_.rows[static_cast<std::size_t>(state)];
  const bool ending = state == FlowState::kTcpClosing || state == FlowState::kTcpReset;
  if ((flags & abi::SL_FLOW_FORWARD) != 0 && !ending) {
    ++running_.connections[{entry.backend_id, entry.backend_generation}];
  }
  constexpr std::uint8_t kSnatForward = abi::SL_FLOW_FORWARD | abi::SL_FLOW_SNAT;
  if ((flags & kSnatForward) == kSnatForward && state != FlowState::kTcpClosing) {
    running_.snat_ports[SnatPathOf(key, entry)].push_back(ntohs(entry.new_source_port));
  }
  return absl::OkStatus();
}

absl::Duration ConntrackSweep::TimeoutOf(FlowState state) const {
  switch (state) {
    case FlowState::kTcpEstablished:
      return timeouts_.tcp_established;
    case FlowState::kTcpClosing:
      return timeouts_.tcp_closing;
    case FlowState::kTcpReset:
      return timeouts_.tcp_reset;
    case FlowState::kUdp:
      break;
  }
  return timeouts_.udp;
}

bool ConntrackSweep::Expired(FlowState state, std::uint32_t last_seen) const {
  const absl::Duration timeout = TimeoutOf(state);
  if (last_seen >= now_ticks_) return false;  // a packet has come since the time was read
  // The tick that has begun does not count: the packet may have come at its end.
  const std::uint64_t whole_ticks = now_ticks_ - last_seen - 1;
  return absl::Nanoseconds(whole_ticks << abi::SL_TICK_SHIFT) >= timeout;
}

absl::StatusOr<bool> ConntrackSweep::LostItsOwner(const abi::flow_entry& entry) {
  auto generation = generations_.find(entry.backend_id);
  if (generation == generations_.end()) {
    ASSIGN_OR_RETURN(const std::optional<abi::backend> backend,
                     tables_.backends.Lookup(entry.backend_id));
    std::optional<std::uint32_t> present;
    if (backend.has_value() && (backend->flags & abi::SL_BACKEND_PRESENT) != 0) {
      present = backend->generation;
    }
    generation = generations_.emplace(entry.backend_id, present).first;
  }
  if (generation->second != entry.backend_generation) return true;
  auto service = services_.find(entry.service_id);
  if (service == services_.end()) {
    ASSIGN_OR_RETURN(const std::optional<abi::service_name> name,
                     tables_.service_names.Lookup(entry.service_id));
    const bool exists = name.has_value() && name->name[0] != '\0';
    service = services_.emplace(entry.service_id, exists).first;
  }
  return !service->second;
}

}  // namespace sluice
