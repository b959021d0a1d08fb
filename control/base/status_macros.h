// SPDX-License-Identifier: Apache-2.0
// Passing a failed absl::Status on to the caller. Names and meaning are upstream's, which Debian
// 12's abseil does not have yet; delete this file when it does.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace sluice {

// `status` with "prefix: " before its message; OK stays OK. Name the object, not the function.
inline absl::Status Annotate(absl::Status status, std::string_view prefix) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(absl::string_view(prefix.data(), prefix.size()),
                                                  ": ", status.message()));
}

namespace status_macros_internal {
inline absl::Status ToStatus(absl::Status status) { return status; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}
}  // namespace status_macros_internal

}  // namespace sluice

// Returns from the enclosing function when `expr` (a Status or StatusOr) is not OK.
#define RETURN_IF_ERROR(expr)                                                       \
  do {                                                                              \
    if (absl::Status sl_status_ = ::sluice::status_macros_internal::ToStatus(expr); \
        !sl_status_.ok()) {                                                         \
      return sl_status_;                                                            \
    }                                                                               \
  } while (false)

// ASSIGN_OR_RETURN(auto x, Make()): the value of a StatusOr, or a return with its status.
#define ASSIGN_OR_RETURN(lhs, expr) \
  SL_ASSIGN_OR_RETURN_NAMED_(SL_MACRO_CONCAT_(sl_status_or_, __LINE__), lhs, expr)
#define SL_MACRO_CONCAT_INNER_(a, b) a##b
#define SL_MACRO_CONCAT_(a, b) SL_MACRO_CONCAT_INNER_(a, b)
#define SL_ASSIGN_OR_RETURN_NAMED_(name, lhs, expr) \
  auto name = (expr);                               \
  if (!name.ok()) return name.status();             \
  lhs = std::move(name).value()
