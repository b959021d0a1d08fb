// SPDX-License-Identifier: Apache-2.0
// The benchmark's results as a table for people and JSON for scripts.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "test/bench/bench_kernel.h"
#include "test/bench/spread.h"

namespace sluice::bench {

struct Measurement {
  std::string row = {};
  std::string program = {};
  std::string family = {};
  std::uint32_t flows = 0;  // 0: every packet is a new flow
  std::uint32_t services = 0;
  std::uint32_t backends = 0;  // of each service
  Spread ns = {};              // a packet, without the wrapper
  Spread floor_ns = {};        // the same of the floor
  Spread ratio = {};           // of one round each
  double wrapper_ns = 0;
  Calls calls = {};
  double budget = 0;  // of the ratio's median; 0: none
};

struct ProgramSize {
  std::string name;
  std::uint64_t instructions = 0;
  std::uint64_t verified = 0;
};

struct Machine {
  std::string cpu;
  std::string caches;
  std::string kernel;
  std::string revision;
};
// `source`: the project's folder, for the revision.
Machine ThisMachine(const std::string& source);

// Three lines.
std::string MachineText(const Machine& machine);
nlohmann::json JsonOf(const Machine& machine);
nlohmann::json JsonOf(const Spread& spread);

struct Report {
  Machine machine = {};
  std::uint32_t rounds = 0;
  std::vector<ProgramSize> programs = {};
  std::vector<Measurement> measurements = {};
};

void PrintTable(const Report& report, std::ostream& out);
void PrintJson(const Report& report, std::ostream& out);

}  // namespace sluice::bench
