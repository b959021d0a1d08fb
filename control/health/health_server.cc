// SPDX-License-Identifier: Apache-2.0
#include "control/health/health_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <set>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/health/health_keeper.h"
#include "control/health/listen_socket.h"

namespace sluice {
namespace {

constexpr absl::Duration kKeeperPoll = absl::Milliseconds(50);  // while one starts
constexpr absl::Duration kKeeperRetry = absl::Seconds(10);
constexpr int kHelloMs = 1000;
constexpr char kHealthz[] = "/healthz";
constexpr char kLivez[] = "/livez";

std::uint64_t Ns(absl::Duration duration) {
  return static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(duration));
}

std::string ServiceKey(const ObjectName& service, const std::string& host, std::uint16_t port) {
  return absl::StrCat("service ", service.name_space, "/", service.name, " ", host, " ", port);
}

}  // namespace

std::string HealthServer::ProxyKey(const std::string& host, std::uint16_t port) {
  return absl::StrCat("proxy ", host, " ", port);
}

HealthServer::HealthServer(HealthServerOptions options, const Clock& clock, PortSink ports,
                           WarningSink warnings)
    : options_(std::move(options)),
      clock_(clock),
      port_sink_(std::move(ports)),
      warnings_(std::move(warnings)),
      proxy_said_ns_(clock.MonotonicNs()) {}

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Create(HealthServerOptions options,
                                                                   const Clock& clock,
                                                                   PortSink ports,
                                                                   WarningSink warnings) {
  auto server = absl::WrapUnique(
      new HealthServer(std::move(options), clock, std::move(ports), std::move(warnings)));
  ASSIGN_OR_RETURN(server->loop_, EventLoop::Create());
  if (server->options_.keeper && !server->TryKeeper()) server->StartKeeper();
  return server;
}

HealthServer::~HealthServer() {
  if (thread_.joinable()) {
    // What is answered last is what the keeper goes on with.
    loop_->Post([this] {
      TellKeeper();
      loop_->Stop();
    });
    thread_.join();
  }
  // Sockets first, then the word to the keeper, which begins to accept when this end closes.
  ports_.clear();
  if (keeper_.valid()) loop_->Unwatch(keeper_.get());
}

void HealthServer::Start() {
  tick_ = loop_->RunAfter(absl::ZeroDuration(), [this] { Tick(); });
  thread_ = std::thread([this] { loop_->Run(); });
}

absl::Status HealthServer::ListenProxy(const std::string& host, std::uint16_t port) {
  const std::string key = ProxyKey(host, port);
  absl::StatusOr<UniqueFd> listener = OpenOrInherit(key, host, port);
  if (absl::IsInvalidArgument(listener.status())) return listener.status();
  wanted_[key] = {{}, host, {port, {}}};
  if (!listener.ok()) {
    // Another proxy's, most likely, that this one is to follow: a node must not stay without it.
    failures_[key] = {{}, port, std::string(listener.status().message())};
    return listener.status();
  }
  Port& opened = ports_[key];
  opened.listener = *std::move(listener);
  if (serving_) Serve(opened);
  return absl::OkStatus();
}

void HealthServer::SetProxy(ProxyHealth proxy) {
  loop_->Post([this, proxy = std::move(proxy)] {
    proxy_ = proxy;
    proxy_said_ns_ = clock_.MonotonicNs();
    // With Services' ports it waits for their counts too, which come with the first sync.
    if (!serving_ && proxy_.synced && services_said_) TakeSockets();
    TellKeeper();  // so that it is never behind what was answered here
  });
}

void HealthServer::SetServices(std::optional<std::vector<IpAddress>> addresses,
                               std::map<ObjectName, ServiceHealth> services) {
  loop_->Post([this, addresses = std::move(addresses), services = std::move(services)] {
    std::erase_if(wanted_, [](const auto& one) { return !one.second.service.name.empty(); });
    for (const auto& [name, health] : services) {
      if (!addresses.has_value()) {
        wanted_[ServiceKey(name, "::", health.port)] = {name, "::", health};
        continue;
      }
      for (const IpAddress& address : *addresses) {
        const std::string host = address.ToString();
        wanted_[ServiceKey(name, host, health.port)] = {name, host, health};
      }
    }
    services_said_ = true;
    OpenWanted();
  });
}

HealthRequests HealthServer::requests() const {
  return {requests_[0], requests_[1], requests_[2], requests_[3]};
}

absl::StatusOr<UniqueFd> HealthServer::OpenOrInherit(const std::string& key,
                                                     const std::string& host, std::uint16_t port) {
  if (auto inherited = inherited_.extract(key)) return std::move(inherited.mapped());
  return ListenSocket(host, port);
}

