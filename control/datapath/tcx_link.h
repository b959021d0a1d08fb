// SPDX-License-Identifier: Apache-2.0
// One BPF link at a TC hook (tcx, Linux 6.6). Debian 12's headers and libbpf do not name the attach
// types yet; the kernel's numbers are all that is needed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "control/datapath/hooks.h"

namespace sluice {

// Owns the descriptor and not the attachment: a link that is pinned stays when this goes.
// Thread-compatible.
class TcxLink {
 public:
  // Attaches `program_fd` before every other program of the hook (DESIGN.md says why).
  // Errors: UNIMPLEMENTED when the kernel has no tcx, NOT_FOUND when the interface is gone, else as
  // errno says.
  static absl::StatusOr<TcxLink> Create(int program_fd, int ifindex, TcDirection direction);
  // Errors: NOT_FOUND when nothing is pinned there, INVALID_ARGUMENT when it is not a tcx link.
  static absl::StatusOr<TcxLink> OpenPinned(const std::string& path);

  // Replaces the program in one step; packets see the old one or the new one.
  absl::Status Update(int program_fd);
  // `path` must not exist; its folder must.
  absl::Status Pin(const std::string& path) const;
  // Takes the program off the interface, whoever else holds the link.
  absl::Status Detach();

  // 0: the interface that it was attached to no longer exists.
  absl::StatusOr<int> Ifindex() const;
  absl::StatusOr<std::uint32_t> Id() const;

 private:
  explicit TcxLink(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice
