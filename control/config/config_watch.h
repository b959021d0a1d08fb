// SPDX-License-Identifier: Apache-2.0
// Notices that a configuration file says something else.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/event_loop.h"

namespace sluice {

// The whole of a file of at most 1 MiB. Errors: as errno says; INVALID_ARGUMENT for a longer one.
absl::StatusOr<std::string> ReadConfigFile(const std::string& path);

// Reads the file every second: a file of some KiB, which a ConfigMap changes by turning two links
// and an editor by taking its place, so that there is no one thing to watch. Thread: loop only.
class ConfigWatch {
 public:
  // Calls `on_change` once, when `path` can be read and holds something else than `text`: a file
  // that is gone, or empty while it is written, is waited for. `loop` must outlive the watch.
  ConfigWatch(std::string path, std::string text, EventLoop& loop, std::function<void()> on_change,
              absl::Duration interval = absl::Seconds(1));
  ~ConfigWatch();
  ConfigWatch(const ConfigWatch&) = delete;
  ConfigWatch& operator=(const ConfigWatch&) = delete;

 private:
  void Look();

  const std::string path_;
  const std::string text_;
  EventLoop& loop_;
  const std::function<void()> on_change_;
  const absl::Duration interval_;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace sluice
