// SPDX-License-Identifier: Apache-2.0
#include "control/agent/state_lock.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

TEST(StateLockTest, KeepsASecondAgentOutAndNamesTheFirst) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "state-lock-", ::getpid());
  {
    const auto held = StateLock::Take(folder);
    ASSERT_THAT(held, IsOk());
    // flock(2) tells open files apart, so one process is enough to try.
    EXPECT_THAT(StateLock::Take(folder),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         ::testing::AllOf(::testing::HasSubstr(absl::StrCat(::getpid())),
                                          ::testing::HasSubstr(folder))));
    EXPECT_THAT(StateLock::Take(folder + "-other"), IsOk());
  }
  EXPECT_THAT(StateLock::Take(folder), IsOk());
  std::filesystem::remove_all(folder);
  std::filesystem::remove_all(folder + "-other");
}

}  // namespace
}  // namespace sluice::testing
