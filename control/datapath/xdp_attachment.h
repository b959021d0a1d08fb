// SPDX-License-Identifier: Apache-2.0
// Puts sl_xdp on uplinks and keeps it there: XDP links pinned at
// `<folder>/xdp/links/<interface>_<mode>`, its maps beside them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "control/datapath/xdp_places.h"

namespace sluice {

// What became of an uplink. Both empty: its driver has no XDP, and mode auto leaves it to TC.
struct XdpInterface {
  std::string hook;   // it has the program: "xdp", "xdp (generic)", "xdp (by eth0)" for a VLAN's
  std::string error;  // why it has not; names who is in the way

  friend bool operator==(const XdpInterface&, const XdpInterface&) = default;
};

// Thread: loop only. Its destructor leaves every program where it is.
class XdpAttacher {
 public:
  // Loads the program on the maps that are pinned in `folder`, where LoadPrograms has put them, and
  // pins it. `mode` is not kOff. Errors: FAILED_PRECONDITION when the kernel refuses the program,
  // else as errno says.
  static absl::StatusOr<std::unique_ptr<XdpAttacher>> Create(std::string folder, XdpMode mode);

  // Makes what is attached equal to the uplinks among `interfaces`, and what the program is told of
  // them; `links`: all of the node, as NetworkMonitor has them. A program of an earlier agent is
  // replaced in one step, another's is never touched. By ifindex of the uplink. Cost: no system
  // call for uplinks that stay as they are.
  std::map<int, XdpInterface> Apply(const std::vector<Interface>& interfaces,
                                    const std::map<int, Link>& links);

 private:
  struct Entry {
    std::string name;
    UniqueFd link;
  };

  XdpAttacher(std::string folder, XdpMode mode) : folder_(std::move(folder)), mode_(mode) {}
  absl::Status Load();
  bool generic() const { return mode_ == XdpMode::kGeneric; }
  absl::StatusOr<UniqueFd> AttachLink(const Link& link);
  // Errors: FAILED_PRECONDITION naming who has the device, else as errno says.
  absl::Status Attach(const Link& device);
  void DetachUnwanted(const std::map<int, Link>& wanted);
  absl::Status WriteRows(const XdpRows& rows);
  std::string PinPath(std::string_view interface, bool generic) const;
  void RemoveStalePins();

  const std::string folder_;
  const XdpMode mode_;
  UniqueFd program_;
  UniqueFd uplinks_;
  UniqueFd ways_;
  UniqueFd ports_;
  std::map<int, Entry> entries_;  // by ifindex of the device
  std::optional<XdpRows> rows_;   // as the maps have them; nothing: not known
  bool leftovers_removed_ = false;
};

// Takes sl_xdp off all interfaces and removes what it has pinned. Works when nothing is there.
// Returns the first failure, having tried the rest.
absl::Status DetachXdp(const std::string& folder);

}  // namespace sluice
