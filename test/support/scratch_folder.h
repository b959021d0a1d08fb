// SPDX-License-Identifier: Apache-2.0
// A folder of the test's own for files.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace sluice::testing {

// A new folder below the system's one for temporary files, removed with the object; a test failure
// if there cannot be one.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      ADD_FAILURE() << "cannot make " << name;
      return;
    }
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;  // what is left is in the folder for temporary files
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace sluice::testing
