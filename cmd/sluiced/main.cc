// SPDX-License-Identifier: Apache-2.0
// sluiced: the agent, one a node. Reads flags, runs the agent on its loop until a signal comes, and
// leaves the datapath working when it ends.
#include <bpf/libbpf.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "cmd/sluiced/flags.h"
#include "control/agent/agent.h"
#include "control/agent/node_datapath.h"
#include "control/agent/sd_notify.h"
#include "control/agent/state_lock.h"
#include "control/base/clock.h"
#include "control/base/errno_status.h"
#include "control/base/event_loop.h"
#include "control/base/status_macros.h"
#include "control/config/config_watch.h"
#include "control/datapath/loader.h"
#include "control/datapath/socket_ender.h"
#include "control/health/health_keeper.h"
#include "control/takeover/command.h"
#include "control/takeover/drain.h"
#include "control/takeover/takeover.h"

namespace sluice {
namespace {

void Log(Severity severity, const std::string& message) {
  switch (severity) {
    case Severity::kDebug:
      return spdlog::debug("{}", message);
    case Severity::kInfo:
      return spdlog::info("{}", message);
    case Severity::kWarning:
      return spdlog::warn("{}", message);
    case Severity::kError:
      return spdlog::error("{}", message);
  }
}

// libbpf's own words repeat what our errors say, or tell of what was only tried.
int LogLibbpf(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char text[1024];
  const int length = std::vsnprintf(text, sizeof(text), format, arguments);
  spdlog::debug("{}", std::string(absl::StripTrailingAsciiWhitespace(text)));
  return length;
}

void SetUpLogging(bool verbose) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("sluiced"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  libbpf_set_print(LogLibbpf);
}

void Notify(const std::string& state) {
  const char* socket = std::getenv("NOTIFY_SOCKET");
  const absl::Status sent = SdNotify(socket == nullptr ? "" : socket, state);
  if (!sent.ok()) spdlog::warn("{}", std::string(sent.message()));
}

// SIGTERM and SIGINT as a descriptor. Before any thread is started: threads inherit the mask.
absl::StatusOr<UniqueFd> TakeSignals() {
  ::signal(SIGPIPE, SIG_IGN);  // a client of the endpoints that goes away is no reason to end
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return ErrnoStatus(errno, "sigprocmask");
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "signalfd");
  return fd;
}

// What --oom-score-adj asks for; a node is not left without a proxy because it may not be done.
void SetOomScore(int score) {
  std::ofstream file("/proc/self/oom_score_adj");
  file << score << std::flush;
  if (!file.good()) spdlog::warn("--oom-score-adj {}: {}", score, std::strerror(errno));
}

absl::Status Run(const SluicedFlags& flags) {
  const AgentOptions& options = flags.options;
  for (const std::string& warning : flags.warnings) spdlog::warn("{}", warning);
  if (flags.oom_score_adj) SetOomScore(*flags.oom_score_adj);
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(options.state_dir));
  ASSIGN_OR_RETURN(const UniqueFd signals, TakeSignals());
  ASSIGN_OR_RETURN(const std::unique_ptr<EventLoop> loop, EventLoop::Create());
  RETURN_IF_ERROR(loop->Watch(signals.get(), EPOLLIN, [&loop](std::uint32_t) {
    Notify("STOPPING=1");
    loop->Stop();
  }));
  const SystemClock clock;
  const auto on_ready = [](const std::string& status) {
    spdlog::info("ready: {}", status);
    Notify(absl::StrCat("READY=1\nSTATUS=", status));
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Agent> agent,
                   Agent::Create(options, *loop, clock, Log, on_ready));
  RETURN_IF_ERROR(agent->Start());
  std::optional<ConfigWatch> config;
  if (!flags.config_file.empty()) {
    config.emplace(flags.config_file, flags.config_text, *loop, [&] {
      spdlog::info("{} has changed: ending, to be started again with it", flags.config_file);
      Notify("STOPPING=1");
      loop->Stop();
    });
  }
  loop->Run();
  spdlog::info("stopped; the datapath goes on");
  return absl::OkStatus();
}

absl::Status CleanUp(const AgentOptions& options) {
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(options.state_dir));
  return CleanUpNode(options.bpffs, options.state_dir);
}

// Until no connection is left, or a signal comes.
absl::Status DrainNode(const AgentOptions& options) {
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(options.state_dir));
  ASSIGN_OR_RETURN(const UniqueFd signals, TakeSignals());
  ASSIGN_OR_RETURN(const std::unique_ptr<EventLoop> loop, EventLoop::Create());
  RETURN_IF_ERROR(loop->Watch(signals.get(), EPOLLIN, [&loop](std::uint32_t) { loop->Stop(); }));
  const SystemClock clock;
  absl::Status status;
  const auto on_progress = [&](const absl::StatusOr<std::uint64_t>& connections) {
    status = connections.status();
    if (status.ok()) spdlog::info("connections that are still open: {}", *connections);
    if (!status.ok() || *connections == 0) loop->Stop();
  };
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Drain> drain,
      Drain::Start(PinFolder(options.bpffs), *loop, clock, options.timeouts, on_progress));
  spdlog::info("{} frontends are served no longer", drain->frontends());
  loop->Run();
  return status;
}

// Beside a running agent: it shares nothing with it.
absl::Status CleanUpKubeProxy() {
  SystemCommandRunner runner;
  const TakeoverResult result = RemoveKubeProxy(runner, "/proc");
  for (const std::string& removed : result.removed) spdlog::info("removed {}", removed);
  for (const std::string& kept : result.kept) spdlog::warn("kept {}", kept);
  if (result.status.ok() && result.removed.empty())
    spdlog::info("nothing of kube-proxy's is there");
  return result.status;
}

int Main(int argc, char** argv) {
  // How it starts itself: nobody else's business, and no flag.
  const bool end_sockets = argc == 2 && std::string_view(argv[1]) == "--end-sockets";
  if (end_sockets) return RunSocketEnder(STDIN_FILENO, STDOUT_FILENO);
  const absl::StatusOr<SluicedFlags> flags = ParseFlags(argc, argv);
  if (!flags.ok()) {
    std::fprintf(stderr, "sluiced: %s\n", std::string(flags.status().message()).c_str());
    return 2;
  }
  if (flags->exit_code >= 0) return flags->exit_code;
  if (!flags->keep_health.empty()) {
    const absl::Status kept = RunHealthKeeper(
        {.state_dir = flags->options.state_dir, .once = flags->keep_health == "once"});
    if (!kept.ok()) std::fprintf(stderr, "sluiced: %s\n", std::string(kept.message()).c_str());
    return kept.ok() ? 0 : 1;
  }
  SetUpLogging(flags->verbose);
  const absl::Status status = flags->cleanup_kube_proxy ? CleanUpKubeProxy()
                              : flags->drain            ? DrainNode(flags->options)
                              : flags->cleanup          ? CleanUp(flags->options)
                                                        : Run(*flags);
  if (status.ok()) return 0;
  spdlog::critical("{}", std::string(status.message()));
  return 1;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
