// SPDX-License-Identifier: Apache-2.0
// Joins a Reconciler to the event loop: one timer, moved with every request.
#pragma once

#include <functional>
#include <utility>

#include "absl/time/time.h"

#include "control/base/event_loop.h"

namespace sluice {

// Thread: loop only. Must outlive whoever asks it to wake, and go before the loop.
class LoopWake {
 public:
  explicit LoopWake(EventLoop& loop) : loop_(loop) {}
  LoopWake(const LoopWake&) = delete;
  LoopWake& operator=(const LoopWake&) = delete;
  ~LoopWake() { loop_.Cancel(timer_); }

  // What is called, e.g. Reconciler::Run(). To be set before the first request.
  void SetRun(std::function<void()> run) { run_ = std::move(run); }
  void After(absl::Duration delay) {
    loop_.Cancel(timer_);
    timer_ = loop_.RunAfter(delay, run_);
  }

 private:
  EventLoop& loop_;
  EventLoop::TimerId timer_ = 0;
  std::function<void()> run_;
};

}  // namespace sluice
