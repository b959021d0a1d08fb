// SPDX-License-Identifier: Apache-2.0
#include "control/gc/client_marks.h"

#include "control/base/status_macros.h"
#include "maps/client.h"

namespace sluice {

// The client is the source of the forward row, and where the reply's row leads to; the tuple of the
// answers is the reply's key.
void ClientMarks::See(const FlowRow& row) {
  const auto& [key, entry] = row;
  const bool forward = (entry.flags & abi::SL_FLOW_FORWARD) != 0;
  const std::uint32_t protocol = key.protocol;
  const auto hash = [&](const abi::addr& address, __be16 port) {
    return abi::client_hash(&address, port, protocol, seed_);
  };
  clients_.Mark(half_, forward ? hash(key.source, key.source_port)
                               : hash(entry.new_destination, entry.new_destination_port));
  if ((entry.flags & abi::SL_FLOW_SNAT) == 0) return;
  if (forward) {
    clients_.Mark(half_, abi::client_answer_hash(hash(entry.new_source, entry.new_source_port),
                                                 &entry.new_destination, entry.new_destination_port,
                                                 protocol));
  } else {
    clients_.Mark(half_, abi::client_answer_hash(hash(key.destination, key.destination_port),
                                                 &key.source, key.source_port, protocol));
  }
}

absl::Status ClientMarks::Finish() {
  const std::uint32_t other = half_ ^ 1;
  clients_.Clear(other);
  RETURN_IF_ERROR(use_half_(other));
  half_ = other;
  return absl::OkStatus();
}

}  // namespace sluice
