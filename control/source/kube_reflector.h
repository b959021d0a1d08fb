// SPDX-License-Identifier: Apache-2.0
// Keeps up with one kind of object of the Kubernetes API: which request comes next, what an answer
// means, and how long to wait after a failure. A state machine: it asks for nothing itself, and has
// no clock but the one it is given.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"

#include "control/base/clock.h"
#include "control/kubernetes/answer_decoder.h"
#include "control/kubernetes/api_client.h"
#include "control/kubernetes/backoff.h"
#include "control/model/cluster_state.h"
#include "control/source/source_status.h"

namespace sluice {

struct ResourceKind {
  std::string resource;  // "services"
  std::string path;      // "/api/v1/services"
  std::string kind;      // "Service"
  std::string label_selector;
  std::string field_selector;
  const google::protobuf::Message* prototype;  // has ObjectMeta as its field 1
  // A server that has no such kind, or does not let us see it, is no failure.
  bool optional = false;
};

// What becomes known. Thread: loop only.
class ObjectSink {
 public:
  virtual ~ObjectSink() = default;
  // The content of `object` may be taken.
  virtual void SetObject(google::protobuf::Message& object) = 0;
  virtual void DeleteObject(const ObjectName& name) = 0;
  // The object is there and cannot be read; what was known of it stays. The name may be empty.
  virtual void SkipObject(const ObjectName& name, const std::string& why) = 0;
};

struct ReflectorOptions {
  bool protobuf = true;
  int page_size = 500;
  absl::Duration retry_min = absl::Milliseconds(500);
  absl::Duration retry_max = absl::Seconds(15);
  absl::Duration max_retry_after = absl::Minutes(5);  // that a server may ask for
  // Watches are ended by the server after a time between these two.
  absl::Duration watch_min = absl::Minutes(5);
  absl::Duration watch_max = absl::Minutes(10);
  // How long nothing may come: of a watch (bookmarks come each minute), of a streaming list once
  // it has begun, and of everything else (a server answers within a minute, if only with an error).
  absl::Duration watch_silence = absl::Seconds(150);
  absl::Duration initial_silence = absl::Seconds(20);
  absl::Duration answer_silence = absl::Seconds(75);
  // A watch that lived as long is a success, whatever ended it.
  absl::Duration stable = absl::Seconds(10);
  // When to look again for an optional kind.
  absl::Duration absent_interval = absl::Minutes(10);
};

// Objects that are gone are deleted one by one: by an event, or at the end of a list that was read
// whole and does not hold them. Nothing else deletes.
class KubeReflector final : public AnswerSink {
 public:
  // `sink` and `clock` must outlive the reflector.
  KubeReflector(ResourceKind kind, const ReflectorOptions& options, ObjectSink& sink,
                const Clock& clock, std::uint64_t seed);

  struct Step {
    absl::Duration wait;  // before the call
    ApiCall call;
  };
  // The next request; to be called at first, and after each OnEnd or OnSilence.
  Step Next();
  // The answer to it; see ApiStream.
  void OnHead(std::string_view content_type);
  absl::Status OnBody(std::string_view bytes);
  void OnEnd(const ApiEnd& end);
  // Nothing came for SilenceLimit(), and the request was cancelled.
  void OnSilence();
  absl::Duration SilenceLimit() const;
  // As Clock::MonotonicNs(): the wall clock may be set while a watch is silent.
  std::uint64_t last_heard_ns() const { return last_heard_ns_; }

  const StreamStatus& status() const { return status_; }
  const ResourceKind& kind() const { return kind_; }

  absl::Status OnListMeta(const kube::ListMeta& meta) override;
  absl::Status OnItem(google::protobuf::Message& object) override;
  absl::Status OnEvent(WatchEventType type, google::protobuf::Message& object) override;
  absl::Status OnError(const kube::Status& error) override;
  absl::Status OnOversize(const std::string& name_space, const std::string& name,
                          std::uint64_t bytes) override;

 private:
  // kStream: a watch that begins with all objects (sendInitialEvents), and goes on as kWatch.
  enum class Phase { kStream, kPages, kWatch };
  // What shows that the failure has passed.
  enum class Cure { kHead, kList, kEvent };
  struct Known {
    std::uint64_t version = 0;  // resourceVersion; 0: not known
    std::uint64_t list = 0;     // the last one that held it
  };

  void BeginList();
  void FinishList(const std::string& version);
  absl::Status Bookmark(const model::ObjectMeta& metadata);
  absl::Status CheckObjectVersion(const std::string& key, std::uint64_t version);
  absl::Status Older(std::uint64_t version);
  absl::Status Store(google::protobuf::Message& object);
  void EndWell();
  bool Adapt(const ApiEnd& end, const absl::Status& status);
  void Fail(const absl::Status& status, absl::Duration retry_after);
  void Recover(Cure shown_by);
  bool WasStable() const;

  const ResourceKind kind_;
  const ReflectorOptions options_;
  ObjectSink& sink_;
  const Clock& clock_;
  Backoff backoff_;
  std::unique_ptr<google::protobuf::Message> object_;  // being read

  Phase phase_ = Phase::kStream;
  absl::Duration wait_;
  bool protobuf_;
  bool stream_refused_ = false;  // by this server, for good
  int stream_failures_ = 0;      // in a row
  bool whole_list_ = false;      // pages of it expire before they are read
  bool fresh_connection_ = false;
  bool relist_ = false;     // the answer showed that what is known may be wrong
  int expired_ = 0;         // 410 in a row
  int forbidden_ = 0;       // 403 in a row, of an optional kind
  int older_lists_ = 0;     // refused in a row
  bool begun_ = false;      // a watch was
  int silent_watches_ = 0;  // in a row, without an event or a bookmark between

  std::unique_ptr<AnswerDecoder> decoder_;
  absl::Status decoder_status_;
  std::uint64_t answered_ns_ = 0;
  std::uint64_t last_heard_ns_ = 0;
  std::string continue_;
  std::string list_version_;
  std::uint64_t version_ = 0;     // up to which all is known; 0: not known, or not a number
  std::uint64_t list_ = 0;        // number of the list that is being read, or was last
  bool unnamed_skipped_ = false;  // in this list: who knows which object that was
  std::unordered_map<std::string, Known> known_;  // by "namespace/name"
  Cure cure_ = Cure::kHead;
  StreamStatus status_;
};

}  // namespace sluice
