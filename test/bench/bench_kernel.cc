// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_kernel.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/pkt_cls.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "floor.skel.h"
#include "sl_tc.skel.h"
#include "test/bench/bench_frame.h"

namespace sluice::bench {
namespace {

using testing::BpfObject;
using testing::DatapathTables;

std::span<const std::byte> Elf(const void* (*bytes)(std::size_t*)) {
  std::size_t size = 0;
  const void* start = bytes(&size);
  return {static_cast<const std::byte*>(start), size};
}

int ProgramFd(const bpf_object& object, const std::string& name) {
  const bpf_program* program = bpf_object__find_program_by_name(&object, name.c_str());
  return program == nullptr ? -1 : bpf_program__fd(program);
}

// The kernel's own figure is in whole nanoseconds, which is too coarse, and counts what the thread
// waits for a CPU that others use too.
double ThreadNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

template <typename K, typename V>
absl::StatusOr<BpfTable<K, V>> OpenTable(const bpf_object& object, const char* name) {
  UniqueFd fd(fcntl(bpf_object__find_map_fd_by_name(&object, name), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, name);
  ASSIGN_OR_RETURN(BpfMap map, BpfMap::FromFd(std::move(fd)));
  return BpfTable<K, V>::Create(std::move(map));
}

}  // namespace

BenchKernel::BenchKernel(Wrap wrap, Counted counted, BpfObject floor, BpfObject datapath,
                         DatapathTables tables, DatapathTables counted_tables,
                         BpfTable<abi::flow, abi::flow_entry> floor_flows,
                         BpfTable<std::uint32_t, abi::backend> floor_backends)
    : wrap_(std::move(wrap)),
      counted_(std::move(counted)),
      floor_(std::move(floor)),
      datapath_(std::move(datapath)),
      tables_(std::move(tables)),
      counted_tables_(std::move(counted_tables)),
      floor_flows_(std::move(floor_flows)),
      floor_backends_(std::move(floor_backends)) {}

absl::StatusOr<std::unique_ptr<BenchKernel>> BenchKernel::Create() {
  Wrap wrap(bench_wrap__open_and_load(), bench_wrap__destroy);
  if (wrap == nullptr) return ErrnoStatus(errno, "load bench_wrap");
  Counted counted(sl_tc_counted__open_and_load(), sl_tc_counted__destroy);
  if (counted == nullptr) return ErrnoStatus(errno, "load sl_tc_counted");
  ASSIGN_OR_RETURN(BpfObject floor, testing::LoadObject(Elf(floor__elf_bytes), {}));
  ASSIGN_OR_RETURN(BpfObject datapath, testing::LoadObject(Elf(sl_tc__elf_bytes), {}));
  ASSIGN_OR_RETURN(DatapathTables tables, DatapathTables::Open(*datapath));
  ASSIGN_OR_RETURN(DatapathTables counted_tables, DatapathTables::Open(*counted->obj));
  ASSIGN_OR_RETURN(auto flows, (OpenTable<abi::flow, abi::flow_entry>(*floor, "floor_flows")));
  ASSIGN_OR_RETURN(auto backends,
                   (OpenTable<std::uint32_t, abi::backend>(*floor, "floor_backends")));
  return std::unique_ptr<BenchKernel>(new BenchKernel(
      std::move(wrap), std::move(counted), std::move(floor), std::move(datapath), std::move(tables),
      std::move(counted_tables), std::move(flows), std::move(backends)));
}

absl::Status BenchKernel::SetFrames(std::uint32_t set, const std::vector<Bytes>& frames) {
  if (frames.empty() || frames.size() > BENCH_MAX_FLOWS) {
    return absl::InvalidArgumentError("number of frames");
  }
  std::vector<std::pair<std::uint32_t, bench_frame>> rows(frames.size());
  for (std::uint32_t i = 0; i < frames.size(); ++i) {
    if (frames[i].size() != BENCH_FRAME_SIZE) return absl::InvalidArgumentError("frame size");
    rows[i].first = set * BENCH_MAX_FLOWS + i;
    std::memcpy(rows[i].second.words, frames[i].data(), BENCH_FRAME_SIZE);
  }
  ASSIGN_OR_RETURN(auto table,
                   (OpenTable<std::uint32_t, bench_frame>(*wrap_->obj, "bench_frames")));
  RETURN_IF_ERROR(table.Update(rows).status);
  first_frame_[set] = frames.front();
  frame_count_[set] = static_cast<std::uint32_t>(frames.size());
  return absl::OkStatus();
}

absl::StatusOr<double> BenchKernel::Time(Turn turn, std::uint32_t set, int program,
                                         std::uint32_t ifindex, std::uint32_t packets) {
  if (turn == Turn::kPlain && program == kWrapperAlone) return 0;
  const __u32 slot = 0;
  const int target = bpf_map__fd(wrap_->maps.bench_target);
  if (program != kWrapperAlone && bpf_map_update_elem(target, &slot, &program, BPF_ANY) != 0) {
    return ErrnoStatus(errno, "set the program to be timed");
  }
  wrap_->bss->bench_first = set * BENCH_MAX_FLOWS;
  wrap_->bss->bench_flows = frame_count_[set];
  wrap_->bss->bench_turn = 0;
  __sk_buff context{};
  context.ifindex = ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = first_frame_[set].data();
  opts.data_size_in = static_cast<__u32>(first_frame_[set].size());
  opts.ctx_in = &context;
  opts.ctx_size_in = sizeof(context);
  opts.repeat = static_cast<int>(packets);
  const int run = turn == Turn::kPlain ? program : Wrapper(turn, program == kWrapperAlone);
  const double start = ThreadNs();
  const int error = bpf_prog_test_run_opts(run, &opts);
  const double end = ThreadNs();
  if (error != 0) return ErrnoStatus(-error, "timed run");
  if (opts.retval == TC_ACT_SHOT) return absl::InternalError("the timed packet was dropped");
  return (end - start) / packets;
}

absl::StatusOr<Calls> BenchKernel::Count(const std::string& program, std::uint32_t ifindex,
                                         const Bytes& frame) {
  auto& counters = *counted_->bss;
  counters.counted_hash_lookups = 0;
  counters.counted_array_reads = 0;
  counters.counted_updates = 0;
  counters.counted_deletes = 0;
  testing::RunContext context;
  context.ifindex = ifindex;
  RETURN_IF_ERROR(testing::RunProgram(ProgramFd(*counted_->obj, program), frame, context).status());
  return Calls{counters.counted_hash_lookups, counters.counted_array_reads,
               counters.counted_updates, counters.counted_deletes};
}

int BenchKernel::Wrapper(Turn turn, bool alone) const {
  const auto& programs = wrap_->progs;
  if (turn == Turn::kRepeat) {
    return bpf_program__fd(alone ? programs.bench_pass : programs.bench_repeat);
  }
  return bpf_program__fd(alone ? programs.bench_new_pass : programs.bench_new);
}
int BenchKernel::floor_program(const std::string& name) const { return ProgramFd(*floor_, name); }
int BenchKernel::datapath_program(const std::string& name) const {
  return ProgramFd(*datapath_, name);
}

}  // namespace sluice::bench
