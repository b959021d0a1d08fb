// SPDX-License-Identifier: Apache-2.0
#include "control/source/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/unique_fd.h"

namespace sluice {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::size_t kMinRead = std::size_t{64} << 10;

FileStamp StampFrom(const struct stat& status) {
  FileStamp stamp;
  stamp.device = status.st_dev;
  stamp.inode = status.st_ino;
  stamp.size = static_cast<std::uint64_t>(status.st_size);
  stamp.modified_ns = status.st_mtim.tv_sec * kNsPerSecond + status.st_mtim.tv_nsec;
  stamp.changed_ns = status.st_ctim.tv_sec * kNsPerSecond + status.st_ctim.tv_nsec;
  return stamp;
}

absl::Status TooLong(const std::string& path, std::uint64_t size, std::size_t max_bytes) {
  return absl::OutOfRangeError(absl::StrCat(path, " has ", size, " bytes, more than the ",
                                            max_bytes,
                                            " that are read: split it into several files"));
}

// Appends to `text` up to the file's end.
absl::Status ReadAll(int fd, const std::string& path, std::size_t max_bytes, std::string& text) {
  for (;;) {
    const std::size_t have = text.size();
    // One more than the stamp's size, so that the usual file ends with the second call of read.
    const std::size_t room = std::max(text.capacity() - have, kMinRead);
    text.resize(have + room);
    const ssize_t got = ::read(fd, text.data() + have, room);
    const int error = errno;
    text.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return absl::OkStatus();
    if (got < 0 && error != EINTR) return ErrnoStatus(error, "read " + path);
    if (text.size() > max_bytes) return TooLong(path, text.size(), max_bytes);
  }
}

}  // namespace

absl::StatusOr<FileStamp> StampOf(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return ErrnoStatus(errno, "stat " + path);
  return StampFrom(status);
}

absl::StatusOr<FileText> ReadFile(const std::string& path, std::size_t max_bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return ErrnoStatus(errno, "stat " + path);
  if (!S_ISREG(status.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a regular file"));
  }
  FileText file;
  file.stamp = StampFrom(status);
  if (file.stamp.size > max_bytes) return TooLong(path, file.stamp.size, max_bytes);
  file.text.reserve(file.stamp.size + 1);
  if (absl::Status read = ReadAll(fd.get(), path, max_bytes, file.text); !read.ok()) return read;
  if (::fstat(fd.get(), &status) != 0) return ErrnoStatus(errno, "stat " + path);
  const FileStamp after = StampFrom(status);
  if (after.size != file.stamp.size || after.modified_ns != file.stamp.modified_ns) {
    return absl::UnavailableError(absl::StrCat(path, " was written to while it was read"));
  }
  return file;
}

}  // namespace sluice
