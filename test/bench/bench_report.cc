// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_report.h"

#include <sys/utsname.h>

#include <fstream>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

namespace sluice::bench {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string Caches() {
  std::string caches;
  for (int i = 0; i < 5; ++i) {
    const std::string folder = absl::StrCat("/sys/devices/system/cpu/cpu0/cache/index", i, "/");
    const std::string level = FirstLine(folder + "level");
    if (level.empty() || FirstLine(folder + "type") == "Instruction") continue;
    absl::StrAppend(&caches, caches.empty() ? "" : ", ", "L", level, " ",
                    FirstLine(folder + "size"));
  }
  return caches.empty() ? "unknown" : caches;
}

std::string Revision(const std::string& source) {
  const std::string head = FirstLine(source + "/.git/HEAD");
  if (!head.starts_with("ref: ")) return head.empty() ? "unknown" : head;
  const std::string revision = FirstLine(absl::StrCat(source, "/.git/", head.substr(5)));
  return revision.empty() ? "unknown" : revision;
}

}  // namespace

nlohmann::json JsonOf(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

nlohmann::json JsonOf(const Machine& machine) {
  return {{"cpu", machine.cpu},
          {"caches", machine.caches},
          {"kernel", machine.kernel},
          {"revision", machine.revision}};
}

std::string MachineText(const Machine& machine) {
  return absl::StrCat("machine   ", machine.cpu, ", ", machine.caches, "\nkernel    ",
                      machine.kernel, "\nrevision  ", machine.revision, "\n");
}

Machine ThisMachine(const std::string& source) {
  utsname name{};
  uname(&name);
  return {CpuName(), Caches(), absl::StrCat(name.sysname, " ", name.release), Revision(source)};
}

void PrintTable(const Report& report, std::ostream& out) {
  out << MachineText(report.machine) << "\n"
      << "program         instructions   verified\n";
  for (const ProgramSize& program : report.programs) {
    out << absl::StreamFormat("%-15s %12d %10d\n", program.name, program.instructions,
                              program.verified);
  }
  out << "\nns a packet without the wrapper, medians of " << report.rounds
      << " rounds; ratio: median and spread of the rounds' own ratios\n"
      << "services: how many, of so many backends each; lookups: hash + array (updates)\n\n";
  out << absl::StreamFormat("%-38s %-12s %-3s %7s %11s %8s %8s %18s %7s %10s\n", "packet",
                            "program", "IP", "flows", "services", "ns", "floor", "ratio", "budget",
                            "lookups");
  for (const Measurement& m : report.measurements) {
    const std::string flows = m.flows == 0 ? "all new" : absl::StrCat(m.flows);
    const std::string services = absl::StrCat(m.services, " x ", m.backends);
    const std::string ratio =
        absl::StrFormat("%.2f (%.2f-%.2f)", m.ratio.median, m.ratio.least, m.ratio.most);
    const std::string budget = m.budget == 0 ? "" : absl::StrFormat("%.2f", m.budget);
    const std::string lookups = absl::StrFormat(
        "%d+%d (%d)", m.calls.hash_lookups, m.calls.array_reads, m.calls.updates + m.calls.deletes);
    out << absl::StreamFormat("%-38s %-12s %-3s %7s %11s %8.1f %8.1f %18s %7s %10s\n", m.row,
                              m.program, m.family, flows, services, m.ns.median, m.floor_ns.median,
                              ratio, budget, lookups);
  }
}

void PrintJson(const Report& report, std::ostream& out) {
  nlohmann::json json;
  json["machine"] = JsonOf(report.machine);
  json["rounds"] = report.rounds;
  for (const ProgramSize& program : report.programs) {
    json["programs"].push_back({{"name", program.name},
                                {"instructions", program.instructions},
                                {"verified", program.verified}});
  }
  for (const Measurement& m : report.measurements) {
    json["rows"].push_back({{"packet", m.row},
                            {"program", m.program},
                            {"family", m.family},
                            {"flows", m.flows},
                            {"services", m.services},
                            {"backends", m.backends},
                            {"ns", JsonOf(m.ns)},
                            {"floorNs", JsonOf(m.floor_ns)},
                            {"ratio", JsonOf(m.ratio)},
                            {"wrapperNs", m.wrapper_ns},
                            {"budget", m.budget},
                            {"hashLookups", m.calls.hash_lookups},
                            {"arrayReads", m.calls.array_reads},
                            {"updates", m.calls.updates},
                            {"deletes", m.calls.deletes}});
  }
  out << json.dump(2) << "\n";
}

}  // namespace sluice::bench
