// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_kernel.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/pkt_cls.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "floor.skel.h"
#include "maps/names.h"
#include "maps/uplink.h"
#include "sl_tc.skel.h"
#include "sl_tc_counted.skel.h"
#include "sl_xdp.skel.h"
#include "sl_xdp_counted.skel.h"
#include "test/bench/this_cpu.h"

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

template <typename K, typename V>
absl::StatusOr<BpfTable<K, V>> OpenTable(const bpf_object& object, const char* name) {
  UniqueFd fd(fcntl(bpf_object__find_map_fd_by_name(&object, name), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, name);
  ASSIGN_OR_RETURN(BpfMap map, BpfMap::FromFd(std::move(fd)));
  return BpfTable<K, V>::Create(std::move(map));
}

}  // namespace

BenchKernel::BenchKernel(Wrap wrap, Objects objects, DatapathTables tables,
                         BpfTable<abi::flow, abi::flow_entry> floor_flows,
                         BpfTable<std::uint32_t, abi::backend> floor_backends)
    : wrap_(std::move(wrap)),
      objects_(std::move(objects)),
      tables_(std::move(tables)),
      floor_flows_(std::move(floor_flows)),
      floor_backends_(std::move(floor_backends)) {}

absl::StatusOr<std::unique_ptr<BenchKernel>> BenchKernel::Create(const testing::MapSizes& sizes) {
  Wrap wrap(bench_wrap__open_and_load(), bench_wrap__destroy);
  if (wrap == nullptr) return ErrnoStatus(errno, "load bench_wrap");
  Objects objects;
  ASSIGN_OR_RETURN(objects.tc, testing::LoadObject(Elf(sl_tc__elf_bytes), sizes));
  const bpf_object* maps = objects.tc.get();
  ASSIGN_OR_RETURN(objects.xdp, testing::LoadObject(Elf(sl_xdp__elf_bytes), sizes, maps));
  ASSIGN_OR_RETURN(objects.counted_tc,
                   testing::LoadObject(Elf(sl_tc_counted__elf_bytes), sizes, maps));
  // The maps that it does not share with TC are those of sl_xdp.
  maps = objects.xdp.get();
  ASSIGN_OR_RETURN(objects.counted_xdp,
                   testing::LoadObject(Elf(sl_xdp_counted__elf_bytes), sizes, maps));
  testing::MapSizes floor_sizes;
  for (const auto& [name, floor] : {std::pair{names::kServiceStats, "floor_stats"},
                                    std::pair{names::kBackends, "floor_backends"}}) {
    if (const auto size = sizes.find(name); size != sizes.end()) floor_sizes[floor] = size->second;
  }
  ASSIGN_OR_RETURN(objects.floor, testing::LoadObject(Elf(floor__elf_bytes), floor_sizes));
  ASSIGN_OR_RETURN(DatapathTables tables, DatapathTables::Open(*objects.tc));
  ASSIGN_OR_RETURN(auto flows,
                   (OpenTable<abi::flow, abi::flow_entry>(*objects.floor, "floor_flows")));
  ASSIGN_OR_RETURN(auto backends,
                   (OpenTable<std::uint32_t, abi::backend>(*objects.floor, "floor_backends")));
  return std::unique_ptr<BenchKernel>(new BenchKernel(std::move(wrap), std::move(objects),
                                                      std::move(tables), std::move(flows),
                                                      std::move(backends)));
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

absl::Status BenchKernel::SetUplink(std::uint32_t ifindex) {
  const abi::uplink_key key{.device = ifindex, .vlan = 0};
  abi::uplink uplink = {};
  uplink.ifindex = ifindex;
  const Bytes frame = testing::Build({testing::Ethernet(), testing::Payload{"x"}});
  std::memcpy(uplink.mac, frame.data(), sizeof(uplink.mac));
  const int map = bpf_object__find_map_fd_by_name(objects_.xdp.get(), names::kUplinks);
  const int error = bpf_map_update_elem(map, &key, &uplink, BPF_ANY);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(-error, names::kUplinks);
}

absl::StatusOr<int> BenchKernel::Prepare(const TimedRun& run) {
  const __u32 slot = 0;
  const auto& maps = wrap_->maps;
  const int target =
      bpf_map__fd(run.hook == Hook::kXdp ? maps.bench_target_xdp : maps.bench_target);
  if (run.turn == Turn::kPlain) return run.program;
  if (run.program != kWrapperAlone &&
      bpf_map_update_elem(target, &slot, &run.program, BPF_ANY) != 0) {
    return ErrnoStatus(errno, "set the program to be timed");
  }
  wrap_->bss->bench_first = run.set * BENCH_MAX_FLOWS;
  wrap_->bss->bench_flows = frame_count_[run.set];
  wrap_->bss->bench_turn = 0;
  return Wrapper(run);
}

absl::StatusOr<double> BenchKernel::Time(const TimedRun& run, std::uint32_t packets) {
  if (run.turn == Turn::kPlain && run.program == kWrapperAlone) return 0;
  ASSIGN_OR_RETURN(const int program, Prepare(run));
  const Bytes& frame = first_frame_[run.set];
  __sk_buff skb{};
  skb.ifindex = run.ifindex;
  xdp_md xdp{};
  xdp.data_end = static_cast<__u32>(frame.size());
  xdp.ingress_ifindex = run.ifindex;
  const bool at_xdp = run.hook == Hook::kXdp;
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = frame.data();
  opts.data_size_in = static_cast<__u32>(frame.size());
  opts.ctx_in = at_xdp ? static_cast<void*>(&xdp) : &skb;
  opts.ctx_size_in = at_xdp ? sizeof(xdp) : sizeof(skb);
  opts.repeat = static_cast<int>(packets);
  // The kernel's own figure is in whole nanoseconds, which is too coarse, and counts what the
  // thread waits for a CPU that others use too.
  const double start = ThreadNs();
  const int error = bpf_prog_test_run_opts(program, &opts);
  const double end = ThreadNs();
  if (error != 0) return ErrnoStatus(-error, "timed run");
  const int pass = at_xdp ? static_cast<int>(XDP_PASS) : TC_ACT_UNSPEC;
  const int verdict = run.program == kWrapperAlone ? pass : run.verdict;
  if (static_cast<int>(opts.retval) != verdict) {
    return absl::InternalError(absl::StrCat("the last timed packet's verdict is ",
                                            static_cast<int>(opts.retval), ", not ", verdict));
  }
  return (end - start) / packets;
}

absl::StatusOr<testing::RunResult> BenchKernel::Once(const TimedRun& run, const Bytes& frame) {
  if (run.hook == Hook::kXdp) return testing::RunXdp(run.program, frame, run.ifindex);
  testing::RunContext context;
  context.ifindex = run.ifindex;
  return testing::RunProgram(run.program, frame, context);
}

absl::StatusOr<Calls> BenchKernel::Count(Hook hook, const std::string& program,
                                         std::uint32_t ifindex, const Bytes& frame) {
  const bpf_object& object = hook == Hook::kXdp ? *objects_.counted_xdp : *objects_.counted_tc;
  const int map = bpf_object__find_map_fd_by_name(&object, ".data.counted");
  const __u32 zero = 0;
  Calls calls{};
  if (bpf_map_update_elem(map, &zero, &calls, BPF_ANY) != 0) return ErrnoStatus(errno, "counters");
  const TimedRun run{.hook = hook, .program = ProgramFd(object, program), .ifindex = ifindex};
  RETURN_IF_ERROR(Once(run, frame).status());
  if (bpf_map_lookup_elem(map, &zero, &calls) != 0) return ErrnoStatus(errno, "counters");
  return calls;
}

int BenchKernel::Wrapper(const TimedRun& run) const {
  const auto& programs = wrap_->progs;
  const bool alone = run.program == kWrapperAlone;
  if (run.hook == Hook::kXdp) {
    if (run.turn == Turn::kRepeat) {
      return bpf_program__fd(alone ? programs.bench_xdp_pass : programs.bench_xdp_repeat);
    }
    return bpf_program__fd(alone ? programs.bench_xdp_new_pass : programs.bench_xdp_new);
  }
  if (run.turn == Turn::kRepeat) {
    return bpf_program__fd(alone ? programs.bench_pass : programs.bench_repeat);
  }
  return bpf_program__fd(alone ? programs.bench_new_pass : programs.bench_new);
}

int BenchKernel::program(const std::string& name) const {
  for (const bpf_object* object : {objects_.tc.get(), objects_.xdp.get(), objects_.floor.get()}) {
    if (const int fd = ProgramFd(*object, name); fd >= 0) return fd;
  }
  return -1;
}

}  // namespace sluice::bench
