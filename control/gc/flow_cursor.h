// SPDX-License-Identifier: Apache-2.0
// Reading sl_flows a piece at a time, so that the loop thread does other work in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "maps/bpf_table.h"
#include "maps/flow.h"

namespace sluice {

using FlowRow = std::pair<abi::flow, abi::flow_entry>;

// Thread-compatible.
class FlowCursor {
 public:
  virtual ~FlowCursor() = default;
  // Starts over.
  virtual void Rewind() = 0;
  // The next rows; none: the end. Rows that come or go meanwhile may be missed, and after such a
  // change a row may be given twice. Errors: as Table::Dump.
  virtual absl::StatusOr<std::vector<FlowRow>> Next() = 0;
};

// By bpf_map_lookup_batch, or where the kernel has none, key by key.
class BpfFlowCursor final : public FlowCursor {
 public:
  static constexpr std::uint32_t kBatch = 4096;

  explicit BpfFlowCursor(BpfMap flows) : flows_(std::move(flows)) {}
  void Rewind() override;
  absl::StatusOr<std::vector<FlowRow>> Next() override;

 private:
  absl::StatusOr<std::vector<FlowRow>> NextSingly();

  BpfMap flows_;
  bool batches_ = true;  // until the kernel says that it has none
  bool started_ = false;
  bool ended_ = false;
  std::uint64_t position_ = 0;  // the kernel's: a bucket number
  abi::flow last_key_{};        // without batches
};

}  // namespace sluice
