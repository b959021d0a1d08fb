// SPDX-License-Identifier: Apache-2.0
#include "control/gc/flow_cursor.h"

#include <bpf/bpf.h>

#include <cerrno>

#include "control/base/errno_status.h"

namespace sluice {
namespace {

// The kernel's own ENOTSUPP, which it lets through to user space here and libc does not name.
constexpr int kNotSupported = 524;

}  // namespace

void BpfFlowCursor::Rewind() {
  started_ = false;
  ended_ = false;
}

absl::StatusOr<std::vector<FlowRow>> BpfFlowCursor::Next() {
  if (ended_) return std::vector<FlowRow>();
  if (!batches_) return NextSingly();
  std::vector<abi::flow> keys(kBatch);
  std::vector<abi::flow_entry> values(kBatch);
  std::uint32_t count = kBatch;
  std::uint64_t next = 0;
  const int err = bpf_map_lookup_batch(flows_.fd(), started_ ? &position_ : nullptr, &next,
                                       keys.data(), values.data(), &count, nullptr);
  if (!started_ && (err == -kNotSupported || err == -EINVAL)) {
    batches_ = false;
    return NextSingly();
  }
  if (err != 0 && err != -ENOENT) return MapErrnoStatus(err, "read sl_flows");
  started_ = true;
  ended_ = err == -ENOENT;  // the last rows come with it
  position_ = next;
  std::vector<FlowRow> rows;
  rows.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) rows.emplace_back(keys[i], values[i]);
  return rows;
}

absl::StatusOr<std::vector<FlowRow>> BpfFlowCursor::NextSingly() {
  std::vector<FlowRow> rows;
  while (rows.size() < kBatch) {
    abi::flow key{};
    const int err = bpf_map_get_next_key(flows_.fd(), started_ ? &last_key_ : nullptr, &key);
    if (err == -ENOENT) {
      ended_ = true;
      break;
    }
    if (err != 0) return MapErrnoStatus(err, "read sl_flows");
    started_ = true;
    last_key_ = key;
    abi::flow_entry value{};
    // Not there any more: the next one is asked for all the same.
    if (bpf_map_lookup_elem(flows_.fd(), &key, &value) == 0) rows.emplace_back(key, value);
  }
  return rows;
}

}  // namespace sluice
