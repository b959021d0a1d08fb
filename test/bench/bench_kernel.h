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
#include "sl_tc_counted.skel.h"
#include "test/support/datapath_tables.h"
#include "test/support/prog_runner.h"

namespace sluice::bench {

using testing::Bytes;

// What the wrapper writes before each run.
enum class Turn {
  kRepeat,  // the frames in turn, as they are
  kNew,     // the frames in turn, each from a client never seen before
  kPlain,   // nothing, and no wrapper: for programs that leave the packet as it is
};

// How many map helpers one packet calls.
struct Calls {
  std::uint64_t hash_lookups = 0;
  std::uint64_t array_reads = 0;
  std::uint64_t updates = 0;
  std::uint64_t deletes = 0;
};

class BenchKernel {
 public:
  // Loads everything with the datapath's own map sizes. Errors: those of LoadObject.
  static absl::StatusOr<std::unique_ptr<BenchKernel>> Create();

  // The frames of flows 0, 1, ...: at most BENCH_MAX_FLOWS, each of BENCH_FRAME_SIZE bytes.
  // `set`: 0 or 1.
  absl::Status SetFrames(std::uint32_t set, const std::vector<Bytes>& frames);

  // Nanoseconds a packet of `program`, wrapper included, over `packets` packets; kWrapperAlone: of
  // the wrapper ending in pass. `ifindex`: where the packet is. Errors: those of bpf(2); INTERNAL
  // when the last packet's verdict is a drop.
  static constexpr int kWrapperAlone = -1;
  absl::StatusOr<double> Time(Turn turn, std::uint32_t set, int program, std::uint32_t ifindex,
                              std::uint32_t packets);
  // Calls of one packet through the counted datapath's `program`.
  absl::StatusOr<Calls> Count(const std::string& program, std::uint32_t ifindex,
                              const Bytes& frame);

  int floor_program(const std::string& name) const;
  int datapath_program(const std::string& name) const;

  testing::DatapathTables& tables() { return tables_; }
  testing::DatapathTables& counted_tables() { return counted_tables_; }
  // Rows for the floor's own tables, of the same shape as the datapath's.
  BpfTable<abi::flow, abi::flow_entry>& floor_flows() { return floor_flows_; }
  BpfTable<std::uint32_t, abi::backend>& floor_backends() { return floor_backends_; }

 private:
  using Wrap = std::unique_ptr<bench_wrap, void (*)(bench_wrap*)>;
  using Counted = std::unique_ptr<sl_tc_counted, void (*)(sl_tc_counted*)>;

  int Wrapper(Turn turn, bool alone) const;

  BenchKernel(Wrap wrap, Counted counted, testing::BpfObject floor, testing::BpfObject datapath,
              testing::DatapathTables tables, testing::DatapathTables counted_tables,
              BpfTable<abi::flow, abi::flow_entry> floor_flows,
              BpfTable<std::uint32_t, abi::backend> floor_backends);

  Wrap wrap_;
  Counted counted_;
  testing::BpfObject floor_;
  testing::BpfObject datapath_;
  testing::DatapathTables tables_;
  testing::DatapathTables counted_tables_;
  BpfTable<abi::flow, abi::flow_entry> floor_flows_;
  BpfTable<std::uint32_t, abi::backend> floor_backends_;
  std::array<Bytes, 2> first_frame_;
  std::array<std::uint32_t, 2> frame_count_ = {};
};

}  // namespace sluice::bench
