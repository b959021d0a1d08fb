// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "control/base/clock.h"
#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "maps/abi.h"
#include "maps/client.h"
#include "maps/flow.h"
#include "maps/map_set.h"
#include "maps/names.h"
#include "sl_tc.skel.h"

namespace sluice {
namespace {

constexpr char kBpffsRoot[] = "/sys/fs/bpf";
// The verifier writes from the start and, on kernels before 6.4, stops when the room is used up.
// Untouched pages cost nothing.
constexpr std::size_t kVerifierLogBytes = 16 * 1024 * 1024;
constexpr std::size_t kLogTailLines = 25;

struct SkeletonDeleter {
  void operator()(sl_tc* skeleton) const { sl_tc__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<sl_tc, SkeletonDeleter>;

// Maps that must have one size, and the flag that gives it.
struct SizedMaps {
  const char* flag;
  std::uint32_t MapSizes::*size;
  std::vector<std::string_view> maps;
};

const std::vector<SizedMaps>& Sized() {
  static const std::vector<SizedMaps>* const kSized = new std::vector<SizedMaps>{
      {"--max-frontends", &MapSizes::frontends, {names::kServices}},
      {"--max-services", &MapSizes::services, {names::kServiceStats, names::kServiceNames}},
      {"--max-backends",
       &MapSizes::backends,
       {names::kBackends, names::kBackendStats, names::kLoads}},
      {"--max-slots", &MapSizes::slots, {names::kSlots}},
      {"--max-flows", &MapSizes::flows, {names::kFlows}},
      {"--max-opening", &MapSizes::opening, {names::kOpening}},
  };
  return *kSized;
}

absl::Status MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("create folder ", path));
}

bool OnBpffs(const std::string& path) {
  struct statfs found {};
  return ::statfs(path.c_str(), &found) == 0 &&
         static_cast<std::uint64_t>(found.f_type) == BPF_FS_MAGIC;
}

// The nearest folder at or above `path` that exists.
std::string ExistingPart(std::string path) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) {
    const std::size_t slash = path.rfind('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
  return path;
}

using PinnedMaps = std::map<std::string_view, BpfMap>;

// Opens what is pinned and refuses what this build cannot use.
absl::StatusOr<PinnedMaps> OpenPinned(const std::string& folder) {
  PinnedMaps pinned;
  for (const MapShape& expected : ExpectedMaps()) {
    const std::string path = absl::StrCat(folder, "/", expected.name);
    absl::StatusOr<BpfMap> map = BpfMap::OpenPinned(path);
    if (absl::IsNotFound(map.status())) continue;
    RETURN_IF_ERROR(map);
    if (const absl::Status fits = CheckShape(expected, map->shape()); !fits.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " was made by an incompatible sluice (", fits.message(),
                       "); run `sluiced --cleanup` with the same --bpffs to remove it, which ends "
                       "the connections that it holds"));
    }
    pinned.emplace(expected.name, *std::move(map));
  }
  return pinned;
}

// sl_clients has a size that follows from that of sl_flows; one that is pinned keeps its own.
absl::Status SetClientsSize(bpf_object* object, const PinnedMaps& pinned) {
  bpf_map* clients = bpf_object__find_map_by_name(object, names::kClients);
  const bpf_map* flows = bpf_object__find_map_by_name(object, names::kFlows);
  if (clients == nullptr || flows == nullptr) return absl::InternalError("no sl_clients or flows");
  std::uint32_t words =
      std::bit_ceil(std::max(1U, bpf_map__max_entries(flows) / abi::SL_CLIENT_FLOW_ROWS));
  if (const auto found = pinned.find(names::kClients); found != pinned.end()) {
    words = found->second.shape().max_entries;
  }
  if (!std::has_single_bit(words)) {
    return absl::FailedPreconditionError(absl::StrCat("map sl_clients: ", words,
                                                      " rows are no power of two. It was pinned by "
                                                      "another version: remove it with --cleanup"));
  }
  const int err = bpf_map__set_max_entries(clients, words);
  return err == 0 ? absl::OkStatus() : ErrnoStatus(err, "size of sl_clients");
}

