// SPDX-License-Identifier: Apache-2.0
// What the threads of an API server for tests share: one lock for the objects, the faults, the
// watches and the log of requests, and one signal for all that changes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

#include "test/support/api/object_store.h"
#include "test/support/fake_api_server.h"

namespace sluice::api {

// How a running watch is to end or what it has to do next.
struct WatchControl {
  std::string resource;
  bool end = false;       // in good order
  bool cut = false;       // by closing the connection
  bool bookmark = false;  // send one
};

// A fault that is in force for one answer, until the epoch of its taking is over.
struct TakenFault : ApiFault {
  std::uint64_t epoch = 0;
};

struct ServerState {
  explicit ServerState(FakeApiOptions given)
      : options(std::move(given)), store(options.first_version) {}

  // Takes one use of the oldest fault that fits. Requires: `lock` is held.
  std::optional<TakenFault> TakeFault(std::string_view resource, std::string_view verb);
  // Wakes everyone who waits. Requires: `lock` is held.
  void Changed();

  mutable std::mutex lock;
  mutable std::condition_variable changed;
  std::uint64_t changes = 0;  // calls of Changed()

  FakeApiOptions options;
  ObjectStore store;
  // First pages of lists that go on, by resource and version.
  std::map<std::pair<std::size_t, std::uint64_t>, ObjectStore::Objects> snapshots;
  std::vector<ApiFault> faults;
  std::uint64_t fault_epoch = 0;                            // grows when the faults in force end
  std::set<std::pair<std::string, std::string>> forbidden;  // verb, resource
  std::set<std::string> events;                             // paths of those created
  std::set<WatchControl*> watches;
  std::vector<ApiRequest> requests;
  bool stopping = false;
};

// Writes a body or a frame, with what goes wrong on the way. `write` sends bytes and returns false
// when the client is gone, as does `alive`. Returns whether the connection is still good.
// Requires: the lock is not held.
bool WriteBytes(ServerState& state, std::string bytes, const std::optional<TakenFault>& fault,
                const std::function<bool(std::string_view)>& write,
                const std::function<bool()>& alive);

}  // namespace sluice::api
