// SPDX-License-Identifier: Apache-2.0
#include "control/health/answer_server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "control/base/status_macros.h"

namespace sluice {
namespace {

// At a time; the rest waits in the backlog. Clients that connect and do not ask must be many, and
// come again all the time, to keep those out that do.
constexpr unsigned kConnections = 512;
constexpr unsigned kIdleSeconds = 2;
constexpr absl::Duration kLastAnswers = absl::Milliseconds(100);
constexpr int kPollMs = 5;
constexpr std::size_t kConnectionBytes = 8192;  // of memory, request headers included

bool IsV4(const sockaddr* address) {
  if (address == nullptr || address->sa_family == AF_INET) return true;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
}

MHD_Result Send(MHD_Connection* connection, const HealthAnswer& answer) {
  // The library copies the body and does not write to it; its signature is from before const.
  MHD_Response* response = MHD_create_response_from_buffer(
      answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  for (const auto& [name, value] : answer.headers) {
    MHD_add_response_header(response, name.c_str(), value.c_str());
  }
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(answer.code), response);
  MHD_destroy_response(response);
  return queued;
}

}  // namespace

struct AnswerServerCallbacks {
  static MHD_Result OnRequest(void* context, MHD_Connection* connection, const char* url,
                              const char* /*method*/, const char* /*version*/,
                              const char* /*upload*/, std::size_t* upload_size, void** state) {
    static char begun;
    if (*state == nullptr) {  // the head has come; a body may follow
      *state = &begun;
      return MHD_YES;
    }
    if (*upload_size != 0) {  // and says nothing
      *upload_size = 0;
      return MHD_YES;
    }
    const MHD_ConnectionInfo* client =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const bool v4 = client == nullptr || IsV4(client->client_addr);
    return Send(connection, static_cast<AnswerServer*>(context)->answerer_({url, v4}));
  }
};

absl::StatusOr<std::unique_ptr<AnswerServer>> AnswerServer::Start(UniqueFd listener,
                                                                  EventLoop& loop,
                                                                  HealthAnswerer answerer) {
  auto server = absl::WrapUnique(new AnswerServer(loop, std::move(answerer)));
  server->daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL, 0, nullptr, nullptr, AnswerServerCallbacks::OnRequest, server.get(),
      MHD_OPTION_LISTEN_SOCKET, listener.get(), MHD_OPTION_CONNECTION_LIMIT, kConnections,
      MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kConnectionBytes, MHD_OPTION_END);
  if (server->daemon_ == nullptr) return absl::InternalError("libmicrohttpd does not start");
  listener.Release();  // the daemon closes it
  const MHD_DaemonInfo* epoll = MHD_get_daemon_info(server->daemon_, MHD_DAEMON_INFO_EPOLL_FD);
  if (epoll == nullptr) return absl::InternalError("libmicrohttpd has no epoll here");
  server->epoll_fd_ = epoll->epoll_fd;
  AnswerServer* raw = server.get();
  RETURN_IF_ERROR(loop.Watch(raw->epoll_fd_, EPOLLIN, [raw](std::uint32_t) { raw->Turn(); }));
  return server;
}

AnswerServer::AnswerServer(EventLoop& loop, HealthAnswerer answerer)
    : loop_(loop), answerer_(std::move(answerer)) {}

AnswerServer::~AnswerServer() {
  loop_.Cancel(timer_);
  if (epoll_fd_ >= 0) loop_.Unwatch(epoll_fd_);
  if (daemon_ == nullptr) return;
  // Taken out first: a listening socket that others share must not be shut down with the daemon.
  const UniqueFd listener(MHD_quiesce_daemon(daemon_));
  AnswerOpenConnections();
  MHD_stop_daemon(daemon_);
}

// Who has connected already has nobody else to answer it.
void AnswerServer::AnswerOpenConnections() {
  const absl::Time give_up = absl::Now() + kLastAnswers;
  while (absl::Now() < give_up) {
    const MHD_DaemonInfo* open = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    if (open == nullptr || open->num_connections == 0) return;
    pollfd ready{epoll_fd_, POLLIN, 0};
    ::poll(&ready, 1, kPollMs);
    MHD_run(daemon_);
  }
}

void AnswerServer::Turn() {
  MHD_run(daemon_);
  loop_.Cancel(timer_);
  timer_ = 0;
  MHD_UNSIGNED_LONG_LONG ms = 0;
  if (MHD_get_timeout(daemon_, &ms) != MHD_YES) return;
  timer_ = loop_.RunAfter(absl::Milliseconds(static_cast<std::int64_t>(ms)), [this] {
    timer_ = 0;
    Turn();
  });
}

}  // namespace sluice