// Gives each map its size: that of a pinned map of its kind, else the flag's.
absl::Status SetSizes(bpf_object* object, const MapSizes& sizes, const PinnedMaps& pinned,
                      std::vector<std::string>& kept) {
  for (const SizedMaps& sized : Sized()) {
    std::uint32_t size = sizes.*sized.size;
    for (const std::string_view name : sized.maps) {
      const auto found = pinned.find(name);
      if (found == pinned.end()) continue;
      const std::uint32_t present = found->second.shape().max_entries;
      if (present != size) {
        kept.push_back(absl::StrCat(found->second.shape().name, " keeps its ", present,
                                    " rows: ", sized.flag, " ", size,
                                    " takes effect after `sluiced --cleanup`"));
      }
      size = present;
      break;
    }
    for (const std::string_view name : sized.maps) {
      bpf_map* map = bpf_object__find_map_by_name(object, std::string(name).c_str());
      if (map == nullptr)
        return absl::InternalError("the BPF object lacks a map that it must have");
      if (const int err = bpf_map__set_max_entries(map, size); err != 0) {
        return ErrnoStatus(err, absl::StrCat(sized.flag, " ", size));
      }
    }
  }
  return absl::OkStatus();
}

// Pinned maps take the place of the object's own; the others are pinned by libbpf when it has made
// them.
absl::Status UsePins(bpf_object* object, const std::string& folder, const PinnedMaps& pinned) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    const std::string name = bpf_map__name(map);
    const auto found = pinned.find(name);
    const int err = found != pinned.end()
                        ? bpf_map__reuse_fd(map, found->second.fd())
                        : bpf_map__set_pin_path(map, absl::StrCat(folder, "/", name).c_str());
    if (err != 0) return ErrnoStatus(err, absl::StrCat("map ", name));
  }
  return absl::OkStatus();
}

std::string Tail(const char* log) {
  std::vector<absl::string_view> lines = absl::StrSplit(log, '\n', absl::SkipEmpty());
  if (lines.size() > kLogTailLines) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kLogTailLines));
  }
  return absl::StrJoin(lines, "\n");
}

// Loads the object; a program that the verifier refuses is named with the end of its log.
absl::Status Load(sl_tc* skeleton) {
  std::map<std::string, std::unique_ptr<char[]>> logs;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    auto& log = logs[bpf_program__name(program)];
    log.reset(new char[kVerifierLogBytes]);  // not value-initialised: see kVerifierLogBytes
    log[0] = '\0';
    bpf_program__set_log_buf(program, log.get(), kVerifierLogBytes);
  }
  const int err = sl_tc__load(skeleton);
  if (err == 0) {
    // The buffers go now; libbpf would read their size, never their content, afterwards.
    bpf_object__for_each_program(program, skeleton->obj) {
      bpf_program__set_log_buf(program, nullptr, 0);
    }
    return absl::OkStatus();
  }
  for (const auto& [name, log] : logs) {
    if (log[0] == '\0') continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the kernel refuses program ", name, " (", ErrnoStatus(err, "load").message(),
                     "); end of the verifier's log:\n", Tail(log.get())));
  }
  return ErrnoStatus(err, "load maps and programs");
}

}  // namespace

absl::Status PinReplacing(int fd, const std::string& path) {
  const std::string fresh = absl::StrCat(path, "_new");  // bpffs allows no dots in names
  ::unlink(fresh.c_str());                               // left over by a crash between the steps
  if (const int err = bpf_obj_pin(fd, fresh.c_str()); err != 0) {
    return ErrnoStatus(err, absl::StrCat("pin ", fresh));
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    const absl::Status failed = ErrnoStatus(errno, absl::StrCat("pin ", path));
    ::unlink(fresh.c_str());
    return failed;
  }
  return absl::OkStatus();
}

