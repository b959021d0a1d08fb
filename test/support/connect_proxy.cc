// SPDX-License-Identifier: Apache-2.0
#include "test/support/connect_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "control/base/errno_status.h"

namespace sluice::testing {
namespace {

constexpr int kLookMs = 20;  // how soon a thread sees that it shall stop

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Passes on what `from` has to say. False: it has ended.
bool Pass(int from, int to) {
  std::array<char, 16384> bytes;
  const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
  return got > 0 && SendAll(to, {bytes.data(), static_cast<std::size_t>(got)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectProxy>> ConnectProxy::Start(std::uint16_t server_port) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (!listener.valid() ||
      ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener.get(), SOMAXCONN) != 0 ||
      ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return ErrnoStatus(errno, "listen as a proxy");
  }
  return std::unique_ptr<ConnectProxy>(
      new ConnectProxy(std::move(listener), ntohs(address.sin_port), server_port));
}

ConnectProxy::ConnectProxy(UniqueFd listener, std::uint16_t port, std::uint16_t server_port)
    : listener_(std::move(listener)),
      port_(port),
      server_port_(server_port),
      thread_([this] { Serve(); }) {}

ConnectProxy::~ConnectProxy() {
  stop_ = true;
  thread_.join();
}

std::string ConnectProxy::url() const { return absl::StrCat("http://127.0.0.1:", port_); }

std::vector<std::string> ConnectProxy::asked() const {
  const absl::MutexLock lock(&mutex_);
  return asked_;
}

void ConnectProxy::Serve() {
  while (!stop_) {
    pollfd waiting{listener_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, kLookMs) <= 0) continue;
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client.valid()) {
      tunnels_.emplace_back(
          [this, client = std::move(client)]() mutable { Tunnel(std::move(client)); });
    }
  }
  for (std::thread& tunnel : tunnels_) tunnel.join();
}

void ConnectProxy::Tunnel(UniqueFd client) {
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    char byte = 0;
    if (::recv(client.get(), &byte, 1, 0) != 1) return;
    head += byte;
  }
  const std::vector<std::string> words = absl::StrSplit(head, absl::MaxSplits(' ', 2));
  if (words.size() != 3 || words[0] != "CONNECT") {
    SendAll(client.get(), "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  {
    const absl::MutexLock lock(&mutex_);
    asked_.push_back(words[1]);
  }
  const UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(server_port_);
  if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      !SendAll(client.get(), "HTTP/1.1 200 Connection Established\r\n\r\n")) {
    return;
  }
  while (!stop_) {
    std::array<pollfd, 2> ends = {{{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}}};
    if (::poll(ends.data(), ends.size(), kLookMs) <= 0) continue;
    if (ends[0].revents != 0 && !Pass(client.get(), server.get())) return;
    if (ends[1].revents != 0 && !Pass(server.get(), client.get())) return;
  }
}

}  // namespace sluice::testing
