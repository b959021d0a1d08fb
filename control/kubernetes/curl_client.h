// SPDX-License-Identifier: Apache-2.0
// HttpClient by libcurl, driven by the event loop: no thread, no blocking call (names are resolved
// by a thread of libcurl's own).
#pragma once

#include <curl/curl.h>

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/statusor.h"

#include "control/base/event_loop.h"
#include "control/kubernetes/http_client.h"

namespace sluice {

// Thread: loop only. Exchanges with one server share a connection where it offers HTTP/2. A peer
// that is gone without a word is noticed within 30 s, by TCP keep-alive.
class CurlClient final : public HttpClient {
 public:
  // `loop` must outlive the client. Errors: INTERNAL when libcurl does not start.
  static absl::StatusOr<std::unique_ptr<CurlClient>> Create(EventLoop& loop);
  ~CurlClient() override;
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;

  ExchangeId Start(HttpRequest request, HttpStream& stream) override;
  void Cancel(ExchangeId id) override;

 private:
  struct Exchange;

  CurlClient(CURLM* multi, EventLoop& loop);
  static int OnSocketChange(CURL* easy, curl_socket_t fd, int what, void* self, void* socket);
  static int OnTimerChange(CURLM* multi, long timeout_ms, void* self);
  static std::size_t OnHeader(char* bytes, std::size_t size, std::size_t count, void* exchange);
  static std::size_t OnBody(char* bytes, std::size_t size, std::size_t count, void* exchange);
  void Prepare(Exchange& exchange);
  void Act(curl_socket_t fd, int events);
  void Settle();
  void Add(Exchange& exchange);
  std::unique_ptr<Exchange> Take(ExchangeId id);

  CURLM* multi_;
  EventLoop& loop_;
  EventLoop::TimerId timer_ = 0;
  std::set<curl_socket_t> watched_;
  bool in_curl_ = false;  // its functions must not be called from its callbacks
  std::vector<ExchangeId> to_add_;
  std::vector<ExchangeId> to_cancel_;
  ExchangeId last_id_ = 0;
  std::map<ExchangeId, std::unique_ptr<Exchange>> exchanges_;
};

}  // namespace sluice
