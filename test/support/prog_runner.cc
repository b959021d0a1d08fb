// SPDX-License-Identifier: Apache-2.0
#include "test/support/prog_runner.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/datapath/feature_probe.h"
#include "maps/names.h"
#include "sl_tc.skel.h"
#include "sl_xdp.skel.h"

namespace sluice::testing {
namespace {

// Where a constant lies in .rodata, by the object's BTF.
std::optional<std::uint32_t> RodataOffset(const bpf_object& object, const std::string& variable) {
  const btf* types = bpf_object__btf(&object);
  if (types == nullptr) return std::nullopt;
  const int section = btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
  if (section < 0) return std::nullopt;
  const btf_type* type = btf__type_by_id(types, static_cast<__u32>(section));
  const btf_var_secinfo* entry = btf_var_secinfos(type);
  for (int i = 0; i < btf_vlen(type); ++i, ++entry) {
    const btf_type* member = btf__type_by_id(types, entry->type);
    if (variable == btf__name_by_offset(types, member->name_off)) return entry->offset;
  }
  return std::nullopt;
}

absl::Status SetConstant(bpf_object& object, const std::string& variable, std::uint32_t value) {
  const std::optional<std::uint32_t> offset = RodataOffset(object, variable);
  if (!offset) return absl::OkStatus();
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, &object) {
    if (!std::string(bpf_map__name(map)).ends_with(".rodata")) continue;
    std::size_t size = 0;
    const auto* bytes = static_cast<const std::byte*>(bpf_map__initial_value(map, &size));
    if (bytes == nullptr || *offset + sizeof(value) > size) break;
    std::vector<std::byte> changed(bytes, bytes + size);
    std::memcpy(&changed[*offset], &value, sizeof(value));
    const int error = bpf_map__set_initial_value(map, changed.data(), size);
    return error == 0 ? absl::OkStatus() : ErrnoStatus(-error, "set constant " + variable);
  }
  return absl::InternalError(absl::StrCat("no place for the constant ", variable));
}

}  // namespace

MapSizes SmallMaps() {
  return {{names::kServices, 256},      {names::kServiceStats, 256},
          {names::kServiceNames, 256},  {names::kSourceRanges, 256},
          {names::kSlots, 4096},        {names::kBackends, 1024},
          {names::kBackendStats, 1024}, {names::kAffinity, 1024},
          {names::kFlows, 1024},        {names::kOpening, 256},
          {names::kFragments, 256},     {names::kDrops, 1024},
          {names::kEvents, 65536},      {names::kConnectionStats, 1024},
          {names::kLoads, 1024},        {names::kNodes, 64},
          {names::kNodeIds, 64}};
}

absl::StatusOr<BpfObject> LoadObject(std::span<const std::byte> elf, const MapSizes& sizes,
                                     const bpf_object* maps) {
  BpfObject object(bpf_object__open_mem(elf.data(), elf.size(), nullptr));
  if (object == nullptr) return ErrnoStatus(errno, "open BPF object");
  for (const auto& [name, rows] : sizes) {
    bpf_map* map = bpf_object__find_map_by_name(object.get(), name.c_str());
    if (map == nullptr) return absl::InvalidArgumentError(absl::StrCat("no map ", name));
    if (const int error = bpf_map__set_max_entries(map, rows); error != 0) {
      return ErrnoStatus(-error, "size of " + name);
    }
  }
  if (const bpf_map* opening = bpf_object__find_map_by_name(object.get(), names::kOpening)) {
    RETURN_IF_ERROR(SetConstant(*object, "sl_opening_mask", bpf_map__max_entries(opening) - 1));
  }
  if (const bpf_map* clients = bpf_object__find_map_by_name(object.get(), names::kClients)) {
    RETURN_IF_ERROR(SetConstant(*object, "sl_clients_mask", bpf_map__max_entries(clients) - 1));
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    if (maps == nullptr || bpf_map__is_internal(map)) continue;
    const bpf_map* theirs = bpf_object__find_map_by_name(maps, bpf_map__name(map));
    if (theirs == nullptr) continue;
    if (const int error = bpf_map__reuse_fd(map, bpf_map__fd(theirs)); error != 0) {
      return ErrnoStatus(-error, absl::StrCat("share ", bpf_map__name(map)));
    }
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) {
    // As XdpAttacher has it where the driver runs the program.
    if (bpf_program__type(program) == BPF_PROG_TYPE_XDP) {
      bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
    }
    const std::string section = bpf_program__section_name(program);
    if (section.starts_with("iter/") && !TakesIterator(section.c_str() + 5)) {
      bpf_program__set_autoload(program, false);
    }
  }
  if (const int error = bpf_object__load(object.get()); error != 0) {
    return absl::FailedPreconditionError(absl::StrCat("load BPF object: ", std::strerror(-error)));
  }
  return object;
}

