// SPDX-License-Identifier: Apache-2.0
// Messages as bytes that can be compared and hashed.
#pragma once

#include <string>

#include "google/protobuf/message.h"

namespace sluice {

// Serializes `message` so that equal messages give equal bytes within one run of the program: maps
// are written in the order of their keys. Thread-safe. Cost: linear.
std::string SerializeStable(const google::protobuf::Message& message);

}  // namespace sluice
