// SPDX-License-Identifier: Apache-2.0
#include "control/agent/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace sluice {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

void AddProcessMetrics(absl::Time started_at, MetricsWriter& writer) {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    writer.Begin("process_cpu_seconds_total", "counter", "Processor time of the agent.");
    writer.Sample({}, Seconds(usage.ru_utime) + Seconds(usage.ru_stime));
  }
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages = 0;
  std::uint64_t resident = 0;
  if (statm >> pages >> resident) {
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    writer.Single("process_resident_memory_bytes", "gauge", "Memory of the agent.",
                  resident * page_bytes);
    writer.Single("process_virtual_memory_bytes", "gauge", "Address space of the agent.",
                  pages * page_bytes);
  }
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  if (!error) {
    writer.Single("process_open_fds", "gauge", "Descriptors that are open.",
                  static_cast<std::uint64_t>(std::distance(begin(open), end(open))));
  }
  writer.Begin("process_start_time_seconds", "gauge", "When the agent began.");
  writer.Sample({}, absl::ToDoubleSeconds(started_at - absl::UnixEpoch()));
}

}  // namespace sluice
