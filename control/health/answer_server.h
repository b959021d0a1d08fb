// SPDX-License-Identifier: Apache-2.0
// Answers HTTP requests that come in on one listening socket, on the event loop, with
// libmicrohttpd: sockets are given from outside and hundreds of them need no thread each.
#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "control/base/event_loop.h"
#include "control/base/unique_fd.h"
#include "control/health/answer.h"

struct MHD_Daemon;

namespace sluice {

// Every method is answered alike, and every answer ends its connection: one that was kept open
// would be cut when the socket changes hands. Thread: that of the loop.
class AnswerServer {
 public:
  // `listener` does not block. `loop` must outlive the server. Errors: INTERNAL when libmicrohttpd
  // cannot start.
  static absl::StatusOr<std::unique_ptr<AnswerServer>> Start(UniqueFd listener, EventLoop& loop,
                                                             HealthAnswerer answerer);
  // Stops accepting, answers the connections that are open, and cuts those that have not asked
  // after 0.1 s: so long it may take.
  ~AnswerServer();
  AnswerServer(const AnswerServer&) = delete;
  AnswerServer& operator=(const AnswerServer&) = delete;

 private:
  AnswerServer(EventLoop& loop, HealthAnswerer answerer);
  void Turn();
  void AnswerOpenConnections();
  friend struct AnswerServerCallbacks;

  EventLoop& loop_;
  const HealthAnswerer answerer_;
  MHD_Daemon* daemon_ = nullptr;
  int epoll_fd_ = -1;  // the daemon's
  EventLoop::TimerId timer_ = 0;
};

}  // namespace sluice
