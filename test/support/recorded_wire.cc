// SPDX-License-Identifier: Apache-2.0
#include "test/support/recorded_wire.h"

#include <cstdint>
#include <fstream>
#include <sstream>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "gtest/gtest.h"

namespace sluice {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

std::string ReadRecorded(const std::string& name) {
  std::ifstream file(std::string(SLUICE_TEST_SAMPLES) + "/wire/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> BytesFields(std::string_view message, int number) {
  std::vector<std::string> values;
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(message.data()),
                         static_cast<int>(message.size()));
  while (const std::uint32_t tag = input.ReadTag()) {
    if (tag == WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
      std::uint32_t size = 0;
      std::string value;
      EXPECT_TRUE(input.ReadVarint32(&size) && input.ReadString(&value, static_cast<int>(size)));
      values.push_back(value);
    } else if (!WireFormatLite::SkipField(&input, tag)) {
      ADD_FAILURE() << "no protobuf message";
      break;
    }
  }
  return values;
}

OpenedEnvelope OpenRecorded(std::string_view envelope) {
  EXPECT_EQ(envelope.substr(0, 4), std::string_view("k8s\0", 4));
  const std::string_view unknown = envelope.substr(4);
  const std::vector<std::string> type = BytesFields(unknown, 1);
  const std::vector<std::string> raw = BytesFields(unknown, 2);
  if (type.size() != 1 || raw.size() != 1) {
    ADD_FAILURE() << "an envelope has one type and one content";
    return {};
  }
  return {BytesFields(type[0], 1).at(0), BytesFields(type[0], 2).at(0), raw[0]};
}

std::vector<RecordedFrame> SplitRecordedWatch(std::string_view watch) {
  std::vector<RecordedFrame> frames;
  while (watch.size() >= 4) {
    std::size_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<unsigned char>(watch[i]);
    if (size > watch.size() - 4) break;
    const std::string_view event = watch.substr(4, size);
    const std::vector<std::string> extension = BytesFields(event, 2);
    frames.push_back({std::string(watch.substr(0, size + 4)), BytesFields(event, 1).at(0),
                      OpenRecorded(BytesFields(extension.at(0), 1).at(0))});
    watch.remove_prefix(size + 4);
  }
  EXPECT_EQ(watch.size(), 0U) << "bytes after the last whole frame";
  return frames;
}

}  // namespace sluice
