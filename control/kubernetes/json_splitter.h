// SPDX-License-Identifier: Apache-2.0
// Cuts a JSON text that comes in pieces into values, without reading them: one after another, or
// the members of one object, its array `items` element by element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace sluice {

class JsonSplitter {
 public:
  enum class Form { kValues, kMembersAndItems };
  // `member` is the key of the outer object ("items": of an element), empty for kValues. `text` has
  // at most the first `max_bytes` of the value's `size`.
  using OnValue = std::function<absl::Status(const std::string& member, const std::string& text,
                                             std::uint64_t size)>;

  JsonSplitter(Form form, std::size_t max_bytes, OnValue on_value)
      : form_(form),
        max_bytes_(max_bytes),
        on_value_(std::move(on_value)),
        state_(form == Form::kValues ? State::kBetween : State::kBefore) {}

  // The next bytes, cut anywhere. Errors: DATA_LOSS for what cannot be cut; `on_value`'s.
  absl::Status Add(std::string_view bytes);
  // Whether a text that ends here is complete.
  bool AtEnd() const { return state_ == State::kBetween || state_ == State::kAfter; }

 private:
  // Where in the outer structure the next byte is. kBetween: before a value of kValues; the states
  // up to kAfter are those of the outer object.
  enum class State { kBefore, kBetween, kKey, kInKey, kColon, kMember, kItems, kValue, kAfter };

  absl::Status Structure(char c);
  void BeginValue(char c, State after);
  // Whether `c` belongs to the value and, by `ended`, whether it is over.
  bool Continue(char c, bool& ended);
  absl::Status EndValue();

  Form form_;
  std::size_t max_bytes_;
  OnValue on_value_;
  State state_;
  State after_ = State::kBefore;  // the value
  std::string key_;
  std::string text_;
  std::uint64_t size_ = 0;
  std::size_t depth_ = 0;  // of brackets within the value
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace sluice
