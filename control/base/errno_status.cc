// SPDX-License-Identifier: Apache-2.0
#include "control/base/errno_status.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

absl::StatusCode CodeOf(int err) {
  switch (err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case EAGAIN:
    case EBUSY:
    case EINTR:
      return absl::StatusCode::kUnavailable;
    case EPERM:
    case EACCES:
      return absl::StatusCode::kPermissionDenied;
    case EINVAL:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
      return absl::StatusCode::kResourceExhausted;
    case EOPNOTSUPP:
    case ENOSYS:
      return absl::StatusCode::kUnimplemented;
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status Make(absl::StatusCode code, int err, std::string_view what) {
  return absl::Status(code, absl::StrCat(absl::string_view(what.data(), what.size()), ": ",
                                         std::system_category().message(err)));
}

}  // namespace

absl::Status ErrnoStatus(int err, std::string_view what) {
  err = std::abs(err);
  return Make(CodeOf(err), err, what);
}

absl::Status MapErrnoStatus(int err, std::string_view what) {
  err = std::abs(err);
  if (err == E2BIG) return Make(absl::StatusCode::kResourceExhausted, err, what);
  return Make(CodeOf(err), err, what);
}

}  // namespace sluice
