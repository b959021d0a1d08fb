// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_ender_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/memory/memory.h"

#include "control/base/errno_status.h"
#include "control/base/spawn_self.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

// Far above what it takes: each of some hundred namespaces may take its two seconds.
constexpr absl::Duration kDeadline = absl::Minutes(1);

// A file in memory: writing to a pipe would wait for its reader.
absl::StatusOr<UniqueFd> FileOf(std::span<const abi::lost_socket> sockets) {
  UniqueFd file(::memfd_create("lost sockets", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  const auto bytes = std::as_bytes(sockets);
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      ::lseek(file.get(), 0, SEEK_SET) != 0) {
    return ErrnoStatus(errno, "list of sockets");
  }
  return file;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketEnderProcess>> SocketEnderProcess::Start(
    std::span<const abi::lost_socket> sockets, EventLoop& loop, Done done) {
  ASSIGN_OR_RETURN(const UniqueFd input, FileOf(sockets));
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd answer(ends[0]);
  const UniqueFd output(ends[1]);
  ASSIGN_OR_RETURN(
      const pid_t pid,
      SpawnSelf({"--end-sockets"}, {.files = {input.get(), output.get(), STDERR_FILENO}}));
  auto process =
      absl::WrapUnique(new SocketEnderProcess(loop, std::move(done), std::move(answer), pid));
  SocketEnderProcess* const self = process.get();
  RETURN_IF_ERROR(
      loop.Watch(self->answer_.get(), EPOLLIN, [self](std::uint32_t) { self->OnAnswer(); }));
  self->deadline_ = loop.RunAfter(kDeadline, [self] {
    self->Finish(absl::DeadlineExceededError("sluiced --end-sockets does not answer"));
  });
  return process;
}

SocketEnderProcess::SocketEnderProcess(EventLoop& loop, Done done, UniqueFd answer, pid_t pid)
    : loop_(loop), done_(std::move(done)), answer_(std::move(answer)), pid_(pid) {}

SocketEnderProcess::~SocketEnderProcess() {
  loop_.Unwatch(answer_.get());
  loop_.Cancel(deadline_);
  ::kill(pid_, SIGKILL);
  // It sleeps nowhere for long; its children may, and are not waited for.
  ::waitpid(pid_, nullptr, 0);
}

void SocketEnderProcess::OnAnswer() {
  EndedSockets result;
  const ssize_t got = ::read(answer_.get(), &result, sizeof(result));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got == sizeof(result)) return Finish(result);
  Finish(absl::InternalError("sluiced --end-sockets has ended without an answer"));
}

void SocketEnderProcess::Finish(const absl::StatusOr<EndedSockets>& result) {
  loop_.Unwatch(answer_.get());
  loop_.Cancel(deadline_);
  // Who is called may destroy this.
  const Done done = std::exchange(done_, nullptr);
  done(result);
}

}  // namespace sluice
