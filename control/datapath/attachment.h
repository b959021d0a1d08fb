// SPDX-License-Identifier: Apache-2.0
// Puts the programs on interfaces and keeps them there: tcx links pinned at
// `<folder>/links/<interface>_<hook>`, or filters of the clsact qdisc.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "control/datapath/classify.h"
#include "control/datapath/hooks.h"
#include "control/datapath/node_record.h"
#include "control/datapath/tcx_link.h"

namespace sluice {

enum class AttachMode { kTcx, kClsact };

std::string_view AttachModeName(AttachMode mode);  // "tcx", "clsact"

// What became of an interface that has a role.
struct AttachedInterface {
  std::string name;
  int ifindex = 0;
  Role role = Role::kNone;
  std::vector<std::string> hooks;  // that have their program: "from_pod"
  std::string error;               // why others have not; empty otherwise

  friend bool operator==(const AttachedInterface&, const AttachedInterface&) = default;
};

// The name of the pin for a hook of an interface. bpffs allows no dots, interfaces do ("eth0.100"):
// they are written as %2e, and % as %25.
std::string LinkPinName(std::string_view interface, std::string_view hook);

// Thread: loop only. Its destructor leaves every program where it is.
class Attacher {
 public:
  using Programs = std::array<UniqueFd, kHooks.size()>;  // in the order of kHooks

  // `folder` is that of the pins (".../v1"); `record` must outlive the attacher.
  static absl::StatusOr<std::unique_ptr<Attacher>> Create(std::string folder, AttachMode mode,
                                                          Programs programs, NodeRecord& record);

  // Makes what is attached equal to `interfaces`. A hook that has a program (also one of an earlier
  // agent) gets ours by replacement in one step; a hook of an interface that is no longer wanted
  // loses it. An interface that vanishes meanwhile is left out of the result and is no error; what
  // else fails is in the result and is tried again by the next call. The first call also removes
  // what an earlier agent attached and nobody wants. Cost: no system call for hooks that stay.
  std::vector<AttachedInterface> Apply(const std::vector<Interface>& interfaces);

 private:
  struct Entry {
    std::string name;
    std::array<bool, kHooks.size()> attached{};
    std::array<std::optional<TcxLink>, kHooks.size()> links;  // mode tcx
  };

  Attacher(std::string folder, AttachMode mode, Programs programs, NodeRecord& record);
  std::string PinPath(std::string_view interface, const Hook& hook) const;
  absl::Status AttachHook(const Link& link, std::size_t hook, Entry& entry);
  absl::StatusOr<TcxLink> AttachTcx(const Link& link, std::size_t hook);
  absl::Status AttachFilter(const Link& link, std::size_t hook);
  void Rename(Entry& entry, const std::string& name);
  void DetachHook(int ifindex, std::size_t hook, Entry& entry);
  void DropUnwanted(const std::map<int, Role>& wanted);
  void RemoveLeftovers();
  void RemoveStalePins();
  // Takes our filters off an interface and forgets them. What cannot be removed stays recorded.
  void RemoveFilters(int ifindex);

  const std::string folder_;
  const AttachMode mode_;
  const Programs programs_;
  NodeRecord& record_;
  std::map<int, Entry> entries_;  // by ifindex
  bool leftovers_removed_ = false;
};

// Removes everything that `record` and the pins of `folder` tell of. For --cleanup: works when
// nothing is there. Returns the first failure, having tried the rest.
absl::Status DetachEverything(const std::string& folder, NodeRecord& record);

}  // namespace sluice
