// SPDX-License-Identifier: Apache-2.0
#include "control/agent/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"

namespace sluice {

absl::StatusOr<StateLock> StateLock::Take(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("create folder ", state_dir));
  const std::string path = absl::StrCat(state_dir, "/sluiced.lock");
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, path);
    std::array<char, 32> holder{};
    const ssize_t length = ::pread(fd.get(), holder.data(), holder.size() - 1, 0);
    return absl::FailedPreconditionError(
        absl::StrCat("another sluiced (process ", length > 0 ? holder.data() : "unknown",
                     ") uses the state folder ", state_dir,
                     "; give each agent its own --state-dir and --bpffs"));
  }
  const std::string pid = absl::StrCat(::getpid());
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return ErrnoStatus(errno, path);
  }
  return StateLock(std::move(fd));
}

}  // namespace sluice
