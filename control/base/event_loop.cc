// SPDX-License-Identifier: Apache-2.0
#include "control/base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "control/base/clock.h"
#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::uint64_t kWakeId = 0;
constexpr int kEventsPerTurn = 64;

std::uint64_t NowNs() { return SystemClock().MonotonicNs(); }

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "epoll_create1");
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return ErrnoStatus(errno, "eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeId;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return ErrnoStatus(errno, "epoll_ctl");
  }
  return absl::WrapUnique(new EventLoop(std::move(epoll), std::move(wake)));
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd wake)
    : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

absl::Status EventLoop::Watch(int fd, std::uint32_t epoll_events,
                              std::function<void(std::uint32_t)> callback) {
  if (watch_ids_.contains(fd)) {
    return absl::AlreadyExistsError(absl::StrCat("descriptor ", fd, " is watched already"));
  }
  const std::uint64_t id = next_id_++;
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, absl::StrCat("watch descriptor ", fd));
  }
  watches_.emplace(id, std::make_shared<Watched>(Watched{fd, std::move(callback)}));
  watch_ids_.emplace(fd, id);
  return absl::OkStatus();
}

void EventLoop::Unwatch(int fd) {
  const auto found = watch_ids_.find(fd);
  if (found == watch_ids_.end()) return;
  // Fails only when the descriptor was closed first, and then there is nothing to remove.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watches_.erase(found->second);
  watch_ids_.erase(found);
}

EventLoop::TimerId EventLoop::RunAfter(absl::Duration delay, std::function<void()> callback) {
  const std::uint64_t delay_ns =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, absl::ToInt64Nanoseconds(delay)));
  const TimerId id = next_id_++;
  const std::uint64_t deadline = NowNs() + delay_ns;
  timers_.emplace(std::make_pair(deadline, id), std::move(callback));
  deadlines_.emplace(id, deadline);
  return id;
}

void EventLoop::Cancel(TimerId id) {
  const auto found = deadlines_.find(id);
  if (found == deadlines_.end()) return;
  timers_.erase(std::make_pair(found->second, id));
  deadlines_.erase(found);
}

void EventLoop::Post(std::function<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    posted_.push_back(std::move(callback));
  }
  Wake();
}

void EventLoop::Stop() {
  stop_.store(true);
  Wake();
}

void EventLoop::Wake() {
  const std::uint64_t one = 1;
  // EAGAIN means that the counter is at its limit, and so that the loop is being woken already.
  if (::write(wake_.get(), &one, sizeof(one)) < 0) return;
}

void EventLoop::Run() {
  std::array<epoll_event, kEventsPerTurn> events;
  while (!stop_.load()) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, TimeoutMs());
    for (int i = 0; i < count && !stop_.load(); ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.u64 == kWakeId) {
        RunPosted();
        continue;
      }
      const auto found = watches_.find(event.data.u64);
      if (found == watches_.end()) continue;
      const std::shared_ptr<Watched> watched = found->second;  // outlives an Unwatch of itself
      watched->callback(event.events);
    }
    if (!stop_.load()) RunTimers();
  }
  stop_.store(false);
}

void EventLoop::RunPosted() {
  std::uint64_t count = 0;
  if (::read(wake_.get(), &count, sizeof(count)) < 0) return;  // EAGAIN: nothing was posted
  std::vector<std::function<void()>> posted;
  {
    absl::MutexLock lock(&mutex_);
    posted.swap(posted_);
  }
  for (auto& callback : posted) callback();
}

void EventLoop::RunTimers() {
  // Timers that callbacks add now belong to the next turn, so that none can starve the descriptors.
  const std::uint64_t now = NowNs();
  const TimerId end_id = next_id_;
  auto timer = timers_.begin();
  while (timer != timers_.end() && timer->first.first <= now) {
    if (timer->first.second >= end_id) {
      ++timer;
      continue;
    }
    auto callback = std::move(timer->second);
    deadlines_.erase(timer->first.second);
    timers_.erase(timer);
    callback();
    timer = timers_.begin();  // the callback may have changed the timers
  }
}

int EventLoop::TimeoutMs() const {
  if (timers_.empty()) return -1;
  const std::uint64_t now = NowNs();
  const std::uint64_t deadline = timers_.begin()->first.first;
  if (deadline <= now) return 0;
  const std::uint64_t ms = (deadline - now + 999'999) / 1'000'000;
  return static_cast<int>(std::min<std::uint64_t>(ms, std::numeric_limits<int>::max()));
}

}  // namespace sluice
