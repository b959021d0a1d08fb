// SPDX-License-Identifier: Apache-2.0
// A map's values as memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"

#include "control/base/errno_status.h"

namespace sluice {

// A shared mapping of an array with BPF_F_MMAPABLE, or of a page of a ring buffer. Unmapping it
// leaves the map as it is.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping() {
    if (memory_ != nullptr) ::munmap(memory_, bytes_);
  }

  // `bytes` are rounded up to whole pages. Errors: those of mmap(2).
  static absl::StatusOr<Mapping> Map(int fd, std::size_t bytes, int protection, off_t offset) {
    const std::size_t page = PageSize();
    Mapping mapping;
    mapping.bytes_ = (bytes + page - 1) / page * page;
    void* memory = ::mmap(nullptr, mapping.bytes_, protection, MAP_SHARED, fd, offset);
    if (memory == MAP_FAILED) return MapErrnoStatus(errno, "map into memory");
    mapping.memory_ = memory;
    return mapping;
  }

  static std::size_t PageSize() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

  void* memory() const { return memory_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace sluice
