// SPDX-License-Identifier: Apache-2.0
// ConnectProxy: an HTTP proxy as a kubeconfig's proxy-url names one. It knows the method CONNECT
// (RFC 9110 9.3.6) only, and one server, by any name.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

#include "control/base/unique_fd.h"

namespace sluice::testing {

class ConnectProxy {
 public:
  // Every tunnel that is asked for leads to `server_port` of 127.0.0.1. Errors: those of errno.
  static absl::StatusOr<std::unique_ptr<ConnectProxy>> Start(std::uint16_t server_port);
  // Cuts all tunnels.
  ~ConnectProxy();
  ConnectProxy(const ConnectProxy&) = delete;
  ConnectProxy& operator=(const ConnectProxy&) = delete;

  std::string url() const;  // "http://127.0.0.1:41234"
  // What clients asked for, in turn: "api.example:6443". Thread-safe.
  std::vector<std::string> asked() const;

 private:
  ConnectProxy(UniqueFd listener, std::uint16_t port, std::uint16_t server_port);
  void Serve();
  void Tunnel(UniqueFd client);

  const UniqueFd listener_;
  const std::uint16_t port_;
  const std::uint16_t server_port_;
  std::atomic<bool> stop_ = false;
  mutable absl::Mutex mutex_;
  std::vector<std::string> asked_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> tunnels_;  // of the thread that serves
  std::thread thread_;
};

}  // namespace sluice::testing
