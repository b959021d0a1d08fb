// SPDX-License-Identifier: Apache-2.0
// A file's text, read whole and once, with what tells later whether it is still the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

// Equal stamps: the same content, as far as stat(2) can tell.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  // since the epoch
  std::int64_t changed_ns = 0;   // of the inode

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

struct FileText {
  std::string text;
  FileStamp stamp;
};

// The stamp of the file behind `path`, links followed. Errors: as stat(2), e.g. NOT_FOUND.
absl::StatusOr<FileStamp> StampOf(const std::string& path);

// Reads the file. Never blocks on a pipe or device. Errors: NOT_FOUND when there is none;
// OUT_OF_RANGE when it is longer than `max_bytes`; FAILED_PRECONDITION when it is no regular
// file; UNAVAILABLE when it was written to meanwhile (read it again); else as open(2), read(2).
absl::StatusOr<FileText> ReadFile(const std::string& path, std::size_t max_bytes);

}  // namespace sluice