void HealthServer::Serve(Port& port) {
  UniqueFd listener(::fcntl(port.listener.get(), F_DUPFD_CLOEXEC, 0));
  if (!listener.valid()) return;  // out of descriptors: tried again with the next tick
  Port* one = &port;              // nodes of a map stay where they are
  auto server = AnswerServer::Start(
      std::move(listener), *loop_,
      [this, one](const HealthQuestion& question) { return Count(*one, question); });
  if (server.ok()) port.server = *std::move(server);
}

// A Service's port on several addresses is one: it is well when none of them fails.
void HealthServer::SayOpen(const ObjectName& service, std::uint16_t port) {
  for (const auto& [key, failure] : failures_) {
    if (failure.service == service) return;
  }
  port_sink_(service, port, absl::OkStatus());
}

// Of ports that nobody asks for any more.
void HealthServer::DropFailures() {
  std::vector<Failure> gone;
  std::erase_if(failures_, [&](const auto& failure) {
    if (wanted_.contains(failure.first)) return false;
    gone.push_back(failure.second);
    return true;
  });
  for (const Failure& failure : gone) SayOpen(failure.service, failure.port);
}

void HealthServer::OpenWanted() {
  std::vector<std::string> gone;
  for (const auto& [key, port] : ports_) {
    if (!wanted_.contains(key)) gone.push_back(key);
  }
  for (const std::string& key : gone) Close(key);
  DropFailures();
  for (const auto& [key, wanted] : wanted_) {
    const auto open = ports_.find(key);
    if (open != ports_.end()) {
      open->second.local = wanted.health.local;
      continue;
    }
    absl::StatusOr<UniqueFd> listener = OpenOrInherit(key, wanted.host, wanted.health.port);
    if (!listener.ok()) {
      Failure failure = {wanted.service, wanted.health.port,
                         std::string(listener.status().message())};
      Failure& told = failures_[key];
      const bool again = told.why == failure.why;
      told = std::move(failure);
      if (!again) port_sink_(wanted.service, wanted.health.port, listener.status());
      continue;
    }
    if (failures_.erase(key) > 0) SayOpen(wanted.service, wanted.health.port);
    Port& port = ports_[key];
    port.service = wanted.service;
    port.listener = *std::move(listener);
    port.local = wanted.health.local;
    if (serving_) Serve(port);
  }
  next_open_ns_ = clock_.MonotonicNs() + Ns(options_.open_retry);
  TellKeeper();
}

void HealthServer::Close(const std::string& key) {
  ports_.erase(key);
  if (!keeper_.valid()) return;
  KeeperMessage message;
  message.drop = key;
  if (const absl::Status sent = SendMessage(keeper_.get(), message, -1); !sent.ok()) {
    LoseKeeper(std::string(sent.message()));
  }
}

// A keeper's sockets are this agent's from here on, and so are the answers.
void HealthServer::TakeSockets() {
  serving_ = true;
  if (keeper_.valid()) {
    KeeperMessage take;
    take.take = true;
    if (const absl::Status sent = SendMessage(keeper_.get(), take, -1); !sent.ok()) {
      LoseKeeper(std::string(sent.message()));
    }
  }
  for (auto& [key, port] : ports_) {
    if (port.server == nullptr) Serve(port);
  }
}

ProxyHealth HealthServer::CurrentProxy() const {
  ProxyHealth proxy = proxy_;
  proxy.loop_answers = clock_.MonotonicNs() - proxy_said_ns_ <= Ns(options_.loop_silence);
  return proxy;
}

HealthAnswer HealthServer::Answer(const Port& port, const HealthQuestion& question) const {
  const ProxyHealth proxy = CurrentProxy();
  const absl::Time now = clock_.Now();
  if (!port.service.name.empty()) {
    return ServiceAnswer(port.service.name_space, port.service.name, port.local.For(question.v4),
                         IsHealthy(proxy));
  }
  if (question.path == kHealthz) return ProxyAnswer(proxy, now, true);
  if (question.path == kLivez) return ProxyAnswer(proxy, now, false);
  return {404, "", {}};
}

HealthAnswer HealthServer::Count(const Port& port, const HealthQuestion& question) {
  HealthAnswer answer = Answer(port, question);
  if (port.service.name.empty() && answer.code != 404) {
    const std::size_t first = question.path == kHealthz ? 0 : 2;
    ++requests_[first + (answer.code == 200 ? 0 : 1)];
  }
  return answer;
}

KeptAnswers HealthServer::AnswersToKeep(const Port& port) const {
  KeptAnswers answers;
  for (const bool v4 : {true, false}) {
    if (!port.service.name.empty()) {
      answers[KeptKey(kAnyPath, v4)] = Answer(port, {kAnyPath, v4});
      continue;
    }
    for (const char* path : {kHealthz, kLivez})
      answers[KeptKey(path, v4)] = Answer(port, {path, v4});
  }
  return answers;
}

