// SPDX-License-Identifier: Apache-2.0
// A node without an agent: the datapath loaded and pinned in a bpffs folder of the test's own, in a
// network namespace of the test's own, with services written as an agent would.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/datapath/loader.h"
#include "maps/map_set.h"
#include "test/support/netns.h"

namespace sluice::report {

// Service 1, default/web:http over TCP, both families, with backends 1 (local) and 2 (remote);
// service 2, kube-system/dns over UDP, without any. See the .cc for addresses.
class PinnedNode {
 public:
  // Errors: PERMISSION_DENIED without the rights to load programs.
  static absl::StatusOr<std::unique_ptr<PinnedNode>> Create();
  ~PinnedNode();

  const std::string& bpffs() const { return bpffs_; }
  MapSet& maps() { return *maps_; }
  const LoadedPrograms& programs() const { return programs_; }
  testing::NetNs& net() { return *net_; }

 private:
  explicit PinnedNode(std::string bpffs) : bpffs_(std::move(bpffs)) {}
  absl::Status SetUpNetwork();
  absl::Status WriteServices();

  const std::string bpffs_;
  std::unique_ptr<testing::NetNs> net_;
  LoadedPrograms programs_;
  std::optional<MapSet> maps_;
};

}  // namespace sluice::report
