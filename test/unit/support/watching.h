// SPDX-License-Identifier: Apache-2.0
// A client that watches, for tests of the API server for tests.
#pragma once

#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "test/support/fake_api_server.h"
#include "test/support/recorded_wire.h"

namespace sluice {

// A watch in a thread of its own, whose bytes can be waited for.
class Watching {
 public:
  Watching(const FakeApiServer& server, const std::string& path, const std::string& accept)
      : thread_([this, url = server.url(), path, accept] {
          httplib::Client client(url);
          client.set_read_timeout(20);
          auto result =
              client.Get(path, {{"Accept", accept}}, [this](const char* bytes, std::size_t size) {
                const std::lock_guard<std::mutex> held(lock_);
                bytes_.append(bytes, size);
                return !stop_;
              });
          const std::lock_guard<std::mutex> held(lock_);
          code_ = result ? result->status : -1;
          ended_ = true;
        }) {}
  ~Watching() {
    {
      const std::lock_guard<std::mutex> held(lock_);
      stop_ = true;
    }
    thread_.join();  // the test ends the watch before
  }

  // The whole frames so far, once there are `count` of them.
  std::vector<RecordedFrame> Frames(std::size_t count) {
    std::vector<RecordedFrame> frames;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (frames.size() < count && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
      const std::string bytes = this->bytes();
      std::size_t whole = 0;
      for (std::size_t next = 0; next <= bytes.size(); whole = std::min(next, bytes.size())) {
        if (bytes.size() - next < 4) {
          whole = next;
          break;
        }
        std::size_t size = 0;
        for (std::size_t i = 0; i < 4; ++i) {
          size = size << 8 | static_cast<unsigned char>(bytes[next + i]);
        }
        if (next + 4 + size > bytes.size()) {
          whole = next;
          break;
        }
        next += 4 + size;
      }
      frames = SplitRecordedWatch(std::string_view(bytes).substr(0, whole));
    }
    return frames;
  }
  std::string bytes() {
    const std::lock_guard<std::mutex> held(lock_);
    return bytes_;
  }
  // 200 after an end in good order, -1 after a connection that was cut.
  int EndCode() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
      {
        const std::lock_guard<std::mutex> held(lock_);
        if (ended_) return code_;
      }
      std::this_thread::yield();
    }
    return 0;
  }

 private:
  std::mutex lock_;
  std::string bytes_;
  bool stop_ = false;
  bool ended_ = false;
  int code_ = 0;
  std::thread thread_;
};

}  // namespace sluice
