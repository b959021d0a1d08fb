// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/command.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"

namespace sluice {
namespace {

// Where Debian has these programs; not on the PATH of a user who became root by sudo or in a pod.
constexpr char kSystemFolders[] = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

std::string Find(const std::string& program) {
  const char* path = std::getenv("PATH");
  const std::string folders = absl::StrCat(path == nullptr ? "" : path, ":", kSystemFolders);
  for (const absl::string_view folder : absl::StrSplit(folders, ':', absl::SkipEmpty())) {
    const std::string candidate = absl::StrCat(folder, "/", program);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

// Memory files and not pipes: nobody has to read while the other writes.
absl::StatusOr<UniqueFd> MemoryFile(std::string_view content) {
  UniqueFd file(::memfd_create("sluiced-command", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  while (!content.empty()) {
    const ssize_t written = ::write(file.get(), content.data(), content.size());
    if (written < 0) return ErrnoStatus(errno, "write to a memory file");
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return ErrnoStatus(errno, "lseek");
  return file;
}

absl::StatusOr<std::string> ReadAll(const UniqueFd& file) {
  std::string text;
  std::array<char, 65536> buffer;
  off_t offset = 0;
  while (true) {
    const ssize_t length = ::pread(file.get(), buffer.data(), buffer.size(), offset);
    if (length < 0) return ErrnoStatus(errno, "read a memory file");
    if (length == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(length));
    offset += length;
  }
}

absl::StatusOr<pid_t> Spawn(const std::string& path, const std::vector<std::string>& arguments,
                            const std::array<int, 3>& streams) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  const auto release = absl::MakeCleanup([&] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  });
  for (int stream = 0; stream < 3; ++stream) {
    posix_spawn_file_actions_adddup2(&actions, streams[static_cast<std::size_t>(stream)], stream);
  }
  // The agent's blocked signals are not the program's.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int err = ::posix_spawn(&pid, path.c_str(), &actions, &attributes, argv.data(), environ);
  if (err != 0) return ErrnoStatus(err, absl::StrCat("run ", path));
  return pid;
}

}  // namespace

absl::StatusOr<CommandResult> SystemCommandRunner::Run(const std::vector<std::string>& arguments,
                                                       std::string_view input) {
  const std::string path = Find(arguments.front());
  if (path.empty()) {
    return absl::NotFoundError(absl::StrCat("the program ", arguments.front(), " is not there"));
  }
  ASSIGN_OR_RETURN(const UniqueFd in, MemoryFile(input));
  ASSIGN_OR_RETURN(const UniqueFd out, MemoryFile(""));
  ASSIGN_OR_RETURN(const UniqueFd error, MemoryFile(""));
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(path, arguments, {in.get(), out.get(), error.get()}));
  int state = 0;
  while (::waitpid(pid, &state, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("wait for ", path));
  }
  CommandResult result;
  result.exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  ASSIGN_OR_RETURN(result.output, ReadAll(out));
  ASSIGN_OR_RETURN(result.errors, ReadAll(error));
  return result;
}

}  // namespace sluice
