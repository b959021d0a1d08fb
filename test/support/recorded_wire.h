// SPDX-License-Identifier: Apache-2.0
// The recorded answers of test/samples/wire, taken apart by the wire format of protobuf alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// A file of test/samples/wire ("services.watch.pb"). A test failure if it cannot be read.
std::string ReadRecorded(const std::string& name);

// The length-delimited fields `number` of a message's bytes, in their order.
std::vector<std::string> BytesFields(std::string_view message, int number);

// What an envelope ("k8s\0" and runtime.Unknown) says.
struct OpenedEnvelope {
  std::string api_version;
  std::string kind;
  std::string raw;
};
OpenedEnvelope OpenRecorded(std::string_view envelope);

// A frame of a watch, without its length.
struct RecordedFrame {
  std::string bytes;  // with the length
  std::string type;   // "ADDED"
  OpenedEnvelope object;
};
std::vector<RecordedFrame> SplitRecordedWatch(std::string_view watch);

}  // namespace sluice
