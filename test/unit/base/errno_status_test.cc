// SPDX-License-Identifier: Apache-2.0
#include "control/base/errno_status.h"

#include <cerrno>

#include "gtest/gtest.h"

#include "control/base/status_macros.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

TEST(ErrnoStatusTest, NamesTheObjectAndTheReason) {
  EXPECT_THAT(
      ErrnoStatus(ENOENT, "open /sys/fs/bpf/sluice"),
      StatusIs(absl::StatusCode::kNotFound, "open /sys/fs/bpf/sluice: No such file or directory"));
}

TEST(ErrnoStatusTest, TakesNegativeValuesAsLibbpfReturnsThem) {
  EXPECT_THAT(ErrnoStatus(-EPERM, "x"), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(ErrnoStatusTest, GivesTheCodesThatCallersDecideBy) {
  EXPECT_THAT(ErrnoStatus(EEXIST, "x"), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(ErrnoStatus(EADDRINUSE, "x"), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(ErrnoStatus(EAGAIN, "x"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ErrnoStatus(EBUSY, "x"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ErrnoStatus(EACCES, "x"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(ErrnoStatus(ENODEV, "x"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(ErrnoStatus(EINVAL, "x"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ErrnoStatus(EOPNOTSUPP, "x"), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(ErrnoStatus(EIO, "x"), StatusIs(absl::StatusCode::kInternal));
}

TEST(ErrnoStatusTest, AFullMapIsExhaustedAndNotAnInvalidArgument) {
  EXPECT_THAT(MapErrnoStatus(E2BIG, "sl_flows"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("sl_flows")));
  EXPECT_THAT(MapErrnoStatus(-ENOENT, "sl_flows"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(StatusMacrosTest, AnnotateKeepsTheCodeAndLeavesOkAlone) {
  EXPECT_THAT(Annotate(absl::NotFoundError("gone"), "map sl_meta"),
              StatusIs(absl::StatusCode::kNotFound, "map sl_meta: gone"));
  EXPECT_THAT(Annotate(absl::OkStatus(), "map sl_meta"), IsOk());
}

absl::StatusOr<int> Doubled(absl::StatusOr<int> value) {
  RETURN_IF_ERROR(value);
  ASSIGN_OR_RETURN(const int got, std::move(value));
  return 2 * got;
}

TEST(StatusMacrosTest, ReturnTheFirstFailureAndElseGoOn) {
  EXPECT_THAT(Doubled(21), IsOkAndHolds(42));
  EXPECT_THAT(Doubled(absl::DataLossError("lost")), StatusIs(absl::StatusCode::kDataLoss, "lost"));
}

}  // namespace
}  // namespace sluice::testing
