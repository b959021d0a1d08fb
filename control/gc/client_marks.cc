// SPDX-License-Identifier: Apache-2.0
#include "control/gc/client_marks.h"

#include "maps/client.h"

namespace sluice {

void ClientMarks::Begin() {
  at_last_begin_.swap(at_begin_);
  at_begin_.resize(clients_.size());
  for (std::uint32_t index = 0; index < clients_.size(); ++index) {
    at_begin_[index] = clients_.Read(index);
  }
  needed_.assign(clients_.size(), 0);
}

void ClientMarks::Need(std::uint32_t hash) {
  needed_[clients_.IndexOf(hash)] |= abi::client_bits(hash);
}

// The client is the source of the forward row, and where the reply's row leads to; the tuple of the
// answers is the reply's key.
void ClientMarks::See(const FlowRow& row) {
  const auto& [key, entry] = row;
  const bool forward = (entry.flags & abi::SL_FLOW_FORWARD) != 0;
  const std::uint32_t protocol = key.protocol;
  const auto hash = [&](const abi::addr& address, __be16 port) {
    return abi::client_hash(&address, port, protocol, seed_);
  };
  Need(forward ? hash(key.source, key.source_port)
               : hash(entry.new_destination, entry.new_destination_port));
  if ((entry.flags & abi::SL_FLOW_SNAT) == 0) return;
  if (forward) {
    Need(abi::client_answer_hash(hash(entry.new_source, entry.new_source_port),
                                 &entry.new_destination, entry.new_destination_port, protocol));
  } else {
    Need(abi::client_answer_hash(hash(key.destination, key.destination_port), &key.source,
                                 key.source_port, protocol));
  }
}

void ClientMarks::Finish() {
  for (std::uint32_t index = 0; index < clients_.size(); ++index) {
    const std::uint64_t now = clients_.Read(index);
    const std::uint64_t bits = now & ClientArray::kBits;
    const std::uint64_t needed = needed_[index];
    if ((needed & ~bits) != 0) {
      clients_.Set(index, needed);
    } else if ((bits & ~needed) != 0 && !at_last_begin_.empty() && now == at_last_begin_[index] &&
               clients_.Keep(index, now, needed)) {
      ++cleared_;
    }
  }
}

}  // namespace sluice
