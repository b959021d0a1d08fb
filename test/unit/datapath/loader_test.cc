// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/loader.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

TEST(CheckSizesTest, TheDefaultsAreGood) { EXPECT_THAT(CheckSizes({}), IsOk()); }

TEST(CheckSizesTest, BucketsMustBeAPowerOfTwo) {
  MapSizes sizes;
  sizes.opening = 1000;
  EXPECT_THAT(CheckSizes(sizes),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--max-opening 1000")));
  sizes.opening = 1024;
  EXPECT_THAT(CheckSizes(sizes), IsOk());
}

TEST(CheckSizesTest, NoMapMayBeWithoutRoom) {
  MapSizes sizes;
  sizes.backends = 0;
  EXPECT_THAT(CheckSizes(sizes),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--max-backends")));
}

TEST(PinFolderTest, CarriesTheVersionOfTheAbi) {
  EXPECT_EQ(PinFolder("/sys/fs/bpf/sluice"), "/sys/fs/bpf/sluice/v1");
}

TEST(EnsureBpffsTest, RefusesAFolderOnAnotherFileSystem) {
  EXPECT_THAT(EnsureBpffs("/tmp/sluice-no-bpffs"), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                            HasSubstr("not on a BPF file system")));
}

}  // namespace
}  // namespace sluice::testing
