// SPDX-License-Identifier: Apache-2.0
// Lists and watches as they come over the wire, to objects one at a time: of an answer no more is
// held than the object that is being read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

#include "control/kubernetes/wire.pb.h"

namespace sluice {

// Longer objects are skipped and told by name: the API server itself takes no more than 3 MiB.
inline constexpr std::size_t kMaxObjectBytes = std::size_t{8} << 20;

enum class WatchEventType { kAdded, kModified, kDeleted, kBookmark };

// Takes what an answer holds, in its order. A failure ends the decoding, which passes it on.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // A list's metadata; servers send it before the objects.
  virtual absl::Status OnListMeta(const kube::ListMeta& meta) = 0;
  // The sink may take the content of `object`, which is the decoder's and used again.
  virtual absl::Status OnItem(google::protobuf::Message& object) = 0;
  virtual absl::Status OnEvent(WatchEventType type, google::protobuf::Message& object) = 0;
  // An ERROR event: the watch is over.
  virtual absl::Status OnError(const kube::Status& error) = 0;
  // An object of `bytes` bytes was skipped; its name is empty where it could not be found.
  virtual absl::Status OnOversize(const std::string& name_space, const std::string& name,
                                  std::uint64_t bytes) = 0;
};

class AnswerDecoder {
 public:
  virtual ~AnswerDecoder() = default;
  // The next bytes, cut anywhere. Errors: DATA_LOSS for what cannot be decoded; UNKNOWN for an
  // answer of another kind than asked for; the sink's. After an error nothing more may be added.
  virtual absl::Status Add(std::string_view bytes) = 0;
  // The answer has ended. Errors: DATA_LOSS when that was in the middle of something.
  virtual absl::Status End() = 0;
};

enum class AnswerForm { kList, kWatch };

// `kind` ("Service") is that of the objects, which are read into `object`. All but the strings must
// outlive the decoder. Errors: UNKNOWN when `content_type` is none of Kubernetes.
absl::StatusOr<std::unique_ptr<AnswerDecoder>> MakeDecoder(std::string_view content_type,
                                                           AnswerForm form, const std::string& kind,
                                                           google::protobuf::Message& object,
                                                           AnswerSink& sink);

// A Status that is an answer's whole body. Errors: UNKNOWN when it is none.
absl::StatusOr<kube::Status> DecodeStatus(std::string_view content_type, std::string_view body);

// Of AnswerForm and both encodings; see MakeDecoder.
std::unique_ptr<AnswerDecoder> MakeProtobufDecoder(AnswerForm form, const std::string& kind,
                                                   google::protobuf::Message& object,
                                                   AnswerSink& sink);
std::unique_ptr<AnswerDecoder> MakeJsonDecoder(AnswerForm form, const std::string& kind,
                                               google::protobuf::Message& object, AnswerSink& sink);
// Content of the envelope in `bytes`. Errors: DATA_LOSS.
absl::StatusOr<kube::Unknown> OpenEnvelope(std::string_view bytes);
absl::StatusOr<WatchEventType> ReadWatchEventType(const std::string& text);

}  // namespace sluice
