// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/drain.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "control/base/status_macros.h"
#include "control/gc/flow_cursor.h"
#include "maps/flow.h"
#include "maps/names.h"
#include "maps/row_compare.h"

namespace sluice {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);

std::uint64_t Connections(const SweepCounts& counts) {
  std::uint64_t rows = 0;
  for (const std::uint64_t of_state : counts.rows) rows += of_state;
  return (rows + 1) / 2;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Drain>> Drain::Start(const std::string& pin_folder, EventLoop& loop,
                                                    const Clock& clock, SweepTimeouts timeouts,
                                                    Progress progress) {
  ASSIGN_OR_RETURN(MapSet maps, MapSet::OpenPinned(pin_folder));
  ASSIGN_OR_RETURN(BpfMap flows, BpfMap::OpenPinned(absl::StrCat(pin_folder, "/", names::kFlows)));
  auto drain = absl::WrapUnique(new Drain(std::move(maps), loop, std::move(progress)));
  RETURN_IF_ERROR(drain->LetGo());
  timeouts.tcp_closing = std::min(timeouts.tcp_closing, kInterval);
  drain->sweep_ = std::make_unique<ConntrackSweep>(
      std::make_unique<BpfFlowCursor>(std::move(flows)),
      ConntrackSweep::Tables{drain->maps_.flows(), drain->maps_.backends(),
                             drain->maps_.service_names()},
      clock, timeouts);
  drain->timer_ = loop.RunAfter(absl::ZeroDuration(), [self = drain.get()] { self->Sweep(); });
  return drain;
}

Drain::Drain(MapSet maps, EventLoop& loop, Progress progress)
    : maps_(std::move(maps)), loop_(loop), progress_(std::move(progress)) {}

Drain::~Drain() { loop_.Cancel(timer_); }

absl::Status Drain::LetGo() {
  // First: an address of the range whose rows are gone would be dropped, not passed on.
  ASSIGN_OR_RETURN(const std::optional<abi::node_config> found, maps_.config().Lookup(0));
  std::pair<std::uint32_t, abi::node_config> config{0, found.value_or(abi::node_config{})};
  for (abi::addr_range& range : config.second.service_range) range = {};
  RETURN_IF_ERROR(maps_.config().Update(std::span(&config, 1)).status);

  ASSIGN_OR_RETURN(const auto services, maps_.services().Dump());
  std::vector<abi::service_key> keys;
  keys.reserve(services.size());
  for (const auto& [key, service] : services) {
    keys.push_back(key);
    if (key.port != 0) ++frontends_;  // the others only say that an address is a service's
  }
  RETURN_IF_ERROR(maps_.services().Delete(keys).status);
  return ForgetClosed();
}

// At once, and not with the sweep's patience: the ports of closed connections are free for others
// to choose now, and a row that is still there would take their packets.
absl::Status Drain::ForgetClosed() {
  ASSIGN_OR_RETURN(const auto rows, maps_.flows().Dump());
  // Each row has seen the end from one side at least.
  std::map<abi::flow, std::uint8_t> ends;
  for (const auto& [key, entry] : rows) {
    abi::flow partner = PartnerKey(entry);
    partner.protocol = key.protocol;
    for (const abi::flow& flow : {key, partner}) {
      ends[flow] = static_cast<std::uint8_t>(ends[flow] | (entry.flags & abi::SL_FLOW_CLOSED));
    }
  }
  std::vector<abi::flow> closed;
  for (const auto& [key, seen] : ends) {
    if (seen == abi::SL_FLOW_CLOSED) closed.push_back(key);
  }
  return maps_.flows().Delete(closed).status;
}

void Drain::Sweep() {
  const absl::StatusOr<bool> ended = sweep_->Step();
  if (!ended.ok()) return progress_(ended.status());
  timer_ = loop_.RunAfter(*ended ? kInterval : absl::ZeroDuration(), [this] { Sweep(); });
  if (!*ended) return;
  const std::uint64_t connections = Connections(sweep_->counts());
  if (std::exchange(connections_, connections) != connections) progress_(connections);
}

}  // namespace sluice
