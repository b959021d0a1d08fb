// SPDX-License-Identifier: Apache-2.0
// A node in a network namespace of its own whose uplink is a wire to a far end that takes every
// frame, and what stands between the two.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "frames_end.skel.h"
#include "test/support/prog_runner.h"

namespace sluice::bench {

// The programs at the far end of all nodes.
class FarEnd {
 public:
  static absl::StatusOr<std::unique_ptr<FarEnd>> Load();

  // Frames that have arrived so far.
  absl::StatusOr<std::uint64_t> Arrived() const;
  // Keeps the next `count` frames, at most BENCH_MAX_FLOWS.
  void Keep(std::uint32_t count);
  // Those that have arrived since, in their order; nothing is kept any more.
  absl::StatusOr<std::vector<testing::Bytes>> Kept();

  int at_xdp() const { return bpf_program__fd(end_->progs.frames_at_xdp); }
  int at_tc() const { return bpf_program__fd(end_->progs.frames_at_tc); }
  // Sends a frame back as it is.
  int back() const { return bpf_program__fd(end_->progs.frames_back); }

 private:
  using End = std::unique_ptr<frames_end, void (*)(frames_end*)>;
  explicit FarEnd(End end) : end_(std::move(end)) {}
  End end_;
};

// Thread: all but Create() and Enter() are of the node that the calling thread has entered last.
class Node {
 public:
  // A new namespace with BuildNetwork()'s devices, which is gone with its last user.
  static absl::StatusOr<std::unique_ptr<Node>> Create();
  absl::Status Enter() const;

  // Errors: those of the kernel or the program.
  absl::Status TakeAtXdp(const FarEnd& end);
  absl::Status TakeAtTc(const FarEnd& end);
  absl::Status AttachToUplink(int program);  // at TC, ingress
  absl::Status Nftables(const std::string& rules);
  absl::Status Iptables(const std::string& rules);
  // Forgets every connection that the kernel tracks.
  absl::Status ForgetConnections();
  // How many of them have been answered.
  absl::StatusOr<std::uint32_t> AnsweredConnections() const;

  std::uint32_t uplink() const { return uplink_; }

 private:
  Node(UniqueFd space, std::uint32_t uplink) : space_(std::move(space)), uplink_(uplink) {}
  UniqueFd space_;
  std::uint32_t uplink_;
};

}  // namespace sluice::bench
