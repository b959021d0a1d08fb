// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/feature_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/utsname.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "control/datapath/tcx_link.h"

namespace sluice {
namespace {

constexpr int kLoopbackIfindex = 1;  // in every network namespace

struct NeededFunction {
  bpf_func_id id;
  const char* name;
  const char* since;
};

// What the programs call that the oldest kernels with eBPF at TC do not have.
constexpr std::array<NeededFunction, 4> kNeededFunctions = {{
    {BPF_FUNC_spin_lock, "bpf_spin_lock", "5.1"},
    {BPF_FUNC_ringbuf_output, "bpf_ringbuf_output", "5.8"},
    {BPF_FUNC_redirect_neigh, "bpf_redirect_neigh", "5.10"},
    {BPF_FUNC_ktime_get_coarse_ns, "bpf_ktime_get_coarse_ns", "5.11"},
}};

absl::Status Missing(const Features& features, std::string_view what, std::string_view since) {
  return absl::FailedPreconditionError(absl::StrCat(
      "kernel ", features.kernel, " has no ", absl::string_view(what.data(), what.size()),
      " (it came with Linux ", absl::string_view(since.data(), since.size()),
      "): run sluiced on Linux 5.15 or newer"));
}

constexpr bpf_insn kReturnZero[] = {
    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
    {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
};

// A program that passes every packet on.
absl::StatusOr<UniqueFd> LoadEmptyProgram() {
  const bpf_insn instructions[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K,
       .dst_reg = BPF_REG_0,
       .src_reg = 0,
       .off = 0,
       .imm = -1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sl_probe", "GPL", instructions,
                               std::size(instructions), nullptr);
  if (fd >= 0) return UniqueFd(fd);
  if (fd == -EPERM || fd == -EACCES) {
    return absl::PermissionDeniedError(
        "not allowed to load BPF programs: sluiced needs CAP_BPF and CAP_NET_ADMIN (or root), and "
        "a "
        "kernel that is not locked down");
  }
  return ErrnoStatus(fd, "load an empty TC program");
}

bool HasBatchLookup() {
  const int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "sl_probe", sizeof(std::uint32_t),
                                sizeof(std::uint32_t), 1, nullptr);
  const UniqueFd map(fd);
  if (!map.valid()) return false;
  std::uint32_t key = 0;
  std::uint32_t value = 0;
  std::uint32_t count = 1;
  std::uint64_t cursor = 0;
  const int err = bpf_map_lookup_batch(map.get(), nullptr, &cursor, &key, &value, &count, nullptr);
  return err == 0 || err == -ENOENT;  // ENOENT: the map is at its end
}

bool HasMappableArrays() {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sl_probe", sizeof(std::uint32_t),
                                sizeof(std::uint32_t), 1, &options);
  const UniqueFd map(fd);
  return map.valid();
}

}  // namespace

std::map<std::string, bool> Features::Named() const {
  return {{"tcx", tcx}, {"batchLookup", batch_lookup}, {"socketWalks", socket_walks}};
}

bool TakesIterator(const char* kind) {
  const int type = libbpf_find_vmlinux_btf_id(kind, BPF_TRACE_ITER);
  if (type < 0) return false;
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_ITER,
              .attach_btf_id = static_cast<__u32>(type));
  const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_TRACING, "sl_probe", "GPL", kReturnZero,
                                       std::size(kReturnZero), &options));
  return program.valid();
}

absl::StatusOr<Features> ProbeFeatures() {
  Features features;
  utsname names{};
  if (::uname(&names) != 0) return ErrnoStatus(errno, "uname");
  features.kernel = names.release;
  ASSIGN_OR_RETURN(const UniqueFd program, LoadEmptyProgram());
  if (!HasMappableArrays()) return Missing(features, "mappable arrays (BPF_F_MMAPABLE)", "5.5");
  for (const NeededFunction& function : kNeededFunctions) {
    const int found = libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, function.id, nullptr);
    if (found < 0) return ErrnoStatus(found, absl::StrCat("probe for ", function.name));
    if (found == 0) return Missing(features, function.name, function.since);
  }
  features.batch_lookup = HasBatchLookup();
  features.socket_walks = TakesIterator("bpf_sk_storage_map");
  features.tcx = TcxLink::Create(program.get(), kLoopbackIfindex, TcDirection::kIngress).ok();
  return features;
}

}  // namespace sluice
