// SPDX-License-Identifier: Apache-2.0
// The ways of the same packets through a node, side by side: an outside client's, for a service
// whose backends are on another node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "test/bench/bench_kernel.h"
#include "test/bench/bench_scenario.h"
#include "test/bench/frames_node.h"

namespace sluice::bench {

// A cluster's tables and programs.
struct LoadedCluster {
  static absl::StatusOr<LoadedCluster> Create(const Shape& shape);

  std::unique_ptr<BenchKernel> kernel;
  std::unique_ptr<Scenario> scenario;
};

// Frames whose way is checked before it is timed.
inline constexpr std::uint32_t kChecked = 64;

// Which frames come in, and what is to come out of them.
enum class Kind {
  kAsItIs,       // the frame
  kRewritten,    // both ends are known
  kFloor,        // the floor's, of which only checksums are known
  kPassedOn,     // to the backend's node, wrapped
  kRouted,       // addressed to the backend
  kMasqueraded,  // as kRewritten, by the kernel's choice of backend and port
};

struct Way {
  std::string name;
  Kind kind = Kind::kAsItIs;
  LoadedCluster* cluster = nullptr;
  Node* node = nullptr;
  int program = BenchKernel::kWrapperAlone;  // at XDP; the wrapper alone: on to the stack
  bool sluice = false;                       // its counters grow
  bool opens = false;                        // it has a way for new flows
};

class Ways {
 public:
  // `services`: how many, of ten backends each. Errors: those of the kernel or of programs.
  static absl::StatusOr<std::unique_ptr<Ways>> Create(std::uint32_t services);

  const std::vector<Way>& all() const { return ways_; }
  // Makes flows [0, flows) established ones everywhere, and the next frames theirs in turn.
  absl::Status Establish(std::uint32_t flows);
  // Makes the next frames ones that open flows.
  absl::Status Open();
  // What must come out of the first few frames of established flows; empty where only a part of
  // that is known.
  std::vector<Bytes> Expected(const Way& way) const;
  // Checks what has come out where it is not known. Errors: FAILED_PRECONDITION.
  absl::Status CheckPart(const Way& way, const Bytes& frame) const;

  // Sends the next `packets` frames in at the way's uplink. Return: nanoseconds of processor time.
  absl::StatusOr<double> Send(const Way& way, std::uint32_t packets);
  FarEnd& end() { return *end_; }

 private:
  Ways() = default;
  absl::Status AddNode(std::unique_ptr<Node>& node, bool xdp);
  absl::Status AddNodes();
  void AddWays();
  absl::StatusOr<std::string> Rules(const std::string& mode) const;
  absl::Status Answer(const Way& way);
  std::vector<Bytes> Frames(bool routed) const;
  absl::StatusOr<double> SendFrames(const Way& way, std::uint32_t set, std::uint32_t packets);

  LoadedCluster snat_, dsr_;
  std::unique_ptr<FarEnd> end_;
  std::unique_ptr<Node> early_, tc_snat_, tc_dsr_, routed_, nftables_, iptables_;
  std::vector<Way> ways_;
  std::uint32_t flows_ = 0;
  Turn turn_ = Turn::kRepeat;
};

}  // namespace sluice::bench
