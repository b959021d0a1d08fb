// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/json_splitter.h"

namespace sluice {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

absl::Status Garbage() { return absl::DataLossError("what the server sends is no JSON"); }

}  // namespace

absl::Status JsonSplitter::Add(std::string_view bytes) {
  for (const char c : bytes) {
    if (state_ == State::kValue) {
      bool ended = false;
      const bool taken = Continue(c, ended);
      if (ended) {
        const absl::Status told = EndValue();
        if (!told.ok()) return told;
      }
      if (taken) continue;
    }
    const absl::Status known = Structure(c);
    if (!known.ok()) return known;
  }
  return absl::OkStatus();
}

absl::Status JsonSplitter::Structure(char c) {
  if (state_ == State::kInKey) {  // keys of lists have no escapes
    if (c == '"') {
      state_ = State::kColon;
    } else if (key_.size() < max_bytes_) {
      key_ += c;
    }
    return absl::OkStatus();
  }
  if (IsSpace(c)) return absl::OkStatus();
  switch (state_) {
    case State::kBefore:
      if (c != '{') return Garbage();
      state_ = State::kKey;
      return absl::OkStatus();
    case State::kBetween:
      if (c != '{') return Garbage();
      BeginValue(c, State::kBetween);
      return absl::OkStatus();
    case State::kKey:
      if (c == ',') return absl::OkStatus();
      if (c != '"' && c != '}') return Garbage();
      state_ = c == '"' ? State::kInKey : State::kAfter;
      key_.clear();
      return absl::OkStatus();
    case State::kColon:
      if (c != ':') return Garbage();
      state_ = State::kMember;
      return absl::OkStatus();
    case State::kMember:
      if (key_ == "items" && c == '[') {
        state_ = State::kItems;
      } else {
        BeginValue(c, State::kKey);
      }
      return absl::OkStatus();
    case State::kItems:
      if (c == ',') return absl::OkStatus();
      if (c != '{' && c != ']') return Garbage();
      if (c == ']') {
        state_ = State::kKey;
      } else {
        BeginValue(c, State::kItems);
      }
      return absl::OkStatus();
    default:
      return Garbage();
  }
}

void JsonSplitter::BeginValue(char c, State after) {
  text_.assign(1, c);
  size_ = 1;
  depth_ = c == '{' || c == '[' ? 1 : 0;
  in_string_ = c == '"';
  escaped_ = false;
  after_ = after;
  state_ = State::kValue;
}

bool JsonSplitter::Continue(char c, bool& ended) {
  const bool is_scalar = depth_ == 0 && !in_string_;
  if (is_scalar && (c == ',' || c == '}' || c == ']' || IsSpace(c))) {
    ended = true;
    return false;
  }
  ++size_;
  if (text_.size() < max_bytes_) text_ += c;
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      ended = depth_ == 0;
    }
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if (c == '}' || c == ']') {
    ended = --depth_ == 0;
  }
  return true;
}

absl::Status JsonSplitter::EndValue() {
  state_ = after_;
  return on_value_(form_ == Form::kValues ? std::string() : key_, text_, size_);
}

}  // namespace sluice
