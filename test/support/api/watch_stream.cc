// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/watch_stream.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace sluice::api {
namespace {

using Clock = std::chrono::steady_clock;
using StreamingList = FakeApiOptions::StreamingList;

constexpr std::chrono::milliseconds kTick{50};  // how soon a client that went away is noticed
constexpr std::chrono::minutes kLongest{30};

std::string Get(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  return found == query.end() ? "" : found->second;
}

bool IsTrue(const Query& query, const std::string& key) {
  const std::string text = Get(query, key);
  return text == "1" || text == "true";
}

Status Invalid(absl::string_view field, absl::string_view why) {
  return {422,
          "Invalid",
          absl::StrCat("ListOptions.meta.k8s.io \"\" is invalid: ", field, ": Forbidden: ", why),
          {}};
}

// What validation says of sendInitialEvents and resourceVersionMatch.
std::optional<Status> CheckInitialEvents(const Query& query, StreamingList streaming_list) {
  const bool wanted = query.count("sendInitialEvents") > 0;
  const std::string match = Get(query, "resourceVersionMatch");
  if (streaming_list == StreamingList::kUnknown) return std::nullopt;
  if (wanted && streaming_list == StreamingList::kRefused) {
    return Invalid("sendInitialEvents",
                   "sendInitialEvents is forbidden for watch unless the WatchList feature gate is "
                   "enabled");
  }
  if (wanted && match != "NotOlderThan") {
    return Invalid("resourceVersionMatch",
                   "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
  }
  if (!wanted && !match.empty()) {
    return Invalid("resourceVersionMatch",
                   "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                   "provided");
  }
  return std::nullopt;
}

}  // namespace

std::variant<std::unique_ptr<WatchStream>, Status> WatchStream::Begin(ServerState& state,
                                                                      const Resource& resource,
                                                                      const Target& target,
                                                                      const Query& query,
                                                                      Format format) {
  if (auto refused = CheckInitialEvents(query, state.options.streaming_list)) return *refused;
  absl::StatusOr<Selector> selector =
      Selector::Parse(Get(query, "labelSelector"), Get(query, "fieldSelector"));
  if (!selector.ok()) return Status{400, "", std::string(selector.status().message()), {}};
  if (target.name_space.has_value()) selector->SetNamespace(*target.name_space);

  std::uint64_t from = 0;
  const std::string from_text = Get(query, "resourceVersion");
  if (!from_text.empty() && !absl::SimpleAtoi(from_text, &from)) {
    return Status{400, "", absl::StrCat("invalid resource version \"", from_text, "\""), {}};
  }
  const ObjectStore& store = state.store;
  if (from > state.store.version() && state.options.refuses_future_watches) {
    return TooLarge(from, state.store.version());
  }
  const bool initial =
      IsTrue(query, "sendInitialEvents") && state.options.streaming_list == StreamingList::kServed;
  const bool from_now = initial || from == 0;
  auto stream =
      absl::WrapUnique(new WatchStream(state, resource,
                                       from_now ? WatchCursor(resource, *std::move(selector), store)
                                                : WatchCursor(resource, *std::move(selector), from),
                                       format));
  stream->bookmarks_ = IsTrue(query, "allowWatchBookmarks");
  stream->end_bookmark_due_ = initial && stream->bookmarks_;
  if (!from_now && from < store.compacted()) {
    stream->error_ =
        Status{410,
               "Expired",
               absl::StrCat("too old resource version: ", from, " (", store.compacted(), ")"),
               {}};
  }
  // A plain watch from the future is silent until that has come; so are real ones.
  if (initial && from > store.version()) stream->error_ = TooLarge(from, store.version());
  std::int64_t seconds = 0;
  if (absl::SimpleAtoi(Get(query, "timeoutSeconds"), &seconds) && seconds > 0) {
    stream->deadline_ = Clock::now() + std::chrono::seconds(seconds);
  }
  state.watches.insert(&stream->control_);
  state.Changed();
  return stream;
}

WatchStream::WatchStream(ServerState& state, const Resource& resource, WatchCursor cursor,
                         Format format)
    : state_(state),
      resource_(resource),
      cursor_(std::move(cursor)),
      format_(format),
      deadline_(Clock::now() + kLongest),
      next_bookmark_(Clock::now() + absl::ToChronoNanoseconds(state.options.bookmark_interval)) {
  control_.resource = resource.name;
}

WatchStream::~WatchStream() {
  const std::lock_guard<std::mutex> held(state_.lock);
  state_.watches.erase(&control_);
  state_.Changed();
}

// The next thing to say now, if any. Requires: the lock is held.
std::optional<WatchEvent> WatchStream::NextEvent() {
  if (end_bookmark_due_ && cursor_.initial_events_said()) {
    end_bookmark_due_ = false;
    return cursor_.Bookmark(true);
  }
  if (std::optional<WatchEvent> event = cursor_.Next(state_.store)) return event;
  cursor_.SkipTo(state_.store.version());
  const bool in_future = cursor_.version() > state_.store.version();
  if (bookmarks_ && !in_future && (control_.bookmark || Clock::now() >= next_bookmark_)) {
    control_.bookmark = false;
    next_bookmark_ = Clock::now() + absl::ToChronoNanoseconds(state_.options.bookmark_interval);
    return cursor_.Bookmark(false);
  }
  control_.bookmark = false;
  return std::nullopt;
}

std::string WatchStream::Encode(const WatchEvent& event) const {
  return EventBody(format_, event.type,
                   ObjectBody(format_, resource_.type(), event.object, *resource_.prototype));
}

WatchStream::End WatchStream::Turn(const Write& write, const std::function<bool()>& alive) {
  std::optional<WatchEvent> event;
  std::optional<TakenFault> fault;
  {
    std::unique_lock<std::mutex> held(state_.lock);
    if (state_.stopping || control_.cut) return End::kCut;
    if (control_.end || Clock::now() >= deadline_) return End::kInOrder;
    if (!error_.has_value()) {
      event = NextEvent();
      if (!event.has_value()) {
        const std::uint64_t seen = state_.changes;
        state_.changed.wait_for(held, kTick, [&] { return state_.changes != seen; });
        held.unlock();
        return alive() ? End::kNotYet : End::kCut;
      }
      fault = state_.TakeFault(resource_.name, "event");
    }
  }
  if (error_.has_value()) {
    write(EventBody(format_, "ERROR", StatusBody(format_, WithDefaults(*error_))));
    return End::kInOrder;
  }
  return Say(*event, std::move(fault), write, alive);
}

WatchStream::End WatchStream::Say(const WatchEvent& event, std::optional<TakenFault> fault,
                                  const Write& write, const std::function<bool()>& alive) {
  WatchEvent said = event;
  if (fault.has_value() && fault->kind == ApiFault::Kind::kOldVersion) {
    SetVersion(said, resource_, 1);
  }
  if (fault.has_value() && fault->kind == ApiFault::Kind::kStatus) {
    error_ = Status{fault->code, fault->reason, fault->message, fault->retry_after_seconds};
    return End::kNotYet;
  }
  std::string bytes = Encode(said);
  if (fault.has_value() && fault->kind == ApiFault::Kind::kText) bytes = fault->text;
  const std::size_t size = bytes.size();
  if (!fault.has_value() && fault_.has_value() && said_bytes_ + size > fault_->after) {
    fault = fault_;
    fault->after -= std::min(fault->after, said_bytes_);
  }
  said_bytes_ += size;
  if (!WriteBytes(state_, std::move(bytes), fault, write, alive)) return End::kCut;
  if (state_.options.on_frame_written) {
    state_.options.on_frame_written(resource_.name, event.version);
  }
  return End::kNotYet;
}

}  // namespace sluice::api
