// SPDX-License-Identifier: Apache-2.0
// The one thread that owns the agent's state: descriptors, timers and calls posted to it from
// other threads, over epoll(7).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "control/base/unique_fd.h"

namespace sluice {

// Thread: loop only (the thread that calls Run, and whoever sets up before it), except Post and
// Stop, which any thread may call. A callback may call everything here, also Unwatch or Cancel of
// itself.
class EventLoop {
 public:
  using TimerId = std::uint64_t;  // 0 is never a timer

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `callback` with the events that epoll reports while `fd`, which stays the caller's, is
  // ready (level triggered, unless `epoll_events` holds EPOLLET). One watch a descriptor. Errors:
  // ALREADY_EXISTS when it is watched, else as epoll_ctl(2).
  absl::Status Watch(int fd, std::uint32_t epoll_events,
                     std::function<void(std::uint32_t)> callback);
  // Call before the descriptor is closed. No callback of it runs afterwards. Unknown: no effect.
  void Unwatch(int fd);

  // Calls `callback` once, at the first turn of the loop after `delay`; never from within RunAfter.
  TimerId RunAfter(absl::Duration delay, std::function<void()> callback);
  void Cancel(TimerId id);  // unknown or fired: no effect

  // Calls `callback` on the loop thread, in the order of posting. Thread-safe.
  void Post(std::function<void()> callback);

  // Runs until Stop, then returns; what was posted and not run stays for a next Run. A Stop before
  // Run makes it return at once.
  void Run();
  void Stop();  // thread-safe

 private:
  struct Watched {
    int fd;
    std::function<void(std::uint32_t)> callback;
  };

  EventLoop(UniqueFd epoll, UniqueFd wake);
  void Wake();
  void RunPosted();
  void RunTimers();
  int TimeoutMs() const;

  UniqueFd epoll_;
  UniqueFd wake_;
  // Events carry the watch's id and not the descriptor: an event of a descriptor that was unwatched
  // in the same turn, its number perhaps in use again, is then told apart.
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, std::shared_ptr<Watched>> watches_;
  std::unordered_map<int, std::uint64_t> watch_ids_;
  std::map<std::pair<std::uint64_t, TimerId>, std::function<void()>> timers_;  // by deadline, ns
  std::unordered_map<TimerId, std::uint64_t> deadlines_;
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice
