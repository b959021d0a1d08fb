// SPDX-License-Identifier: Apache-2.0
// A network namespace of the test's own, so that what it needs of the kernel (devices, routes,
// neighbours, sysctls) neither depends on the machine nor touches it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"

namespace sluice::testing {

// Thread: the thread that created it is inside the namespace until the object dies; create and
// destroy on the same thread. The namespace has no name and is gone with its last user, also when
// the test crashes.
class NetNs {
 public:
  // Enters a new namespace with `lo` up and forwarding on for both families.
  // Errors: PERMISSION_DENIED without CAP_SYS_ADMIN; INTERNAL.
  static absl::StatusOr<std::unique_ptr<NetNs>> Create();
  ~NetNs();
  NetNs(const NetNs&) = delete;
  NetNs& operator=(const NetNs&) = delete;

  // Runs lines of ip(8) without the leading "ip", in order: {"link set lo up", ...}. The first that
  // fails stops. Errors: INTERNAL with ip's own words.
  absl::Status Ip(const std::vector<std::string>& lines);

  // A veth device that is up and has carrier; its other end, `name`-x, stays in the namespace.
  // Returns its index. Errors: those of Ip.
  absl::StatusOr<std::uint32_t> AddDevice(const std::string& name, std::uint32_t mtu = 1500);

  // Writes /proc/sys/<path>. Errors: those of errno.
  absl::Status SetSysctl(const std::string& path, const std::string& value);

 private:
  NetNs(UniqueFd before) : before_(std::move(before)) {}
  UniqueFd before_;  // where the thread came from
};

}  // namespace sluice::testing
