// SPDX-License-Identifier: Apache-2.0
#include "test/bench/this_cpu.h"

#include <sched.h>
#include <time.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"

namespace sluice::bench {

absl::Status StayOnThisCpu() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) return ErrnoStatus(errno, "pin to a CPU");
  return absl::OkStatus();
}

double ThreadNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

absl::StatusOr<SoftIrqThread> SoftIrqThread::OfThisCpu() {
  const std::string wanted = absl::StrCat("ksoftirqd/", sched_getcpu());
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    int process = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &process)) continue;
    std::ifstream file(entry.path() / "comm");
    std::string name;
    if (std::getline(file, name) && name == wanted) return SoftIrqThread(process);
  }
  return absl::NotFoundError(wanted);
}

double SoftIrqThread::Ns() const {
  std::ifstream file(absl::StrCat("/proc/", process_, "/schedstat"));
  double ns = 0;
  file >> ns;
  return ns;
}

}  // namespace sluice::bench
