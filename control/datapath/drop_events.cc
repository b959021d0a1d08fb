// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/drop_events.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {

absl::StatusOr<std::unique_ptr<DropEvents>> DropEvents::Start(
    EventLoop& loop, int events_fd, std::function<void(const abi::drop_event&)> on_drop) {
  auto events = absl::WrapUnique(new DropEvents(loop, std::move(on_drop)));
  events->ring_ = ring_buffer__new(events_fd, OnSample, events.get(), nullptr);
  if (events->ring_ == nullptr) return ErrnoStatus(errno, "open the ring buffer sl_events");
  ring_buffer* ring = events->ring_;
  RETURN_IF_ERROR(loop.Watch(ring_buffer__epoll_fd(ring), EPOLLIN,
                             [ring](std::uint32_t) { ring_buffer__consume(ring); }));
  return events;
}

DropEvents::~DropEvents() {
  if (ring_ == nullptr) return;
  loop_.Unwatch(ring_buffer__epoll_fd(ring_));
  ring_buffer__free(ring_);
}

int DropEvents::OnSample(void* self, void* sample, std::size_t size) {
  auto& events = *static_cast<DropEvents*>(self);
  abi::drop_event event{};
  if (size < sizeof(event)) return 0;  // of another ABI: nothing to be read from it
  std::memcpy(&event, sample, sizeof(event));
  if (events.kept_.size() == kKept) events.kept_.pop_front();
  events.kept_.push_back(event);
  events.on_drop_(event);
  return 0;
}

}  // namespace sluice
