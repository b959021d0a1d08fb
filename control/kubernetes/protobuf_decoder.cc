// SPDX-License-Identifier: Apache-2.0
// Kubernetes' protobuf encoding. A list is an envelope (runtime.Unknown after four magic bytes)
// around the list message; its fields are read as they come. A watch is a sequence of frames, each
// a length and a WatchEvent whose object is in an envelope of its own.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/stubs/logging.h"
#include "google/protobuf/wire_format_lite.h"

#include "control/base/status_macros.h"
#include "control/kubernetes/answer_decoder.h"

namespace sluice {
namespace {

using google::protobuf::Message;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr std::string_view kMagic("k8s\0", 4);
constexpr int kTypeMetaField = 1;  // of Unknown
constexpr int kRawField = 2;
constexpr int kListMetaField = 1;  // of every list
constexpr int kItemsField = 2;
// What is kept of an object that is too long: it is named at its beginning.
constexpr std::size_t kPrefixBytes = 4096;
// Of all that is no object: list metadata and the envelope's texts.
constexpr std::uint64_t kMaxSmallBytes = std::uint64_t{1} << 20;

absl::Status Garbage(std::string_view what) {
  return absl::DataLossError(absl::StrCat("what the server sends is no Kubernetes protobuf: ",
                                          absl::string_view(what.data(), what.size())));
}

absl::Status WrongKind(const std::string& expected, const std::string& found) {
  return absl::UnknownError(
      absl::StrCat("the server sends a ", found, " where a ", expected, " belongs"));
}

bool Parse(const std::string& bytes, Message& message) {
  // The library would write to standard error about text that is not UTF-8.
  const google::protobuf::LogSilencer silencer;
  return message.ParseFromString(bytes);
}

// The first field `number` of the message in `bytes`, which may be cut off: then as much as there
// is.
std::optional<std::string_view> FindField(std::string_view bytes, int number) {
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  while (const std::uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == number &&
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      std::uint32_t size = 0;
      if (!input.ReadVarint32(&size)) return std::nullopt;
      return bytes.substr(static_cast<std::size_t>(input.CurrentPosition()), size);
    }
    if (!WireFormatLite::SkipField(&input, tag)) return std::nullopt;
  }
  return std::nullopt;
}

// Tells the sink of an object of which only the beginning is there.
absl::Status TellOversize(std::optional<std::string_view> object, std::uint64_t size,
                          AnswerSink& sink) {
  const auto metadata = object ? FindField(*object, 1) : std::nullopt;
  const auto name = metadata ? FindField(*metadata, 1) : std::nullopt;
  const auto name_space = metadata ? FindField(*metadata, 3) : std::nullopt;
  return sink.OnOversize(std::string(name_space.value_or("")), std::string(name.value_or("")),
                         size);
}

// Bytes of known number, of which all or the first ones are kept.
class Body {
 public:
  void Begin(std::uint64_t size, std::uint64_t keep) {
    left_ = size_ = size;
    keep_ = std::min(size, keep);
    kept_.clear();
  }
  // Takes its part off the front of `bytes`.
  void Take(std::string_view& bytes) {
    const std::string_view part = bytes.substr(0, std::min<std::uint64_t>(left_, bytes.size()));
    kept_.append(part.substr(0, std::min<std::uint64_t>(keep_ - kept_.size(), part.size())));
    left_ -= part.size();
    bytes.remove_prefix(part.size());
  }
  bool complete() const { return left_ == 0; }
  std::uint64_t size() const { return size_; }
  const std::string& kept() const { return kept_; }

 private:
  std::uint64_t size_ = 0;
  std::uint64_t left_ = 0;
  std::uint64_t keep_ = 0;
  std::string kept_;
};

// A length beyond this was never an object's: the bytes are damaged.
constexpr std::uint64_t kMaxLength = std::uint64_t{64} << 20;

std::uint64_t KeepOf(std::uint64_t size) { return size > kMaxObjectBytes ? kPrefixBytes : size; }

class ProtobufListDecoder final : public AnswerDecoder {
 public:
  ProtobufListDecoder(const std::string& kind, Message& object, AnswerSink& sink)
      : kind_(kind), object_(object), sink_(sink) {}

