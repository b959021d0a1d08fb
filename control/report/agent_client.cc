// SPDX-License-Identifier: Apache-2.0
#include "control/report/agent_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "control/base/errno_status.h"
#include "control/base/unique_fd.h"
#include "httplib.h"

namespace sluice::report {
namespace {

// An agent that holds a lock on its loop for longer than this is broken, and says so by silence.
constexpr absl::Duration kAnswerTimeout = absl::Seconds(10);
// How often Sync() looks whether an agent has come up.
constexpr absl::Duration kRetryInterval = absl::Milliseconds(20);
// On top of the time that the agent itself was given to wait, so that its own answer arrives.
constexpr absl::Duration kAnswerMargin = absl::Seconds(2);

constexpr int kHttpOk = 200;
constexpr int kHttpGatewayTimeout = 504;

httplib::Client MakeClient(const std::string& socket_path, absl::Duration timeout) {
  // The port means nothing here; without one the library would look for it in the path.
  httplib::Client client(socket_path, 80);
  client.set_address_family(AF_UNIX);
  client.set_default_headers({{"Host", "localhost"}});
  client.set_connection_timeout(absl::ToChronoMilliseconds(kAnswerTimeout));
  client.set_read_timeout(absl::ToChronoMilliseconds(timeout));
  return client;
}

absl::Status HttpStatusError(const httplib::Response& response, const std::string& path) {
  return absl::InternalError(absl::StrCat("the agent answers ", path, " with HTTP ",
                                          response.status, ": ", response.body));
}

void Pause(absl::Duration duration) {
  // poll() of nothing: a wait that a signal ends early, which is as good here.
  poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(duration)));
}

}  // namespace

AgentClient::AgentClient(std::string state_dir)
    : socket_path_(absl::StrCat(state_dir, "/sluiced.sock")) {}

absl::Status AgentClient::CheckSocket() const {
  // The library says only "connection failed"; who asks needs to know why.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(socket_path_, ": longer than a unix socket's path may be (",
                     sizeof(address.sun_path) - 1, " bytes); use a shorter --state-dir"));
  }
  std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "open a unix socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) {
    return absl::UnavailableError(absl::StrCat("no agent listens on ", socket_path_));
  }
  return ErrnoStatus(error, absl::StrCat("connect to ", socket_path_));
}

absl::StatusOr<std::string> AgentClient::Get(const std::string& path) const {
  if (absl::Status status = CheckSocket(); !status.ok()) return status;
  httplib::Client client = MakeClient(socket_path_, kAnswerTimeout);
  const httplib::Result result = client.Get(path);
  if (!result) {
    return absl::UnavailableError(absl::StrCat(
        "the agent on ", socket_path_, " did not answer: ", httplib::to_string(result.error())));
  }
  if (result->status != kHttpOk) return HttpStatusError(*result, path);
  return std::move(result->body);
}

absl::StatusOr<AgentSnapshot> AgentClient::Snapshot() const {
  const absl::StatusOr<std::string> body = Get("/v1/snapshot");
  return body.ok() ? ParseAgentSnapshot(*body) : body.status();
}

absl::StatusOr<std::vector<AgentDrop>> AgentClient::Drops() const {
  const absl::StatusOr<std::string> body = Get("/v1/drops");
  return body.ok() ? ParseAgentDrops(*body) : body.status();
}

absl::Status AgentClient::Probe(bool ready) const {
  return Get(ready ? "/v1/ready" : "/v1/live").status();
}

absl::Status AgentClient::SyncOnce(absl::Duration timeout) const {
  if (absl::Status status = CheckSocket(); !status.ok()) return status;
  httplib::Client client = MakeClient(socket_path_, timeout + kAnswerMargin);
  const std::string path = absl::StrCat("/v1/sync?timeoutMs=", absl::ToInt64Milliseconds(timeout));
  const httplib::Result result = client.Post(path);
  if (!result) {
    return absl::UnavailableError(absl::StrCat("the agent on ", socket_path_,
                                               " went away: ", httplib::to_string(result.error())));
  }
  if (result->status == kHttpOk) return absl::OkStatus();
  if (result->status == kHttpGatewayTimeout) {
    return absl::DeadlineExceededError(absl::StrCat("not in the maps yet: ", result->body));
  }
  return HttpStatusError(*result, path);
}

absl::Status AgentClient::Sync(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    const absl::Status status = SyncOnce(left);
    if (status.code() != absl::StatusCode::kUnavailable) return status;
    if (absl::Now() >= deadline) return absl::DeadlineExceededError(status.message());
    Pause(kRetryInterval);
  }
}

}  // namespace sluice::report
