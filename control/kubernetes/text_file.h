// SPDX-License-Identifier: Apache-2.0
// Small files whose content is replaced while we run: kubeconfigs, tokens.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace sluice {

// The file's content. Never blocks on a pipe or device. Errors: FAILED_PRECONDITION when it is no
// regular file; OUT_OF_RANGE when it is longer than `max_bytes`; else as open(2), read(2).
absl::StatusOr<std::string> ReadTextFile(const std::string& path, std::size_t max_bytes);

}  // namespace sluice
