// SPDX-License-Identifier: Apache-2.0
// The samples of dropped packets that the programs write to the ring buffer sl_events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/event_loop.h"
#include "maps/reason.h"

struct ring_buffer;

namespace sluice {

// Takes samples out as they come and keeps the last ones. Thread: loop only.
class DropEvents {
 public:
  static constexpr std::size_t kKept = 64;

  // `events_fd` is the ring buffer, which libbpf maps; `loop` must outlive this. `on_drop` is
  // called for each sample.
  static absl::StatusOr<std::unique_ptr<DropEvents>> Start(
      EventLoop& loop, int events_fd, std::function<void(const abi::drop_event&)> on_drop);
  ~DropEvents();

  const std::deque<abi::drop_event>& kept() const { return kept_; }  // oldest first

 private:
  DropEvents(EventLoop& loop, std::function<void(const abi::drop_event&)> on_drop)
      : loop_(loop), on_drop_(std::move(on_drop)) {}
  static int OnSample(void* self, void* sample, std::size_t size);

  EventLoop& loop_;
  std::function<void(const abi::drop_event&)> on_drop_;
  ring_buffer* ring_ = nullptr;
  std::deque<abi::drop_event> kept_;
};

}  // namespace sluice
