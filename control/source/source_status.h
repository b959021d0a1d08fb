// SPDX-License-Identifier: Apache-2.0
// How well a source follows what it follows, for people and metrics. Values only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace sluice {

// One kind of object, followed by a list and a watch.
struct StreamStatus {
  std::string resource;    // "services"
  bool synced = false;     // all of them have been said once
  bool absent = false;     // the server does not serve or show them, and they are not needed
  bool connected = false;  // an answer is being received
  std::string error;       // why it is not followed now; empty: it is, or nothing failed yet
  absl::Time failing_since = absl::InfiniteFuture();
  // Of the last byte, bookmarks included: how far behind we may be. The server says something each
  // minute, so that more than two and a half are followed by a new watch.
  absl::Time last_heard = absl::InfinitePast();
  std::string version;         // resourceVersion up to which all is known
  std::uint64_t events = 0;    // objects that watches told of
  std::uint64_t lists = 0;     // that were completed; each after the first follows a loss
  std::uint64_t restarts = 0;  // of the watch: whenever it ended, for whatever reason
  std::uint64_t failures = 0;  // requests that ended with an error
};

// Empty for sources that have nothing to lose touch with.
struct SourceStatus {
  std::string server;  // the address in use or tried next
  // Since when at least one kind could not be followed; InfiniteFuture: all are.
  absl::Time away_since = absl::InfiniteFuture();
  std::vector<StreamStatus> streams;
};

}  // namespace sluice
