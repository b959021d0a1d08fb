// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::StatusIs;
using ::testing::HasSubstr;

TEST(CommandTest, GivesInputAndReturnsWhatWasSaid) {
  SystemCommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "tr a-z A-Z; echo trouble >&2; exit 3"}, "some text");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "SOME TEXT");
  EXPECT_EQ(result->errors, "trouble\n");
}

// Both more than a pipe holds: neither side may wait for the other.
TEST(CommandTest, TakesMuchInputAndOutput) {
  SystemCommandRunner runner;
  const std::string input(3'000'000, 'x');
  const auto result = runner.Run({"cat"}, input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->output == input);
}

TEST(CommandTest, AProgramThatASignalEndsHasFailed) {
  SystemCommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "kill -9 $$"}, "");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 128 + SIGKILL);
}

TEST(CommandTest, NamesAProgramThatIsMissing) {
  SystemCommandRunner runner;
  EXPECT_THAT(runner.Run({"no-such-program"}, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no-such-program")));
}

TEST(CommandTest, SignalsThatTheCallerBlocksReachTheProgram) {
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &set, &before), 0);
  SystemCommandRunner runner;
  const auto result = runner.Run({"sh", "-c", "kill -TERM $$; echo survived"}, "");
  ASSERT_EQ(::sigprocmask(SIG_SETMASK, &before, nullptr), 0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 128 + SIGTERM);
}

}  // namespace
}  // namespace sluice