bool HealthServer::TryKeeper() {
  absl::StatusOr<UniqueFd> keeper = ConnectToKeeper(options_.state_dir);
  if (!keeper.ok()) return false;
  keeper_ = *std::move(keeper);
  const absl::Status taken = TakeOver();
  if (!taken.ok()) {
    warnings_(absl::StrCat("keeper of health sockets: ", taken.message()));
    inherited_.clear();
    serving_ = true;
    keeper_.Reset();
    return false;
  }
  const absl::Status watched =
      loop_->Watch(keeper_.get(), EPOLLIN, [this](std::uint32_t) { OnKeeper(); });
  if (!watched.ok()) {
    keeper_.Reset();
    return false;
  }
  if (serving_) TakeSockets();  // nobody else answers
  return keeper_.valid();
}

absl::Status HealthServer::TakeOver() {
  while (true) {
    pollfd ready{keeper_.get(), POLLIN, 0};
    if (::poll(&ready, 1, kHelloMs) <= 0) return absl::DeadlineExceededError("it says nothing");
    ASSIGN_OR_RETURN(std::optional<ReceivedMessage> received, ReceiveMessage(keeper_.get()));
    if (!received.has_value()) continue;
    const KeeperMessage& message = received->message;
    if (!message.held.empty() && received->fd.valid()) {
      inherited_[message.held] = std::move(received->fd);
    }
    if (!message.end) continue;
    // An agent that answers already does not stop for it.
    if (!thread_.joinable()) serving_ = !message.serving;
    return absl::OkStatus();
  }
}

void HealthServer::StartKeeper() {
  if (!options_.start_keeper) return;
  keeper_retry_ns_ = clock_.MonotonicNs() + Ns(kKeeperRetry);
  const absl::StatusOr<int> pid = SpawnHealthKeeper(options_.state_dir);
  if (pid.ok()) {
    keeper_pid_ = *pid;
  } else if (!keeper_warned_) {
    keeper_warned_ = true;
    warnings_(absl::StrCat("health answers will not survive a restart: ", pid.status().message()));
  }
}

void HealthServer::Tick() {
  const std::uint64_t now = clock_.MonotonicNs();
  if (keeper_pid_ != 0 && ::waitpid(keeper_pid_, nullptr, WNOHANG) == keeper_pid_) keeper_pid_ = 0;
  if (options_.keeper && !keeper_.valid() && !TryKeeper() && now >= keeper_retry_ns_) StartKeeper();
  for (auto& [key, port] : ports_) {
    if (serving_ && port.server == nullptr) Serve(port);
  }
  if (!failures_.empty() && now >= next_open_ns_) OpenWanted();
  TellKeeper();
  const bool keeper_starts = keeper_pid_ != 0 && !keeper_.valid();
  tick_ = loop_->RunAfter(keeper_starts ? kKeeperPoll : options_.tick, [this] { Tick(); });
}

void HealthServer::OnKeeper() {
  while (keeper_.valid()) {
    const absl::StatusOr<std::optional<ReceivedMessage>> received = ReceiveMessage(keeper_.get());
    if (!received.ok()) return LoseKeeper(std::string(received.status().message()));
    if (!received->has_value()) return;
    if ((*received)->message.over && !serving_) TakeSockets();
  }
}

void HealthServer::LoseKeeper(const std::string& why) {
  if (!keeper_.valid()) return;
  loop_->Unwatch(keeper_.get());
  keeper_.Reset();
  for (auto& [key, port] : ports_) port.with_keeper = false;
  warnings_(absl::StrCat("keeper of health sockets: ", why));
  if (!serving_) TakeSockets();
}

void HealthServer::TellKeeper() {
  // What it holds and this agent does not want is known once both kinds of ports are.
  if (services_said_ && serving_) {
    for (auto it = inherited_.begin(); it != inherited_.end() && keeper_.valid();) {
      const std::string key = it->first;
      it = inherited_.erase(it);
      // A keeper that was lost and found again, still alive, has duplicates of what is open here.
      if (!ports_.contains(key)) Close(key);
    }
  }
  // Until it is told to stop, the keeper answers with what the earlier agent said.
  if (!serving_) return;
  for (auto& [key, port] : ports_) {
    if (!keeper_.valid()) return;
    TellKeeper(key, port);
  }
}

void HealthServer::TellKeeper(const std::string& key, Port& port) {
  KeptAnswers answers = AnswersToKeep(port);
  if (port.with_keeper && answers == port.kept) return;
  KeeperMessage message;
  message.hold = key;
  message.answers = answers;
  const absl::Status sent =
      SendMessage(keeper_.get(), message, port.with_keeper ? -1 : port.listener.get());
  if (absl::IsUnavailable(sent)) return;  // its queue is full: with the next tick
  if (!sent.ok()) return LoseKeeper(std::string(sent.message()));
  port.with_keeper = true;
  port.kept = std::move(answers);
}

}  // namespace sluice
