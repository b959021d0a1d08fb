// SPDX-License-Identifier: Apache-2.0
// The processor that a benchmark runs on, and the time that it has worked.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::bench {

// Keeps the calling thread on the processor that it is on: moving to another in mid-run would be
// measured as a cold cache. Errors: those of errno.
absl::Status StayOnThisCpu();

// Nanoseconds of processor time that the calling thread has had, with the soft interrupts in it.
double ThreadNs();

// The same of the kernel's thread for soft interrupts that the others leave over on this processor.
// Errors: NOT_FOUND; those of errno.
class SoftIrqThread {
 public:
  static absl::StatusOr<SoftIrqThread> OfThisCpu();
  double Ns() const;

 private:
  explicit SoftIrqThread(int process) : process_(process) {}
  int process_;
};

}  // namespace sluice::bench
