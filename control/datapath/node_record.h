// SPDX-License-Identifier: Apache-2.0
// What the agent has changed on the node that no pin tells of: filters of the clsact qdisc and a
// sysctl. Kept in the state folder, so that --cleanup takes back exactly that and nothing else.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

struct ClsactRecord {
  std::string name;          // of the interface
  bool added_qdisc = false;  // the clsact qdisc is ours too

  friend bool operator==(const ClsactRecord&, const ClsactRecord&) = default;
};

struct NodeChanges {
  std::map<int, ClsactRecord> clsact;  // by ifindex
  std::string reserved_ports;          // ranges added to net.ipv4.ip_local_reserved_ports

  friend bool operator==(const NodeChanges&, const NodeChanges&) = default;
};

// Leaves the folder of the pins in `<state_dir>/bpffs`, one line: where sluicectl looks when no
// agent runs that could tell. `state_dir` must exist.
absl::Status WriteBpffsRecord(const std::string& state_dir, const std::string& bpffs);

// Thread: loop only.
class NodeRecord {
 public:
  // Reads `<state_dir>/node.json`; a record that is not there is empty. Creates `state_dir`.
  // Errors: DATA_LOSS when the file is not a record (it is left as it is), PERMISSION_DENIED.
  static absl::StatusOr<NodeRecord> Open(const std::string& state_dir);

  const NodeChanges& changes() const { return changes_; }
  // Writes `changes` unless they are what is there: to a new file that then takes the place of the
  // old one. Call before the change itself, so that a crash in between cannot leave a change that
  // nobody knows of.
  absl::Status Write(const NodeChanges& changes);

 private:
  explicit NodeRecord(std::string path) : path_(std::move(path)) {}
  std::string path_;
  NodeChanges changes_;
};

}  // namespace sluice
