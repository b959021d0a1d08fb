// SPDX-License-Identifier: Apache-2.0
// HTTP exchanges that never block, as an interface: CurlClient is the real one, tests script
// theirs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace sluice {

// What proves the server to us and us to the server. Data (PEM) comes before the file's name.
struct TlsConfig {
  std::string ca_file;
  std::string ca_data;  // neither: the system's authorities
  std::string cert_file;
  std::string cert_data;
  std::string key_file;
  std::string key_data;
  std::string server_name;  // that the certificate must bear; empty: the host of the URL
  bool insecure = false;    // believe any certificate
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string body;
  TlsConfig tls;
  std::string proxy_url;  // empty: as HTTPS_PROXY, NO_PROXY and their kind in the environment say
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration total_timeout = absl::InfiniteDuration();
  // Not over a connection that is open already: that one may be dead.
  bool fresh_connection = false;
};

struct HttpHead {
  int code = 0;
  std::map<std::string, std::string> headers;  // names in lower case
};

// What becomes of one exchange. OnHead once (or never), OnBody any number of times, OnEnd once and
// last, also after a failed OnBody; none of them after Cancel. Thread: loop only.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  virtual void OnHead(const HttpHead& head) = 0;
  // A failure ends the exchange, and is what OnEnd is told.
  virtual absl::Status OnBody(std::string_view bytes) = 0;
  // OK: the server has said all. Errors: UNAVAILABLE when the server cannot be reached or the
  // connection broke; DEADLINE_EXCEEDED after a timeout; FAILED_PRECONDITION when one side does not
  // trust the other's certificate, or an own one is unusable; OnBody's.
  virtual void OnEnd(const absl::Status& status) = 0;
};

// Thread: loop only. No callback comes from within Start or Cancel.
class HttpClient {
 public:
  using ExchangeId = std::uint64_t;  // 0 is never one

  virtual ~HttpClient() = default;
  // `stream` must live until its OnEnd has returned or the exchange was cancelled. May be called
  // from any callback.
  virtual ExchangeId Start(HttpRequest request, HttpStream& stream) = 0;
  // Unknown or ended: no effect. May be called from any callback, also of the same exchange.
  virtual void Cancel(ExchangeId id) = 0;
};

}  // namespace sluice
