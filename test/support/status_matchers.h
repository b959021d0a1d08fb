// SPDX-License-Identifier: Apache-2.0
// gMock matchers for absl::Status and absl::StatusOr, with the names and meaning of abseil's own
// absl/status/status_matchers.h, which the abseil of Debian 12 does not have. To be deleted in its
// favour when the oldest platform has it.
#pragma once

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace sluice::testing {
namespace status_internal {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

class StatusIsMatcher {
 public:
  StatusIsMatcher(::testing::Matcher<absl::StatusCode> code,
                  ::testing::Matcher<std::string> message)
      : code_(std::move(code)), message_(std::move(message)) {}

  using is_gtest_matcher = void;
  template <typename T>
  bool MatchAndExplain(const T& value, ::testing::MatchResultListener* listener) const {
    const absl::Status& status = StatusOf(value);
    *listener << "whose status is " << status.ToString();
    return code_.Matches(status.code()) && message_.Matches(std::string(status.message()));
  }
  void DescribeTo(std::ostream* os) const { Describe("has", os); }
  void DescribeNegationTo(std::ostream* os) const { Describe("does not have", os); }

 private:
  void Describe(const char* verb, std::ostream* os) const {
    *os << verb << " a status code that ";
    code_.DescribeTo(os);
    *os << " and a message that ";
    message_.DescribeTo(os);
  }

  ::testing::Matcher<absl::StatusCode> code_;
  ::testing::Matcher<std::string> message_;
};

template <typename StatusOrType>
class IsOkAndHoldsMatcher : public ::testing::MatcherInterface<StatusOrType> {
 public:
  using Value = typename std::remove_reference_t<StatusOrType>::value_type;

  template <typename Inner>
  explicit IsOkAndHoldsMatcher(Inner&& inner)
      : inner_(::testing::SafeMatcherCast<const Value&>(std::forward<Inner>(inner))) {}

  bool MatchAndExplain(StatusOrType actual,
                       ::testing::MatchResultListener* listener) const override {
    if (!actual.ok()) {
      *listener << "whose status is " << actual.status().ToString();
      return false;
    }
    return inner_.MatchAndExplain(*actual, listener);
  }
  void DescribeTo(std::ostream* os) const override {
    *os << "is OK and has a value that ";
    inner_.DescribeTo(os);
  }
  void DescribeNegationTo(std::ostream* os) const override {
    *os << "is not OK or has a value that ";
    inner_.DescribeNegationTo(os);
  }

 private:
  ::testing::Matcher<const Value&> inner_;
};

template <typename Inner>
class IsOkAndHoldsFactory {
 public:
  explicit IsOkAndHoldsFactory(Inner inner) : inner_(std::move(inner)) {}
  template <typename StatusOrType>
  operator ::testing::Matcher<StatusOrType>() const {  // NOLINT(google-explicit-constructor):
                                                       // gMock's way of making polymorphic matchers
    return ::testing::Matcher<StatusOrType>(
        new IsOkAndHoldsMatcher<const std::remove_reference_t<StatusOrType>&>(inner_));
  }

 private:
  Inner inner_;
};

}  // namespace status_internal

// Matches a Status or StatusOr that is OK.
inline status_internal::StatusIsMatcher IsOk() {
  return {::testing::Eq(absl::StatusCode::kOk), ::testing::_};
}

// Matches a Status or StatusOr by its code and, if given, its message.
template <typename Code, typename Message>
status_internal::StatusIsMatcher StatusIs(Code&& code, Message&& message) {
  return {::testing::MatcherCast<absl::StatusCode>(std::forward<Code>(code)),
          ::testing::MatcherCast<std::string>(std::forward<Message>(message))};
}
template <typename Code>
status_internal::StatusIsMatcher StatusIs(Code&& code) {
  return StatusIs(std::forward<Code>(code), ::testing::_);
}

// Matches a StatusOr that is OK and whose value matches `inner`.
template <typename Inner>
status_internal::IsOkAndHoldsFactory<std::decay_t<Inner>> IsOkAndHolds(Inner&& inner) {
  return status_internal::IsOkAndHoldsFactory<std::decay_t<Inner>>(std::forward<Inner>(inner));
}

}  // namespace sluice::testing