  absl::Status Add(std::string_view bytes) override {
    while (!bytes.empty()) {
      if (state_ == State::kBody) {
        const std::size_t before = bytes.size();
        body_.Take(bytes);
        Consumed(before - bytes.size());
      } else {
        const auto byte = static_cast<std::uint8_t>(bytes.front());
        bytes.remove_prefix(1);
        Consumed(1);
        RETURN_IF_ERROR(TakeByte(byte));
      }
      // A field of no bytes is complete as soon as its length is known.
      if (state_ == State::kBody && body_.complete()) RETURN_IF_ERROR(EndBody());
      if (in_list_ && list_left_ == 0) RETURN_IF_ERROR(LeaveList());
    }
    return absl::OkStatus();
  }

  absl::Status End() override {
    const bool complete = state_ == State::kTag && shift_ == 0 && seen_list_ && !in_list_;
    return complete ? absl::OkStatus() : absl::DataLossError("the answer ends in its middle");
  }

 private:
  enum class State { kEnvelope, kTag, kNumber, kLength, kBody };

  void Consumed(std::uint64_t bytes) {
    if (in_list_) list_left_ -= bytes;
  }

  absl::Status TakeByte(std::uint8_t byte) {
    if (state_ == State::kEnvelope) {
      if (byte != static_cast<std::uint8_t>(kMagic[magic_seen_])) return Garbage("no envelope");
      if (++magic_seen_ == kMagic.size()) state_ = State::kTag;
      return absl::OkStatus();
    }
    if (shift_ > 63) return Garbage("a number that does not end");
    number_ |= std::uint64_t{byte & 0x7fu} << shift_;
    shift_ += 7;
    if ((byte & 0x80) != 0) return absl::OkStatus();
    shift_ = 0;
    return TakeNumber(std::exchange(number_, 0));
  }

  absl::Status TakeNumber(std::uint64_t number) {
    if (state_ == State::kLength) return BeginBody(number);
    if (state_ == State::kNumber) {  // the value of a field that says nothing to us
      state_ = State::kTag;
      return absl::OkStatus();
    }
    field_ = static_cast<int>(number >> 3);
    const auto type = static_cast<WireFormatLite::WireType>(number & 7);
    if (number > INT32_MAX || field_ == 0) return Garbage("no field");
    if (type == WireFormatLite::WIRETYPE_VARINT) {
      state_ = State::kNumber;
    } else if (type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      state_ = State::kLength;
    } else {
      return Garbage("a field of a type that lists do not have");
    }
    return absl::OkStatus();
  }

  absl::Status BeginBody(std::uint64_t size) {
    if (in_list_ && size > list_left_) return Garbage("an object that is longer than the list");
    if (!in_list_ && field_ == kRawField) {
      if (seen_list_ || size > INT64_MAX) return Garbage("two lists in one answer");
      seen_list_ = in_list_ = true;
      list_left_ = size;
      state_ = State::kTag;
      return absl::OkStatus();
    }
    const bool is_item = in_list_ && field_ == kItemsField;
    if (size > (is_item ? kMaxLength : kMaxSmallBytes)) return Garbage("an absurd length");
    body_.Begin(size, KeepOf(size));
    state_ = State::kBody;
    return absl::OkStatus();
  }

  absl::Status EndBody() {
    state_ = State::kTag;
    if (in_list_ && field_ == kItemsField) return EndItem();
    if (in_list_ && field_ == kListMetaField) {
      kube::ListMeta meta;
      if (!meta.ParseFromString(body_.kept())) return Garbage("list metadata");
      return sink_.OnListMeta(meta);
    }
    if (!in_list_ && field_ == kTypeMetaField) {
      kube::TypeMeta type;
      if (!type.ParseFromString(body_.kept())) return Garbage("type");
      if (type.kind() != kind_ + "List") return WrongKind(kind_ + "List", type.kind());
    }
    return absl::OkStatus();
  }

  absl::Status EndItem() {
    if (body_.kept().size() < body_.size()) {
      return TellOversize(body_.kept(), body_.size(), sink_);
    }
    if (!Parse(body_.kept(), object_)) return Garbage(kind_);
    return sink_.OnItem(object_);
  }

