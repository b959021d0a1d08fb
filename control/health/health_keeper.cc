// SPDX-License-Identifier: Apache-2.0
#include "control/health/health_keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/spawn_self.h"
#include "control/base/status_macros.h"

extern char** environ;

namespace sluice {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(1);  // with an agent that reads many sockets

}  // namespace

HealthKeeper::HealthKeeper(HealthKeeperOptions options, EventLoop& loop)
    : options_(std::move(options)), loop_(loop) {}

HealthKeeper::~HealthKeeper() {
  loop_.Cancel(expiry_);
  if (agent_.valid()) loop_.Unwatch(agent_.get());
  if (listener_.valid()) loop_.Unwatch(listener_.get());
}

absl::Status HealthKeeper::Start() {
  ASSIGN_OR_RETURN(listener_, ListenForAgents(options_.state_dir));
  if (options_.once) expiry_ = loop_.RunAfter(options_.keep, [this] { Expire(); });
  return loop_.Watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { OnAgent(); });
}

void HealthKeeper::OnAgent() {
  UniqueFd agent(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!agent.valid()) return;
  // The agent's own lock lets one of them run, so that an earlier one is gone or going.
  if (agent_.valid()) AgentGone();
  agent_ = std::move(agent);
  const bool ready =
      Introduce().ok() &&
      loop_.Watch(agent_.get(), EPOLLIN, [this](std::uint32_t) { OnMessages(); }).ok();
  if (!ready) return agent_.Reset();
  if (serving_) return;
  loop_.Cancel(expiry_);
  expiry_ = 0;
}

absl::Status HealthKeeper::Introduce() {
  for (const auto& [key, held] : held_) {
    KeeperMessage message;
    message.held = key;
    RETURN_IF_ERROR(SendMessage(agent_.get(), message, held.listener.get(), kPatience));
  }
  KeeperMessage end;
  end.end = true;
  end.serving = serving_;
  return SendMessage(agent_.get(), end, -1, kPatience);
}

void HealthKeeper::OnMessages() {
  while (agent_.valid()) {
    absl::StatusOr<std::optional<ReceivedMessage>> received = ReceiveMessage(agent_.get());
    if (!received.ok()) return AgentGone();
    if (!received->has_value()) return;
    OnMessage(**std::move(received));
  }
}

void HealthKeeper::OnMessage(ReceivedMessage received) {
  KeeperMessage& message = received.message;
  if (!message.drop.empty()) held_.erase(message.drop);
  if (!message.hold.empty()) {
    Held& held = held_[message.hold];
    if (received.fd.valid()) held.listener = std::move(received.fd);
    held.answers = std::move(message.answers);
    if (!held.listener.valid()) held_.erase(message.hold);
  }
  if (message.take) {
    StopServing();
    loop_.Cancel(expiry_);
    expiry_ = 0;
  }
}

void HealthKeeper::AgentGone() {
  loop_.Unwatch(agent_.get());
  agent_.Reset();
  // An agent that came and went without taking over does not make the answers any younger.
  if (serving_) return;
  Serve();
  loop_.Cancel(expiry_);
  expiry_ = loop_.RunAfter(options_.keep, [this] { Expire(); });
}

void HealthKeeper::Serve() {
  serving_ = true;
  serving_since_ = absl::Now();
  for (auto& [key, held] : held_) {
    UniqueFd listener(::fcntl(held.listener.get(), F_DUPFD_CLOEXEC, 0));
    if (!listener.valid()) continue;
    const Held* one = &held;  // nodes of a map stay where they are
    auto server = AnswerServer::Start(
        std::move(listener), loop_,
        [this, one](const HealthQuestion& question) { return Answer(*one, question); });
    if (server.ok()) held.server = *std::move(server);
  }
}

void HealthKeeper::StopServing() {
  serving_ = false;
  for (auto& [key, held] : held_) held.server.reset();
}

HealthAnswer HealthKeeper::Answer(const Held& held, const HealthQuestion& question) const {
  auto found = held.answers.find(KeptKey(question.path, question.v4));
  if (found == held.answers.end()) found = held.answers.find(KeptKey(kAnyPath, question.v4));
  if (found == held.answers.end()) return {404, "", {}};
  HealthAnswer answer = found->second;
  // RFC 9111, 5.1: so that a reader can tell that it is not of this moment.
  answer.headers.emplace_back("Age",
                              absl::StrCat(absl::ToInt64Seconds(absl::Now() - serving_since_)));
  return answer;
}

void HealthKeeper::Expire() {
  expiry_ = 0;
  StopServing();
  if (agent_.valid()) {
    KeeperMessage over;
    over.over = true;
    if (!SendMessage(agent_.get(), over, -1).ok()) AgentGone();
    return;
  }
  // Closed, so that checks fail as they do on a node without a proxy, and the ports are free.
  held_.clear();
  if (options_.once) loop_.Stop();
}

absl::Status RunHealthKeeper(const HealthKeeperOptions& options) {
  ::prctl(PR_SET_NAME, "sluice-health");
  ::signal(SIGPIPE, SIG_IGN);  // a client that goes away
  // A container's first process gets no signal that it does not handle.
  for (const int signal : {SIGTERM, SIGINT}) ::signal(signal, [](int) { ::_exit(0); });
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("create folder ", options.state_dir));
  const std::string path = absl::StrCat(options.state_dir, "/health-keeper.lock");
  const UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoStatus(errno, path);
  while (::flock(lock.get(), LOCK_EX | (options.once ? LOCK_NB : 0)) != 0) {
    if (errno == EWOULDBLOCK) return absl::OkStatus();
    if (errno != EINTR) return ErrnoStatus(errno, path);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<EventLoop> loop, EventLoop::Create());
  HealthKeeper keeper(options, *loop);
  RETURN_IF_ERROR(keeper.Start());
  loop->Run();
  return absl::OkStatus();
}

absl::StatusOr<int> SpawnHealthKeeper(const std::string& state_dir) {
  // Nobody who reads the agent's output waits for it.
  return SpawnSelf({"--keep-health=once", absl::StrCat("--state-dir=", state_dir)},
                   {.own_session = true});
}

}  // namespace sluice
