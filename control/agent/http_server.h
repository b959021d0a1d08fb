// SPDX-License-Identifier: Apache-2.0
// An HTTP server on threads of its own, over TCP or a unix socket.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace httplib {
class Server;
}

namespace sluice {

class HttpServer {
 public:
  using Routes = std::function<void(httplib::Server&)>;

  // `address`: "192.0.2.1:80", "[2001:db8::1]:80", ":80", or an address alone with `default_port`.
  // Errors: INVALID_ARGUMENT for anything else; ALREADY_EXISTS when the port is in use.
  static absl::StatusOr<std::unique_ptr<HttpServer>> ListenTcp(std::string_view address,
                                                               int default_port,
                                                               const Routes& routes);
  // Takes the place of a socket that an earlier process left at `path`; only root may connect.
  // The caller must know that no other process serves it.
  static absl::StatusOr<std::unique_ptr<HttpServer>> ListenUnix(const std::string& path,
                                                                const Routes& routes);
  // Stops listening, waits for the handlers that run, and removes a unix socket.
  ~HttpServer();

 private:
  explicit HttpServer(std::unique_ptr<httplib::Server> server);
  void Start();

  std::unique_ptr<httplib::Server> server_;
  std::string socket_path_;  // of a unix socket
  std::thread thread_;
};

// Splits a bind address as ListenTcp reads it. Exposed for its test.
struct BindAddress {
  std::string host;
  int port = 0;

  friend bool operator==(const BindAddress&, const BindAddress&) = default;
};
absl::StatusOr<BindAddress> ParseBindAddress(std::string_view address, int default_port);

}  // namespace sluice
