// SPDX-License-Identifier: Apache-2.0
// The programs of the benchmark in the kernel: wrapper, floor and datapath; and their timing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "bench_wrap.skel.h"
#include "test/bench/bench_frame.h"
#include "test/support/datapath_tables.h"
#include "test/support/prog_runner.h"

namespace sluice::bench {

using testing::Bytes;
using Calls = ::counted_calls;  // of one packet

enum class Hook { kTc, kXdp };

// What the wrapper writes before each run.
enum class Turn {
  kRepeat,  // the frames in turn, as they are
  kNew,     // the frames in turn, each from a client never seen before
  kPlain,   // nothing, and no wrapper: for programs that leave the packet as it is
};

// What is run on many packets.
struct TimedRun {
  Hook hook = Hook::kTc;
  Turn turn = Turn::kRepeat;
  std::uint32_t set = 0;  // of frames
  int program = -1;       // BenchKernel::kWrapperAlone: the wrapper, ending in pass
  std::uint32_t ifindex = 0;
  int verdict = 0;  // of the program
};

class BenchKernel {
 public:
  // Loads everything; `sizes`: of the datapath's maps where they are not to be its own.
  // Errors: those of LoadObject.
  static absl::StatusOr<std::unique_ptr<BenchKernel>> Create(const testing::MapSizes& sizes);

  // The frames of flows 0, 1, ...: at most BENCH_MAX_FLOWS, each of BENCH_FRAME_SIZE bytes.
  // `set`: 0 or 1.
  absl::Status SetFrames(std::uint32_t set, const std::vector<Bytes>& frames);
  // Makes sl_xdp take frames of the device for those of an uplink with the address that frames are
  // sent to by default.
  absl::Status SetUplink(std::uint32_t ifindex);

  static constexpr int kWrapperAlone = -1;
  // Tells the wrapper what it is about to run. Return: the program to be run in its place.
  absl::StatusOr<int> Prepare(const TimedRun& run);
  // Nanoseconds a packet, wrapper included, over `packets` packets. Errors: those of bpf(2);
  // INTERNAL when the last packet's verdict is another.
  absl::StatusOr<double> Time(const TimedRun& run, std::uint32_t packets);
  // Runs it once, without a wrapper.
  static absl::StatusOr<testing::RunResult> Once(const TimedRun& run, const Bytes& frame);
  // Calls of one packet through the counted datapath's `program`.
  absl::StatusOr<Calls> Count(Hook hook, const std::string& program, std::uint32_t ifindex,
                              const Bytes& frame);

  // Of the datapath or the floor, by its name. -1: there is none.
  int program(const std::string& name) const;
  // The first frame of a set.
  const Bytes& first_frame(std::uint32_t set) const { return first_frame_[set]; }

  testing::DatapathTables& tables() { return tables_; }
  // Rows for the floor's own tables, of the same shape as the datapath's.
  BpfTable<abi::flow, abi::flow_entry>& floor_flows() { return floor_flows_; }
  BpfTable<std::uint32_t, abi::backend>& floor_backends() { return floor_backends_; }

 private:
  using Wrap = std::unique_ptr<bench_wrap, void (*)(bench_wrap*)>;
  // The datapath's objects and the same with calls counted; all on the maps of `tc`.
  struct Objects {
    testing::BpfObject tc, xdp, counted_tc, counted_xdp, floor;
  };

  int Wrapper(const TimedRun& run) const;

  BenchKernel(Wrap wrap, Objects objects, testing::DatapathTables tables,
              BpfTable<abi::flow, abi::flow_entry> floor_flows,
              BpfTable<std::uint32_t, abi::backend> floor_backends);

  Wrap wrap_;
  Objects objects_;
  testing::DatapathTables tables_;
  BpfTable<abi::flow, abi::flow_entry> floor_flows_;
  BpfTable<std::uint32_t, abi::backend> floor_backends_;
  std::array<Bytes, BENCH_FRAME_SETS> first_frame_;
  std::array<std::uint32_t, BENCH_FRAME_SETS> frame_count_ = {};
};

}  // namespace sluice::bench
