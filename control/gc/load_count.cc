// SPDX-License-Identifier: Apache-2.0
#include "control/gc/load_count.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "control/base/status_macros.h"

namespace sluice {
namespace {

// What `bucket` holds of living flows, in halves: one with SL_FLOW_SNAT has two places.
void CountHalves(const abi::opening_bucket& bucket, std::uint32_t now_ticks,
                 std::map<BackendKey, std::uint64_t>& halves) {
  for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
    if (bucket.tag[way] == 0) continue;
    const auto age = static_cast<std::int32_t>(now_ticks - bucket.last_seen[way]);
    if (age > abi::SL_OPENING_TICKS) continue;
    const abi::flow_entry& entry = bucket.flows[way].entry;
    if ((entry.flags & abi::SL_FLOW_RESET) != 0) continue;
    halves[{entry.backend_id, entry.backend_generation}] +=
        (entry.flags & abi::SL_FLOW_SNAT) != 0 ? 1 : 2;
  }
}

// By how much `truth` is outside of what was counted at the begin and at the end.
std::int32_t DriftOf(std::int64_t truth, std::int32_t begin, std::int32_t end) {
  const auto [low, high] = std::minmax(begin, end);
  if (truth < low) return static_cast<std::int32_t>(truth - low);
  if (truth > high) return static_cast<std::int32_t>(truth - high);
  return 0;
}

// What both sweeps agree on.
std::int32_t Confirmed(std::int32_t before, std::int32_t now) {
  if ((before < 0) != (now < 0)) return 0;
  return std::abs(before) < std::abs(now) ? before : now;
}

}  // namespace

void LoadCount::Begin(std::span<const BackendKey> counted) {
  std::map<BackendKey, Backend> backends;
  for (const BackendKey& key : counted) {
    if (key.first >= loads_.size()) continue;
    const auto before = backends_.find(key);
    const std::int32_t drift = before == backends_.end() ? 0 : before->second.drift;
    backends[key] = {loads_.Flows(key.first), drift};
  }
  backends_ = std::move(backends);
}

absl::Status LoadCount::Finish(const std::map<BackendKey, std::uint64_t>& established) {
  if (backends_.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto buckets, opening_.Dump());
  const auto now_ticks = static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT);
  std::map<BackendKey, std::uint64_t> halves;
  for (const auto& [index, bucket] : buckets) CountHalves(bucket, now_ticks, halves);
  for (auto& [key, backend] : backends_) {
    const std::uint32_t id = key.first;
    const auto flows = established.find(key);
    const auto opening = halves.find(key);
    const std::uint64_t truth = (flows == established.end() ? 0 : flows->second) +
                                (opening == halves.end() ? 0 : opening->second / 2);
    const std::int32_t drift =
        DriftOf(static_cast<std::int64_t>(truth), backend.at_begin, loads_.Flows(id));
    const std::int32_t correction = Confirmed(backend.drift, drift);
    if (correction != 0) loads_.AddFlows(id, correction);
    corrected_ += static_cast<std::uint64_t>(std::abs(correction));
    backend.drift = drift - correction;
  }
  return absl::OkStatus();
}

}  // namespace sluice
