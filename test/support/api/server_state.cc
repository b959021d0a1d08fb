// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/server_state.h"

#include <algorithm>
#include <chrono>

namespace sluice::api {
namespace {

constexpr std::chrono::milliseconds kTick{50};  // how soon a client that went away is noticed

bool Fits(const ApiFault& fault, std::string_view resource, std::string_view verb) {
  if (fault.times == 0) return false;
  if (!fault.resource.empty() && fault.resource != resource) return false;
  return fault.verb.empty() ? verb != "event" : fault.verb == verb;
}

// Waits for a tick. False when the faults in force at `epoch` are over or the server ends.
bool StillFaulty(ServerState& state, std::uint64_t epoch) {
  std::unique_lock<std::mutex> held(state.lock);
  state.changed.wait_for(held, kTick, [&] { return state.stopping || state.fault_epoch != epoch; });
  return !state.stopping && state.fault_epoch == epoch;
}

}  // namespace

std::optional<TakenFault> ServerState::TakeFault(std::string_view resource, std::string_view verb) {
  for (ApiFault& fault : faults) {
    if (!Fits(fault, resource, verb)) continue;
    if (fault.times > 0) --fault.times;
    return TakenFault{fault, fault_epoch};
  }
  return std::nullopt;
}

void ServerState::Changed() {
  ++changes;
  changed.notify_all();
}

bool WriteBytes(ServerState& state, std::string bytes, const std::optional<TakenFault>& fault,
                const std::function<bool(std::string_view)>& write,
                const std::function<bool()>& alive) {
  if (!fault.has_value()) return write(bytes);
  const std::size_t after = std::min(fault->after, bytes.size());
  switch (fault->kind) {
    case ApiFault::Kind::kCut:
      write(std::string_view(bytes).substr(0, after));
      return false;
    case ApiFault::Kind::kSilence:
      if (after > 0 && !write(std::string_view(bytes).substr(0, after))) return false;
      while (alive() && StillFaulty(state, fault->epoch)) {
      }
      return false;
    case ApiFault::Kind::kGarbage:
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(after), bytes.end(), '\xff');
      return write(bytes);
    case ApiFault::Kind::kSlow: {
      std::string_view rest = bytes;
      const std::size_t piece = std::max<std::size_t>(fault->bytes_per_second / 20, 1);
      while (rest.size() > piece) {
        if (!write(rest.substr(0, piece)) || !alive()) return false;
        rest.remove_prefix(piece);
        if (!StillFaulty(state, fault->epoch)) break;
      }
      return write(rest);
    }
    default:
      return write(bytes);
  }
}

}  // namespace sluice::api
