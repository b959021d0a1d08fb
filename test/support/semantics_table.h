// SPDX-License-Identifier: Apache-2.0
// The table of test/data/semantics, as test/support/semantics/table.py multiplies it out when the
// tests are built: what to load, and what should become of each flow.
#pragma once

#include <string>
#include <vector>

#include "test/support/flow_evaluation.h"

namespace sluice::testing {

struct SemanticsFlow {
  std::string name;  // for people: "outside, TCP to 10.96.0.1 80"
  FlowQuestion question;
  FlowAnswer expected;
};

struct SemanticsCase {
  std::string name;
  std::vector<SemanticsFlow> flows;
};

// What is loaded into one agent.
struct SemanticsSetup {
  std::string name;
  std::vector<std::string> flags;  // of the agent
  std::string manifests;           // as a file has them
  std::vector<SemanticsCase> cases;
};

struct SemanticsTable {
  std::vector<IpAddress> node_addresses;  // all of node-a's
  std::vector<SemanticsSetup> setups;
  std::size_t flow_count = 0;  // as the table says, of those that are asked of the desired state
};

// Reads what table.py wrote. Ends the program when that cannot be read: the build made it.
SemanticsTable ReadSemanticsTable(const std::string& path);

}  // namespace sluice::testing