absl::StatusOr<RunResult> RunProgram(int program_fd, const Bytes& frame,
                                     const RunContext& context) {
  __sk_buff in{};
  in.ifindex = context.ifindex;
  in.ingress_ifindex = context.ingress_ifindex;
  in.mark = context.mark;
  std::copy(context.cb.begin(), context.cb.end(), in.cb);
  in.gso_segs = context.gso_segs;
  in.gso_size = context.gso_size;
  __sk_buff out{};
  RunResult result;
  result.frame.resize(frame.size() + 2048);  // a program may make the packet longer
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = frame.data();
  opts.data_size_in = static_cast<__u32>(frame.size());
  opts.data_out = result.frame.data();
  opts.data_size_out = static_cast<__u32>(result.frame.size());
  opts.ctx_in = &in;
  opts.ctx_size_in = sizeof(in);
  opts.ctx_out = &out;
  opts.ctx_size_out = sizeof(out);
  opts.repeat = 1;
  if (const int error = bpf_prog_test_run_opts(program_fd, &opts); error != 0) {
    return ErrnoStatus(-error, "run program");
  }
  result.verdict = static_cast<int>(opts.retval);
  result.frame.resize(opts.data_size_out);
  result.mark = out.mark;
  std::copy(std::begin(out.cb), std::end(out.cb), result.cb.begin());
  return result;
}

absl::StatusOr<RunResult> RunXdp(int program_fd, const Bytes& frame, std::uint32_t ifindex) {
  xdp_md in{};
  in.data_end = static_cast<__u32>(frame.size());
  in.ingress_ifindex = ifindex;
  RunResult result;
  result.frame.resize(frame.size() + 2048);
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = frame.data();
  opts.data_size_in = static_cast<__u32>(frame.size());
  opts.data_out = result.frame.data();
  opts.data_size_out = static_cast<__u32>(result.frame.size());
  opts.ctx_in = &in;
  opts.ctx_size_in = sizeof(in);
  opts.repeat = 1;
  if (const int error = bpf_prog_test_run_opts(program_fd, &opts); error != 0) {
    return ErrnoStatus(-error, "run program");
  }
  result.verdict = static_cast<int>(opts.retval);
  result.frame.resize(opts.data_size_out);
  return result;
}

const char* ProgramName(ProgRunner::Program program) {
  switch (program) {
    case ProgRunner::Program::kFromPod:
      return "sl_from_pod";
    case ProgRunner::Program::kToPod:
      return "sl_to_pod";
    case ProgRunner::Program::kFromNet:
      return "sl_from_net";
    case ProgRunner::Program::kToNet:
      return "sl_to_net";
    case ProgRunner::Program::kXdp:
      return "sl_xdp";
  }
  return "";
}

absl::StatusOr<std::unique_ptr<ProgRunner>> ProgRunner::Create(const MapSizes& sizes) {
  std::size_t size = 0;
  const void* elf = sl_tc__elf_bytes(&size);
  ASSIGN_OR_RETURN(BpfObject object, LoadObject({static_cast<const std::byte*>(elf), size}, sizes));
  elf = sl_xdp__elf_bytes(&size);
  ASSIGN_OR_RETURN(BpfObject xdp,
                   LoadObject({static_cast<const std::byte*>(elf), size}, sizes, object.get()));
  ASSIGN_OR_RETURN(DatapathTables tables, DatapathTables::Open(*object));
  return std::unique_ptr<ProgRunner>(
      new ProgRunner(std::move(object), std::move(xdp), std::move(tables)));
}

absl::StatusOr<RunResult> ProgRunner::Run(Program program, const Bytes& frame,
                                          const RunContext& context) const {
  const bool xdp = program == Program::kXdp;
  const bpf_program* found =
      bpf_object__find_program_by_name(xdp ? xdp_.get() : object_.get(), ProgramName(program));
  if (found == nullptr) return absl::NotFoundError(ProgramName(program));
  if (xdp) return RunXdp(bpf_program__fd(found), frame, context.ifindex);
  return RunProgram(bpf_program__fd(found), frame, context);
}

absl::Status ProgRunner::SetXdpBytes(const char* map, const void* key, const void* value) {
  const int fd = bpf_object__find_map_fd_by_name(xdp_.get(), map);
  const int error = value != nullptr ? bpf_map_update_elem(fd, key, value, BPF_ANY)
                                     : bpf_map_delete_elem(fd, key);
  return error == 0 || error == -ENOENT ? absl::OkStatus() : ErrnoStatus(-error, map);
}

absl::StatusOr<std::size_t> ProgRunner::OpeningFlows() const {
  ASSIGN_OR_RETURN(const auto rows, tables_.opening.Dump());
  std::size_t used = 0;
  for (const auto& [index, bucket] : rows) {
    for (std::uint32_t tag : bucket.tag) used += tag != 0 ? 1u : 0u;
  }
  return used;
}

}  // namespace sluice::testing
