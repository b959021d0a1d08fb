// SPDX-License-Identifier: Apache-2.0
// One watch of an API server for tests, from its request to its end.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "test/support/api/request.h"
#include "test/support/api/server_state.h"

namespace sluice::api {

class WatchStream {
 public:
  using Write = std::function<bool(std::string_view)>;

  // A watch for the request, or the Status that refuses it. Requires: the lock is held.
  static std::variant<std::unique_ptr<WatchStream>, Status> Begin(ServerState& state,
                                                                  const Resource& resource,
                                                                  const Target& target,
                                                                  const Query& query,
                                                                  Format format);
  // Requires: the lock is not held.
  ~WatchStream();
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  enum class End { kNotYet, kInOrder, kCut };
  // Waits a moment for something to say and says it.
  End Turn(const Write& write, const std::function<bool()>& alive);
  // A fault for the whole body rather than for one event.
  void SetFault(TakenFault fault) { fault_ = std::move(fault); }

 private:
  WatchStream(ServerState& state, const Resource& resource, WatchCursor cursor, Format format);
  std::optional<WatchEvent> NextEvent();
  std::string Encode(const WatchEvent& event) const;
  End Say(const WatchEvent& event, std::optional<TakenFault> fault, const Write& write,
          const std::function<bool()>& alive);

  ServerState& state_;
  const Resource& resource_;
  WatchCursor cursor_;
  const Format format_;
  WatchControl control_;
  bool bookmarks_ = false;
  bool end_bookmark_due_ = false;  // the one that ends the initial events
  std::optional<Status> error_;    // to be said as the one and only event
  std::optional<TakenFault> fault_;
  std::size_t said_bytes_ = 0;
  std::chrono::steady_clock::time_point deadline_;
  std::chrono::steady_clock::time_point next_bookmark_;
};

}  // namespace sluice::api
