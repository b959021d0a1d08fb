// SPDX-License-Identifier: Apache-2.0
// MapFolder: real, empty maps of every kind of the ABI, pinned in a folder of their own on bpffs,
// for tests of those who reach maps through their pins. Made without programs and without BTF.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "maps/map_set.h"

namespace sluice::testing {

class MapFolder {
 public:
  // `name` tells the folders of one process apart. `change` may alter a map before it is made, and
  // leaves it out by clearing its name. Errors: PERMISSION_DENIED without the rights for bpf(2),
  // NOT_FOUND without bpffs.
  static absl::StatusOr<std::unique_ptr<MapFolder>> Create(
      const std::string& name, const std::function<void(MapShape&)>& change = [](MapShape&) {}) {
    std::unique_ptr<MapFolder> folder(
        new MapFolder(absl::StrCat("/sys/fs/bpf/sluice-", name, "-", ::getpid())));
    if (::mkdir(folder->path_.c_str(), 0700) != 0) {
      return ErrnoStatus(errno, absl::StrCat("make ", folder->path_));
    }
    for (MapShape shape : ExpectedMaps()) {
      const std::string pin = shape.name;
      change(shape);
      if (shape.name.empty()) continue;
      RETURN_IF_ERROR(folder->Pin(shape, pin));
    }
    return folder;
  }

  MapFolder(const MapFolder&) = delete;
  MapFolder& operator=(const MapFolder&) = delete;
  ~MapFolder() {
    for (const std::string& pin : pins_) ::unlink(pin.c_str());
    ::rmdir(path_.c_str());
  }

  const std::string& path() const { return path_; }

 private:
  explicit MapFolder(std::string path) : path_(std::move(path)) {}

  absl::Status Pin(const MapShape& shape, const std::string& pin) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape.flags);
    const UniqueFd fd(bpf_map_create(static_cast<bpf_map_type>(shape.type), shape.name.c_str(),
                                     shape.key_size, shape.value_size, shape.max_entries,
                                     &options));
    if (!fd.valid()) return MapErrnoStatus(errno, absl::StrCat("make map ", shape.name));
    const std::string path = absl::StrCat(path_, "/", pin);
    if (bpf_obj_pin(fd.get(), path.c_str()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("pin ", path));
    }
    pins_.push_back(path);
    return absl::OkStatus();
  }

  std::string path_;
  std::vector<std::string> pins_;
};

}  // namespace sluice::testing
