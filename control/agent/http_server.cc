// SPDX-License-Identifier: Apache-2.0
#include "control/agent/http_server.h"

#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/model/ip_address.h"

namespace sluice {
namespace {

constexpr std::size_t kThreads = 4;  // a waiting /v1/sync takes one

std::unique_ptr<httplib::Server> NewServer() {
  auto server = std::make_unique<httplib::Server>();
  server->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // Without the library's SO_REUSEPORT, by which two servers on one port would share it silently.
  server->set_socket_options([](socket_t socket) {
    const int on = 1;
    // A refusal only means that the port stays taken for a minute after a restart.
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  server->set_keep_alive_timeout(1);  // seconds that the end of the server waits for idle clients
  server->set_default_headers({{"X-Content-Type-Options", "nosniff"}});
  return server;
}

}  // namespace

absl::StatusOr<BindAddress> ParseBindAddress(std::string_view address, int default_port) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(address), "\" is not an address with a port"));
  std::string host(address);
  std::string port_text;
  if (!host.empty() && host[0] == '[') {
    const std::size_t end = host.find(']');
    if (end == std::string::npos) return bad;
    const std::string rest = host.substr(end + 1);
    host = host.substr(1, end - 1);
    if (!rest.empty() && rest[0] != ':') return bad;
    if (!rest.empty()) port_text = rest.substr(1);
    if (!rest.empty() && port_text.empty()) return bad;
  } else if (const std::size_t colon = host.find(':');
             colon != std::string::npos && host.find(':', colon + 1) == std::string::npos) {
    port_text = host.substr(colon + 1);
    host = host.substr(0, colon);
    if (port_text.empty()) return bad;
  }
  BindAddress parsed{host.empty() ? "0.0.0.0" : host, default_port};
  if (!IpAddress::Parse(parsed.host).ok() && parsed.host != "::") return bad;
  if (!port_text.empty() &&
      (!absl::SimpleAtoi(port_text, &parsed.port) || parsed.port < 0 || parsed.port > 65535)) {
    return bad;
  }
  return parsed;
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::ListenTcp(std::string_view address,
                                                                  int default_port,
                                                                  const Routes& routes) {
  ASSIGN_OR_RETURN(const BindAddress bind, ParseBindAddress(address, default_port));
  std::unique_ptr<httplib::Server> server = NewServer();
  errno = 0;
  if (!server->bind_to_port(bind.host, bind.port)) {
    return ErrnoStatus(errno != 0 ? errno : EADDRNOTAVAIL,
                       absl::StrCat("listen on ", std::string(address)));
  }
  routes(*server);
  auto listening = absl::WrapUnique(new HttpServer(std::move(server)));
  listening->Start();
  return listening;
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::ListenUnix(const std::string& path,
                                                                   const Routes& routes) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, path);
  std::unique_ptr<httplib::Server> server = NewServer();
  server->set_address_family(AF_UNIX);
  errno = 0;
  if (!server->bind_to_port(path, 80)) {
    return ErrnoStatus(errno != 0 ? errno : EINVAL, absl::StrCat("listen on ", path));
  }
  if (::chmod(path.c_str(), 0600) != 0) return ErrnoStatus(errno, path);
  routes(*server);
  auto listening = absl::WrapUnique(new HttpServer(std::move(server)));
  listening->socket_path_ = path;
  listening->Start();
  return listening;
}

HttpServer::HttpServer(std::unique_ptr<httplib::Server> server) : server_(std::move(server)) {}

HttpServer::~HttpServer() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());  // at worst the next start does it
}

void HttpServer::Start() {
  auto ended = std::make_shared<std::atomic<bool>>(false);  // shared with the thread
  thread_ = std::thread([server = server_.get(), ended] {
    server->listen_after_bind();
    *ended = true;
  });
  // stop() has no effect on a server that does not run yet, and would leave the thread for good.
  while (!server_->is_running() && !*ended) std::this_thread::yield();
}

}  // namespace sluice
