// SPDX-License-Identifier: Apache-2.0
#include "control/source/kube_reflector.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/kubernetes/answer_status.h"

namespace sluice {
namespace {

using google::protobuf::Message;

constexpr int kMetadataField = 1;
constexpr char kInitialEventsEnd[] = "k8s.io/initial-events-end";
// So many answers in a row from before what is known are a lagging server; more are the truth: a
// cluster that was restored from a backup.
constexpr int kOlderListsRefused = 3;
// So many streaming lists in a row that end in their middle are a server that cannot do them.
constexpr int kStreamTries = 2;

const model::ObjectMeta& MetadataOf(const Message& object) {
  const auto* field = object.GetDescriptor()->FindFieldByNumber(kMetadataField);
  return static_cast<const model::ObjectMeta&>(object.GetReflection()->GetMessage(object, field));
}

// So many watches in a row that fall silent, without even a bookmark between, are from a version
// that the server has not reached: it was restored from a backup, and says nothing until it is
// there again (kubernetes#107457).
constexpr int kSilentWatches = 2;

// 0 for what is no number: versions are only compared when they can be.
std::uint64_t VersionOf(const std::string& text) {
  std::uint64_t version = 0;
  return absl::SimpleAtoi(text, &version) ? version : 0;
}

std::string KeyOf(const ObjectName& name) { return absl::StrCat(name.name_space, "/", name.name); }

ObjectName NameOf(const std::string& key) {
  const std::size_t slash = key.find('/');
  return {key.substr(0, slash), key.substr(slash + 1)};
}

}  // namespace

KubeReflector::KubeReflector(ResourceKind kind, const ReflectorOptions& options, ObjectSink& sink,
                             const Clock& clock, std::uint64_t seed)
    : kind_(std::move(kind)),
      options_(options),
      sink_(sink),
      clock_(clock),
      backoff_(options.retry_min, options.retry_max, seed),
      object_(kind_.prototype->New()),
      protobuf_(options.protobuf) {
  status_.resource = kind_.resource;
  BeginList();
}

void KubeReflector::BeginList() {
  phase_ = stream_refused_ || stream_failures_ >= kStreamTries ? Phase::kPages : Phase::kStream;
  ++list_;
  continue_.clear();
  list_version_.clear();
  unnamed_skipped_ = false;
}

KubeReflector::Step KubeReflector::Next() {
  ApiCall call;
  call.resource = kind_.resource;
  call.path = kind_.path;
  call.verb = phase_ == Phase::kPages ? "list" : "watch";
  const char* stream = phase_ == Phase::kPages ? "" : ";stream=watch";
  call.accept = absl::StrCat(kContentTypeJson, stream);
  if (protobuf_) call.accept = absl::StrCat(kContentTypeProtobuf, stream, ",", call.accept);
  if (!kind_.label_selector.empty()) call.query.emplace_back("labelSelector", kind_.label_selector);
  if (!kind_.field_selector.empty()) call.query.emplace_back("fieldSelector", kind_.field_selector);
  if (phase_ == Phase::kPages) {
    if (!whole_list_) call.query.emplace_back("limit", absl::StrCat(options_.page_size));
    if (!continue_.empty()) call.query.emplace_back("continue", continue_);
  } else {
    const absl::Duration life = backoff_.Between(options_.watch_min, options_.watch_max);
    call.query.emplace_back("watch", "1");
    call.query.emplace_back("allowWatchBookmarks", "true");
    call.query.emplace_back("timeoutSeconds", absl::StrCat(absl::ToInt64Seconds(life)));
    if (phase_ == Phase::kStream) {
      call.query.emplace_back("sendInitialEvents", "true");
      call.query.emplace_back("resourceVersionMatch", "NotOlderThan");
    } else {
      call.query.emplace_back("resourceVersion", status_.version);
    }
    if (std::exchange(begun_, true)) ++status_.restarts;
  }
  call.fresh_connection = std::exchange(fresh_connection_, false);
  decoder_.reset();
  decoder_status_ = absl::OkStatus();
  relist_ = false;
  status_.connected = false;
  return {std::exchange(wait_, absl::ZeroDuration()), std::move(call)};
}

absl::Duration KubeReflector::SilenceLimit() const {
  if (phase_ == Phase::kWatch) return options_.watch_silence;
  const bool streaming = phase_ == Phase::kStream && status_.connected;
  return streaming ? options_.initial_silence : options_.answer_silence;
}

void KubeReflector::OnHead(std::string_view content_type) {
  status_.connected = true;
  answered_ns_ = last_heard_ns_ = clock_.MonotonicNs();
  status_.last_heard = clock_.Now();
  const AnswerForm form = phase_ == Phase::kPages ? AnswerForm::kList : AnswerForm::kWatch;
  auto decoder = MakeDecoder(content_type, form, kind_.kind, *object_, *this);
  decoder_status_ = decoder.status();
  if (!decoder.ok()) return;  // OnBody or OnEnd tells
  decoder_ = *std::move(decoder);
  Recover(Cure::kHead);
}

absl::Status KubeReflector::OnBody(std::string_view bytes) {
  last_heard_ns_ = clock_.MonotonicNs();
  status_.last_heard = clock_.Now();
  RETURN_IF_ERROR(decoder_status_);
  const absl::Status added = decoder_->Add(bytes);
  relist_ |= !added.ok();
  return added;
}

absl::Status KubeReflector::OnListMeta(const kube::ListMeta& meta) {
  continue_ = meta.continue_token();
  if (!list_version_.empty()) return absl::OkStatus();  // a further page of the same
  list_version_ = meta.resource_version();
  const std::uint64_t version = VersionOf(list_version_);
  return version != 0 && version < version_ ? Older(version) : absl::OkStatus();
}

absl::Status KubeReflector::OnItem(Message& object) { return Store(object); }

absl::Status KubeReflector::OnEvent(WatchEventType type, Message& object) {
  const model::ObjectMeta& metadata = MetadataOf(object);
  if (type == WatchEventType::kBookmark) return Bookmark(metadata);
  ++status_.events;
  const std::string text = metadata.resource_version();
  const std::uint64_t version = VersionOf(text);
  const bool live = phase_ == Phase::kWatch;
  if (live && version != 0 && version < version_) return Older(version);
  if (type == WatchEventType::kDeleted) {
    const ObjectName name = {metadata.name_space(), metadata.name()};
    if (known_.erase(KeyOf(name)) > 0) sink_.DeleteObject(name);
  } else {
    RETURN_IF_ERROR(Store(object));
  }
  if (!live) return absl::OkStatus();
  status_.version = text;
  version_ = version;
  Recover(Cure::kEvent);
  return absl::OkStatus();
}

absl::Status KubeReflector::Bookmark(const model::ObjectMeta& metadata) {
  const std::uint64_t version = VersionOf(metadata.resource_version());
  if (version != 0 && version < version_) return Older(version);
  if (phase_ == Phase::kWatch) {
    status_.version = metadata.resource_version();
    version_ = version;
    Recover(Cure::kEvent);
    return absl::OkStatus();
  }
  const auto end = metadata.annotations().find(kInitialEventsEnd);
  if (end != metadata.annotations().end() && end->second == "true") {
    FinishList(metadata.resource_version());
    return absl::OkStatus();
  }
  // A server that knows streaming lists sends no other bookmark before that one.
  stream_refused_ = true;
  return absl::UnimplementedError("the server does not know streaming lists");
}

absl::Status KubeReflector::OnError(const kube::Status& error) {
  return absl::Status(CodeOfHttp(error.code()), absl::StrCat("the server ends the watch: ",
                                                             TextOfStatus(error.code(), error)));
}

absl::Status KubeReflector::OnOversize(const std::string& name_space, const std::string& name,
                                       std::uint64_t bytes) {
  const ObjectName skipped = {name_space, name};
  if (name.empty()) {
    unnamed_skipped_ = true;
  } else {
    known_[KeyOf(skipped)] = {0, list_};
  }
  sink_.SkipObject(skipped, absl::StrCat("an object of ", bytes,
                                         " bytes, of which Kubernetes "
                                         "itself takes no more than 3 MiB: not read"));
  return absl::OkStatus();
}

// What is said again by a list cannot be older than what is known, nor can an object turn up that
// was not there before: that server is behind.
absl::Status KubeReflector::CheckObjectVersion(const std::string& key, std::uint64_t version) {
  if (version == 0 || phase_ == Phase::kWatch) return absl::OkStatus();
  const auto known = known_.find(key);
  const bool behind = known == known_.end() ? version <= version_ : version < known->second.version;
  return behind ? Older(version) : absl::OkStatus();
}

absl::Status KubeReflector::Older(std::uint64_t version) {
  return absl::AbortedError(absl::StrCat("the server sends version ", version, ", though ",
                                         version_,
                                         " was seen before: it lags behind, or was "
                                         "restored from a backup"));
}

absl::Status KubeReflector::Store(Message& object) {
  const model::ObjectMeta& metadata = MetadataOf(object);
  if (metadata.name().empty()) return absl::DataLossError("an object without a name");
  const std::string key = KeyOf({metadata.name_space(), metadata.name()});
  const std::uint64_t version = VersionOf(metadata.resource_version());
  RETURN_IF_ERROR(CheckObjectVersion(key, version));
  known_[key] = {version, list_};
  sink_.SetObject(object);
  return absl::OkStatus();
}

// All that is there was said: what was not, is gone.
void KubeReflector::FinishList(const std::string& version) {
  for (auto it = known_.begin(); it != known_.end();) {
    if (it->second.list == list_ || unnamed_skipped_) {
      ++it;
      continue;
    }
    const ObjectName gone = NameOf(it->first);
    it = known_.erase(it);
    sink_.DeleteObject(gone);
  }
  status_.version = version;
  version_ = VersionOf(version);
  phase_ = Phase::kWatch;
  whole_list_ = false;
  stream_failures_ = older_lists_ = 0;
  silent_watches_ = 0;
  ++status_.lists;
  status_.synced = true;
  status_.absent = false;
  answered_ns_ = clock_.MonotonicNs();  // the watch begins
  Recover(Cure::kList);
}

void KubeReflector::OnEnd(const ApiEnd& end) {
  absl::Status status = end.status;
  if (status.ok()) status = decoder_status_;
  if (status.ok() && decoder_ != nullptr) {
    status = Annotate(decoder_->End(), absl::StrCat("watch ", kind_.resource));
  }
  if (status.ok()) {
    EndWell();
  } else if (!Adapt(end, status)) {
    Fail(status, end.retry_after);
  }
  decoder_.reset();
  status_.connected = false;
}

void KubeReflector::EndWell() {
  if (phase_ == Phase::kStream) {
    return Fail(absl::UnavailableError(
                    absl::StrCat("watch ", kind_.resource, ": it ended before the list was whole")),
                absl::ZeroDuration());
  }
  if (phase_ == Phase::kPages) {
    if (list_version_.empty()) {
      return Fail(absl::UnknownError(
                      absl::StrCat("list ", kind_.resource, ": the list has no resourceVersion")),
                  absl::ZeroDuration());
    }
    if (continue_.empty()) FinishList(list_version_);
    return;  // the next page, or the watch, at once
  }
  Recover(Cure::kEvent);
  expired_ = 0;
  // Servers end watches after minutes. One that does so at once, if with a word, must not be asked
  // in a circle.
  if (WasStable()) {
    backoff_.Reset();
  } else {
    wait_ = backoff_.Next();
  }
}

bool KubeReflector::WasStable() const {
  const auto lived = static_cast<std::int64_t>(clock_.MonotonicNs() - answered_ns_);
  return absl::Nanoseconds(lived) >= options_.stable;
}

// Whether the failure only says what this server cannot do, or no longer has: then there is another
// way to go on.
bool KubeReflector::Adapt(const ApiEnd& end, const absl::Status& status) {
  const int code = end.http_code;
  if ((code == 406 || code == 415) && protobuf_) {
    protobuf_ = false;
    return true;
  }
  const bool refused = code == 400 || code == 405 || code == 422;
  if (phase_ == Phase::kStream && (refused || stream_refused_)) {
    stream_refused_ = true;
    BeginList();
    return true;
  }
  const bool unseen = code == 404 || code == 403;
  if (kind_.optional && unseen && (absl::IsNotFound(status) || absl::IsPermissionDenied(status))) {
    status_.absent = true;
    status_.error = code == 403 ? std::string(status.message()) : "";
    status_.failing_since = absl::InfiniteFuture();
    BeginList();
    wait_ = options_.absent_interval;
    // A server that has just started refuses everything until it has read its roles.
    if (code == 403) {
      constexpr int kDoublings = 8;
      wait_ = std::min(wait_, options_.retry_max * (1 << std::min(forbidden_++, kDoublings)));
    }
    return true;
  }
  if (!absl::IsOutOfRange(status)) return false;
  // 410: what we know is too old to go on from, or the page to be read next.
  whole_list_ |= phase_ == Phase::kPages;
  if (phase_ == Phase::kWatch && WasStable()) expired_ = 0;
  BeginList();
  return expired_++ == 0;
}

void KubeReflector::Fail(const absl::Status& status, absl::Duration retry_after) {
  ++status_.failures;
  const bool answered = decoder_ != nullptr || !decoder_status_.ok();
  const bool was_watch = phase_ == Phase::kWatch;
  if (was_watch && answered && WasStable()) backoff_.Reset();
  relist_ |= absl::IsAborted(status);
  if (absl::IsAborted(status) && ++older_lists_ >= kOlderListsRefused) {
    version_ = 0;
    for (auto& [key, known] : known_) known.version = 0;
  }
  if (phase_ == Phase::kStream && answered && !absl::IsAborted(status)) ++stream_failures_;
  cure_ = !relist_ && decoder_status_.ok() ? Cure::kHead : was_watch ? Cure::kEvent : Cure::kList;
  // A connection that broke leaves what is known as it was; the watch goes on from there.
  if (!was_watch || relist_) BeginList();
  fresh_connection_ = absl::IsDataLoss(status) || absl::IsDeadlineExceeded(status) ||
                      absl::IsUnauthenticated(status) || absl::IsFailedPrecondition(status);
  wait_ = backoff_.Next();
  if (retry_after > absl::ZeroDuration()) {
    const absl::Duration asked = std::min(retry_after, options_.max_retry_after);
    // Never sooner than asked; later by a bit, since all nodes were told the same.
    wait_ = std::max(wait_, asked + backoff_.Between(absl::ZeroDuration(), asked / 10));
  }
  status_.error = std::string(status.message());
  if (status_.failing_since == absl::InfiniteFuture()) status_.failing_since = clock_.Now();
}

void KubeReflector::OnSilence() {
  const bool was_connected = std::exchange(status_.connected, false);
  if (phase_ == Phase::kWatch && was_connected) {
    decoder_.reset();
    if (++silent_watches_ >= kSilentWatches) {
      BeginList();  // compared with what is known: nothing is forgotten before it is whole
      Fail(absl::DeadlineExceededError(absl::StrCat(
               "watch ", kind_.resource, ": ", silent_watches_,
               " watches in a row without an event or a bookmark: asked for everything anew")),
           absl::ZeroDuration());
      cure_ = Cure::kList;
    }
    fresh_connection_ = true;  // this one may be dead
    return;
  }
  if (phase_ == Phase::kStream && was_connected) {
    // A server from before streaming lists begins with what changes. This list is read in pages.
    stream_failures_ = kStreamTries;
    decoder_.reset();
    return BeginList();
  }
  Fail(absl::DeadlineExceededError(absl::StrCat(phase_ == Phase::kPages ? "list " : "watch ",
                                                kind_.resource, ": the server says nothing for ",
                                                absl::FormatDuration(SilenceLimit()))),
       absl::ZeroDuration());
  decoder_.reset();
}

void KubeReflector::Recover(Cure shown_by) {
  forbidden_ = 0;
  if (shown_by == Cure::kEvent) expired_ = silent_watches_ = 0;
  if (status_.error.empty() || shown_by < cure_) return;
  status_.error.clear();
  status_.failing_since = absl::InfiniteFuture();
}

}  // namespace sluice
