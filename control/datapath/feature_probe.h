// SPDX-License-Identifier: Apache-2.0
// What this kernel can do, found by trying and never by its version number.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

struct Features {
  std::string kernel;         // uname -r
  bool tcx = false;           // links at TC hooks (6.6)
  bool batch_lookup = false;  // reading maps in batches (5.6)
  bool socket_walks = false;  // over socket storage (5.10), which some kernels are hardened against

  // For people: name -> there or not.
  std::map<std::string, bool> Named() const;
};

// Whether the kernel takes a program for walks over this kind of its objects (bpf_iter).
bool TakesIterator(const char* kind);

// Attaches an empty program to the loopback device for a moment where that is the only way to know.
// Errors: PERMISSION_DENIED naming the missing right; FAILED_PRECONDITION naming the first feature
// that sluice cannot do without, the kernel, and what to do. Cost: about ten system calls.
absl::StatusOr<Features> ProbeFeatures();

}  // namespace sluice