  absl::Status LeaveList() {
    in_list_ = false;
    if (state_ != State::kTag || shift_ != 0) return Garbage("a list that ends in its middle");
    return absl::OkStatus();
  }

  const std::string kind_;
  Message& object_;
  AnswerSink& sink_;
  State state_ = State::kEnvelope;
  std::size_t magic_seen_ = 0;
  std::uint64_t number_ = 0;  // being read
  int shift_ = 0;
  int field_ = 0;
  bool in_list_ = false;
  bool seen_list_ = false;
  std::uint64_t list_left_ = 0;
  Body body_;
};

class ProtobufWatchDecoder final : public AnswerDecoder {
 public:
  ProtobufWatchDecoder(const std::string& kind, Message& object, AnswerSink& sink)
      : kind_(kind), object_(object), sink_(sink) {}

  absl::Status Add(std::string_view bytes) override {
    while (!bytes.empty()) {
      if (length_bytes_ < kLengthBytes) {
        length_ = length_ << 8 | static_cast<std::uint8_t>(bytes.front());
        bytes.remove_prefix(1);
        if (++length_bytes_ < kLengthBytes) continue;
        if (length_ == 0 || length_ > kMaxLength) return Garbage("an absurd length");
        body_.Begin(length_, KeepOf(length_));
        continue;
      }
      body_.Take(bytes);
      if (!body_.complete()) continue;
      length_bytes_ = 0;
      length_ = 0;
      RETURN_IF_ERROR(EndFrame());
    }
    return absl::OkStatus();
  }

  absl::Status End() override {
    return length_bytes_ == 0 ? absl::OkStatus()
                              : absl::DataLossError("the watch ends in the middle of an event");
  }

 private:
  static constexpr int kLengthBytes = 4;

  absl::Status EndFrame() {
    if (body_.kept().size() < body_.size()) return EndOversize();
    kube::WatchEvent event;
    if (!event.ParseFromString(body_.kept())) return Garbage("a watch event");
    ASSIGN_OR_RETURN(const kube::Unknown envelope, OpenEnvelope(event.object().raw()));
    const std::string& found = envelope.type_meta().kind();
    if (event.type() == "ERROR") {
      kube::Status error;
      if (found != "Status" || !error.ParseFromString(envelope.raw())) return Garbage("an error");
      return sink_.OnError(error);
    }
    ASSIGN_OR_RETURN(const WatchEventType type, ReadWatchEventType(event.type()));
    if (found != kind_) return WrongKind(kind_, found);
    if (!Parse(envelope.raw(), object_)) return Garbage(kind_);
    return sink_.OnEvent(type, object_);
  }

  absl::Status EndOversize() {
    const std::string& frame = body_.kept();
    auto object = FindField(frame, 2);
    if (object) object = FindField(*object, 1);
    // Else it is no long object, but a length that somebody made up.
    if (!object || object->substr(0, kMagic.size()) != kMagic) return Garbage("a watch event");
    object->remove_prefix(kMagic.size());
    return TellOversize(FindField(*object, kRawField), body_.size(), sink_);
  }

  const std::string kind_;
  Message& object_;
  AnswerSink& sink_;
  int length_bytes_ = 0;
  std::uint64_t length_ = 0;
  Body body_;
};

}  // namespace

std::unique_ptr<AnswerDecoder> MakeProtobufDecoder(AnswerForm form, const std::string& kind,
                                                   Message& object, AnswerSink& sink) {
  if (form == AnswerForm::kList) {
    return std::make_unique<ProtobufListDecoder>(kind, object, sink);
  }
  return std::make_unique<ProtobufWatchDecoder>(kind, object, sink);
}

absl::StatusOr<kube::Unknown> OpenEnvelope(std::string_view bytes) {
  kube::Unknown envelope;
  if (bytes.substr(0, kMagic.size()) != kMagic) return Garbage("no envelope");
  bytes.remove_prefix(kMagic.size());
  if (!envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Garbage("a damaged envelope");
  }
  if (!envelope.content_encoding().empty()) {
    return absl::DataLossError(absl::StrCat("an object is encoded as ", envelope.content_encoding(),
                                            ", which nobody asked for"));
  }
  return envelope;
}

}  // namespace sluice