absl::Status CheckSizes(const MapSizes& sizes) {
  for (const SizedMaps& sized : Sized()) {
    if (sizes.*sized.size < 2) {
      return absl::InvalidArgumentError(absl::StrCat(sized.flag, ": at least 2"));
    }
  }
  if (!std::has_single_bit(sizes.opening)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-opening ", sizes.opening, ": must be a power of two"));
  }
  return absl::OkStatus();
}

std::string PinFolder(std::string_view bpffs) {
  return absl::StrCat(absl::string_view(bpffs.data(), bpffs.size()), "/v",
                      static_cast<int>(abi::SL_ABI_VERSION));
}

absl::StatusOr<bool> EnsureBpffs(const std::string& bpffs) {
  bool mounted = false;
  if (!OnBpffs(ExistingPart(bpffs))) {
    const bool below_root = absl::StartsWith(bpffs, absl::StrCat(kBpffsRoot, "/"));
    if (!below_root) {
      return absl::FailedPreconditionError(
          absl::StrCat("--bpffs ", bpffs,
                       ": not on a BPF file system; mount one there (`mount -t "
                       "bpf bpf FOLDER`) or give a folder below ",
                       kBpffsRoot));
    }
    if (::mount("bpf", kBpffsRoot, "bpf", 0, "mode=0700") != 0) {
      return ErrnoStatus(errno, absl::StrCat("mount a BPF file system on ", kBpffsRoot));
    }
    mounted = true;
  }
  std::string path;
  for (const absl::string_view part : absl::StrSplit(bpffs, '/', absl::SkipEmpty())) {
    absl::StrAppend(&path, "/", part);
    RETURN_IF_ERROR(MakeFolder(path));
  }
  return mounted;
}

absl::StatusOr<LoadedPrograms> LoadPrograms(const std::string& bpffs, const MapSizes& sizes) {
  RETURN_IF_ERROR(CheckSizes(sizes));
  const std::string folder = PinFolder(bpffs);
  RETURN_IF_ERROR(MakeFolder(folder));
  RETURN_IF_ERROR(MakeFolder(absl::StrCat(folder, "/progs")));
  ASSIGN_OR_RETURN(const PinnedMaps pinned, OpenPinned(folder));

  const Skeleton skeleton(sl_tc__open());
  if (skeleton == nullptr) return ErrnoStatus(errno, "open the BPF object");
  LoadedPrograms loaded;
  loaded.reused_maps = !pinned.empty();
  loaded.new_clients = loaded.reused_maps && !pinned.contains(names::kClients);
  RETURN_IF_ERROR(SetSizes(skeleton->obj, sizes, pinned, loaded.kept_sizes));
  RETURN_IF_ERROR(SetClientsSize(skeleton->obj, pinned));
  // What the programs before have seen is not known: for a while replies are looked for as after a
  // flow that found the table full.
  if (loaded.reused_maps) {
    skeleton->bss->sl_flows_full_tick =
        static_cast<std::uint32_t>(SystemClock().MonotonicNs() >> abi::SL_TICK_SHIFT);
  }
  // The programs find a bucket by masking a hash: the mask follows the map's real size.
  skeleton->rodata->sl_opening_mask = bpf_map__max_entries(skeleton->maps.sl_opening) - 1;
  skeleton->rodata->sl_clients_mask = bpf_map__max_entries(skeleton->maps.sl_clients) - 1;
  RETURN_IF_ERROR(UsePins(skeleton->obj, folder, pinned));
  RETURN_IF_ERROR(Load(skeleton.get()));

  for (std::size_t i = 0; i < kHooks.size(); ++i) {
    const std::string name(kHooks[i].program);
    const bpf_program* program = bpf_object__find_program_by_name(skeleton->obj, name.c_str());
    if (program == nullptr) return absl::InternalError(absl::StrCat("no program ", name));
    // The skeleton's descriptors end with it.
    loaded.programs[i].Reset(::dup(bpf_program__fd(program)));
    if (!loaded.programs[i].valid()) return ErrnoStatus(errno, "dup");
    RETURN_IF_ERROR(PinReplacing(loaded.programs[i].get(), absl::StrCat(folder, "/progs/", name)));
  }
  return loaded;
}

}  // namespace sluice
