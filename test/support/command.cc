// SPDX-License-Identifier: Apache-2.0
#include "test/support/command.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"

extern char** environ;

namespace sluice::testing {
namespace {

absl::StatusOr<std::string> ReadAll(int fd) {
  std::string text;
  char part[65536];
  for (ssize_t n = 0;; text.append(part, static_cast<std::size_t>(n))) {
    n = pread(fd, part, sizeof(part), static_cast<off_t>(text.size()));
    if (n < 0) return ErrnoStatus(errno, "read output");
    if (n == 0) return text;
  }
}

}  // namespace

absl::Status WriteAll(int fd, const std::string& text, const std::string& what) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0) return ErrnoStatus(errno, what);
    done += static_cast<std::size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RunCommand(const std::vector<std::string>& arguments,
                                       const std::string& input) {
  // Unlinked files rather than pipes: nobody waits for anybody.
  const UniqueFd in(memfd_create("command-input", MFD_CLOEXEC));
  const UniqueFd out(memfd_create("command-output", MFD_CLOEXEC));
  if (in.get() < 0 || out.get() < 0) return ErrnoStatus(errno, "memfd_create");
  RETURN_IF_ERROR(WriteAll(in.get(), input, "command input"));
  lseek(in.get(), 0, SEEK_SET);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.get(), STDERR_FILENO);
  std::vector<char*> words;
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("start ", arguments[0]));
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("wait for ", arguments[0]));
  }
  ASSIGN_OR_RETURN(std::string said, ReadAll(out.get()));
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return said;
  constexpr std::size_t kEnd = 2048;
  return absl::InternalError(
      absl::StrCat(arguments[0], ": ", said.substr(said.size() - std::min(said.size(), kEnd))));
}

}  // namespace sluice::testing
