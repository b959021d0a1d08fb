// SPDX-License-Identifier: Apache-2.0
// Runs programs of the system for tests.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::testing {

// Writes all of it. Errors: those of errno, about `what`.
absl::Status WriteAll(int fd, const std::string& text, const std::string& what);

// Runs a program, found as a shell would, in the calling thread's namespaces, with `input` as its
// standard input. Return: what it wrote. Errors: INTERNAL with the end of that if it fails.
absl::StatusOr<std::string> RunCommand(const std::vector<std::string>& arguments,
                                       const std::string& input);

}  // namespace sluice::testing
