// SPDX-License-Identifier: Apache-2.0
// EndSockets() in a process of its own, so that no socket can hold up who asks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/event_loop.h"
#include "control/base/unique_fd.h"
#include "control/datapath/socket_ender.h"
#include "maps/connection.h"

namespace sluice {

// Thread: loop only.
class SocketEnderProcess {
 public:
  using Done = std::function<void(const absl::StatusOr<EndedSockets>&)>;

  // Starts this program with `--end-sockets`. `done` is called once, from the loop, unless the
  // result is destroyed before; DEADLINE_EXCEEDED when the process does not answer within a minute,
  // INTERNAL when it ends without an answer. `loop` must outlive the result. Errors: as errno says.
  static absl::StatusOr<std::unique_ptr<SocketEnderProcess>> Start(
      std::span<const abi::lost_socket> sockets, EventLoop& loop, Done done);
  ~SocketEnderProcess();
  SocketEnderProcess(const SocketEnderProcess&) = delete;
  SocketEnderProcess& operator=(const SocketEnderProcess&) = delete;

 private:
  SocketEnderProcess(EventLoop& loop, Done done, UniqueFd answer, pid_t pid);
  void OnAnswer();
  void Finish(const absl::StatusOr<EndedSockets>& result);

  EventLoop& loop_;
  Done done_;
  const UniqueFd answer_;
  const pid_t pid_;
  EventLoop::TimerId deadline_ = 0;
};

}  // namespace sluice
