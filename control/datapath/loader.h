// SPDX-License-Identifier: Apache-2.0
// Brings the programs and maps into the kernel and pins them: `<folder>/<map>` and
// `<folder>/progs/<program>`, where folder is `<bpffs>/v<abi>`. What is pinned already and fits is
// used again, so that a restart keeps every flow.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "control/datapath/hooks.h"

namespace sluice {

// Rows of the maps that a flag sizes. The defaults are those of the BPF object (bpf/maps.h).
struct MapSizes {
  std::uint32_t frontends = 65536;  // sl_services
  std::uint32_t services = 32768;   // service ids: sl_svc_stats, sl_svc_names
  std::uint32_t backends = 262144;  // backend ids: sl_backends, sl_be_stats
  std::uint32_t slots = 1048576;    // sl_slots
  std::uint32_t flows = 524288;     // sl_flows: two a flow
  std::uint32_t opening = 32768;    // sl_opening: buckets of four flows; a power of two
};

// Errors: INVALID_ARGUMENT naming the flag.
absl::Status CheckSizes(const MapSizes& sizes);

// "<bpffs>/v1".
std::string PinFolder(std::string_view bpffs);

// Makes sure that `bpffs` exists as a folder on a BPF file system; mounts one on /sys/fs/bpf when
// `bpffs` is below it and nothing is mounted there yet. Returns whether it mounted.
// Errors: FAILED_PRECONDITION for a path on another file system, PERMISSION_DENIED.
absl::StatusOr<bool> EnsureBpffs(const std::string& bpffs);

// Pins `fd` at `path` in one step, whatever was there. Errors: as errno says.
absl::Status PinReplacing(int fd, const std::string& path);

struct LoadedPrograms {
  std::array<UniqueFd, kHooks.size()> programs;  // in the order of kHooks
  // A pinned map that keeps its size although a flag asks for another, for people.
  std::vector<std::string> kept_sizes;
  bool reused_maps = false;  // at least one was pinned before
  bool new_clients = false;  // of those sl_clients was none: it does not know of the flows there
};

// Loads the programs on pinned or new maps, and pins what is new; programs replace those pinned
// before in one step each. Nothing is attached. On an error the maps that are new may stay pinned,
// empty; nothing pinned before has changed.
// Errors: FAILED_PRECONDITION when a pinned map is not what this build's ABI says (it is never
// reinterpreted) or the verifier refuses a program (the tail of its log is in the message);
// PERMISSION_DENIED; RESOURCE_EXHAUSTED when there is not enough memory for the maps.
absl::StatusOr<LoadedPrograms> LoadPrograms(const std::string& bpffs, const MapSizes& sizes);

}  // namespace sluice
