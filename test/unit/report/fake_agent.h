// SPDX-License-Identifier: Apache-2.0
// The agent's side of the local socket with answers that a test has chosen, and a folder for it.
#pragma once

#include <sys/socket.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "httplib.h"

namespace sluice::report {

// Listens on `<state_dir>/sluiced.sock` from Start() on. Answer() before Start().
class FakeAgent {
 public:
  explicit FakeAgent(const std::string& state_dir) : socket_(state_dir + "/sluiced.sock") {
    server_.set_address_family(AF_UNIX);
  }
  ~FakeAgent() {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  void Answer(const std::string& path, int status, const std::string& body) {
    const auto handler = [=, this](const httplib::Request& request, httplib::Response& response) {
      {
        const std::lock_guard lock(mutex_);
        last_timeout_ms_ = request.get_param_value("timeoutMs");
      }
      response.status = status;
      response.set_content(body, "application/json");
    };
    server_.Get(path, handler);
    server_.Post(path, handler);
  }

  void Start() {
    std::filesystem::remove(socket_);
    server_.bind_to_port(socket_, 80);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }

  // Of the last request.
  std::string last_timeout_ms() {
    const std::lock_guard lock(mutex_);
    return last_timeout_ms_;
  }

 private:
  const std::string socket_;
  httplib::Server server_;
  std::thread thread_;
  std::mutex mutex_;
  std::string last_timeout_ms_;
};

}  // namespace sluice::report
