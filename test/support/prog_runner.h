// SPDX-License-Identifier: Apache-2.0
// Loads a datapath object with maps of its own (not pinned, so that a running agent is not touched)
// and runs its programs on made frames by BPF_PROG_TEST_RUN.
#pragma once

#include <bpf/libbpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "test/support/datapath_tables.h"
#include "test/support/packet.h"

namespace sluice::testing {

// What the kernel tells a program of the packet besides its bytes.
struct RunContext {
  std::uint32_t ifindex = 1;  // the device whose hook it is, in the caller's network namespace
  std::uint32_t ingress_ifindex = 0;
  std::uint32_t mark = 0;
  std::array<std::uint32_t, 5> cb = {};
  std::uint32_t gso_segs = 0;
  std::uint32_t gso_size = 0;
};

struct RunResult {
  int verdict = 0;  // TC_ACT_*; of sl_xdp, XDP_*
  Bytes frame;
  std::uint32_t mark = 0;
  std::array<std::uint32_t, 5> cb = {};
};

// Map names to their number of rows; others keep the object's own number.
using MapSizes = std::map<std::string, std::uint32_t>;
// Small enough to load in milliseconds, large enough for every test that does not fill a map.
MapSizes SmallMaps();

struct ObjectCloser {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using BpfObject = std::unique_ptr<bpf_object, ObjectCloser>;

// Opens and loads the object in `elf` (a skeleton's <name>__elf_bytes). If it has a constant
// `sl_opening_mask`, that is set to what `sizes` makes of sl_opening.
// Errors: FAILED_PRECONDITION when the verifier refuses it (its log is on stderr),
// INVALID_ARGUMENT.
// Walks that the kernel refuses (TakesIterator) are left out.
// With `maps`, the object takes the maps of that one in place of its own.
absl::StatusOr<BpfObject> LoadObject(std::span<const std::byte> elf, const MapSizes& sizes,
                                     const bpf_object* maps = nullptr);

// Runs the program once on the calling CPU. Errors: INVALID_ARGUMENT when the kernel refuses the
// frame or context, else those of errno.
absl::StatusOr<RunResult> RunProgram(int program_fd, const Bytes& frame, const RunContext& context);
// The same of an XDP program, which is told the device alone.
absl::StatusOr<RunResult> RunXdp(int program_fd, const Bytes& frame, std::uint32_t ifindex);

// The four programs of sl_tc with their maps, and sl_xdp on the same. Thread-compatible.
class ProgRunner {
 public:
  enum class Program { kFromPod, kToPod, kFromNet, kToNet, kXdp };

  // Errors: those of LoadObject.
  static absl::StatusOr<std::unique_ptr<ProgRunner>> Create(const MapSizes& sizes = SmallMaps());

  absl::StatusOr<RunResult> Run(Program program, const Bytes& frame,
                                const RunContext& context = {}) const;
  DatapathTables& tables() { return tables_; }
  const bpf_object& object() const { return *object_; }
  // A map that only sl_xdp uses. Errors: as errno says.
  template <typename Key, typename Value>
  absl::Status SetXdpRow(const char* map, const Key& key, const Value& value) {
    return SetXdpBytes(map, &key, &value);
  }
  template <typename Key>
  absl::Status DeleteXdpRow(const char* map, const Key& key) {
    return SetXdpBytes(map, &key, nullptr);
  }
  // How many entries of sl_opening hold a flow.
  absl::StatusOr<std::size_t> OpeningFlows() const;

 private:
  // `value` null: there is to be no such row.
  absl::Status SetXdpBytes(const char* map, const void* key, const void* value);

  ProgRunner(BpfObject object, BpfObject xdp, DatapathTables tables)
      : object_(std::move(object)), xdp_(std::move(xdp)), tables_(std::move(tables)) {}
  BpfObject object_;
  BpfObject xdp_;
  DatapathTables tables_;
};

const char* ProgramName(ProgRunner::Program program);

}  // namespace sluice::testing
