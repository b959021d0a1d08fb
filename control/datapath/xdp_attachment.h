// SPDX-License-Identifier: Apache-2.0
// Puts sl_xdp on uplinks and keeps it there: XDP links pinned at
// `<folder>/xdp/links/<interface>_<mode>`, its maps beside them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"
#include "control/datapath/classify.h"

namespace sluice {

enum class XdpMode {
  kOff,
  kNative,   // by the driver
  kGeneric,  // by the stack, after the skb: for tests, and devices whose driver has none
  kAuto,     // native where the driver has it
};

// "off", "native", "generic", "auto".
std::string_view XdpModeName(XdpMode mode);

// What became of an uplink. Both empty: its driver has no XDP, and mode auto leaves it to TC.
struct XdpInterface {
  std::string hook;   // "xdp", "xdp (generic)": it has the program
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

  // Makes what is attached equal to the uplinks among `interfaces`; a program of an earlier agent
  // is replaced in one step, another's is never touched. By ifindex. Cost: no system call for
  // uplinks that stay as they are.
  std::map<int, XdpInterface> Apply(const std::vector<Interface>& interfaces);

 private:
  struct Entry {
    std::string name;
    bool generic = false;
    std::array<std::uint8_t, 6> mac{};
    UniqueFd link;
  };

  XdpAttacher(std::string folder, XdpMode mode) : folder_(std::move(folder)), mode_(mode) {}
  absl::Status Load();
  absl::StatusOr<UniqueFd> AttachLink(const Link& link, bool generic);
  absl::Status Attach(const Link& link, XdpInterface& result);
  absl::Status Describe(const Link& link);
  void Detach(int ifindex, const Entry& entry);
  std::string PinPath(std::string_view interface, bool generic) const;
  void RemoveStalePins();

  const std::string folder_;
  const XdpMode mode_;
  UniqueFd program_;
  UniqueFd uplinks_;
  UniqueFd ports_;
  std::map<int, Entry> entries_;  // by ifindex
  bool leftovers_removed_ = false;
};

// Takes sl_xdp off all interfaces and removes what it has pinned. Works when nothing is there.
// Returns the first failure, having tried the rest.
absl::Status DetachXdp(const std::string& folder);

}  // namespace sluice
