// SPDX-License-Identifier: Apache-2.0
#include "control/base/unique_fd.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <utility>

#include "gtest/gtest.h"

namespace sluice {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesWhatItOwns) {
  int number = -1;
  {
    const UniqueFd fd(::eventfd(0, 0));
    number = fd.get();
    ASSERT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST(UniqueFdTest, MovesItsDescriptorAndClosesTheOneItHad) {
  UniqueFd from(::eventfd(0, 0));
  UniqueFd to(::eventfd(0, 0));
  const int kept = from.get();
  const int closed = to.get();
  to = std::move(from);
  EXPECT_EQ(to.get(), kept);
  EXPECT_TRUE(IsOpen(kept));
  EXPECT_FALSE(IsOpen(closed));
}

TEST(UniqueFdTest, ReleaseGivesItUpOpen) {
  UniqueFd fd(::eventfd(0, 0));
  const UniqueFd taken(fd.Release());
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(IsOpen(taken.get()));
}

}  // namespace
}  // namespace sluice
