// SPDX-License-Identifier: Apache-2.0
// Running the programs that know the kernel's tables: iptables, nft, ipset, ipvsadm.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

struct CommandResult {
  int exit_code = 0;   // 128 + signal for one that a signal has ended
  std::string output;  // standard output
  std::string errors;  // standard error
};

class CommandRunner {
 public:
  virtual ~CommandRunner() = default;
  // Runs arguments[0], found on PATH and in the sbin folders, with `input` on its standard input,
  // and waits for its end. A program that fails is a result and no error.
  // Errors: NOT_FOUND: there is no such program; others by errno.
  virtual absl::StatusOr<CommandResult> Run(const std::vector<std::string>& arguments,
                                            std::string_view input) = 0;
};

class SystemCommandRunner : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const std::vector<std::string>& arguments,
                                    std::string_view input) override;
};

}  // namespace sluice
