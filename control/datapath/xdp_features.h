// SPDX-License-Identifier: Apache-2.0
// What drivers say of XDP, by the kernel's generic netlink family "netdev" (Linux 6.3;
// Documentation/netlink/specs/netdev.yaml). For the network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/datapath/netlink_socket.h"
#include "control/datapath/network_state.h"

namespace sluice {

// enum netdev_xdp_act of linux/netdev.h, which Debian 12's headers do not have.
enum XdpFeature : std::uint64_t {
  kXdpTakesFrames = 1 << 2,           // NETDEV_XDP_ACT_NDO_XMIT: redirected to it by others
  kXdpTakesFramesInBuffers = 1 << 6,  // NETDEV_XDP_ACT_NDO_XMIT_SG: also those in several buffers
};

// Whether the device takes the tags off VLANs' frames before programs see them (rx-vlan-offload).
// False where it cannot be asked. Cost: three system calls.
bool TakesTagsOff(const std::string& device);

// Thread: loop only.
class XdpFeatures {
 public:
  // Null: the kernel cannot be asked, so that nothing is known of any device.
  static absl::StatusOr<std::unique_ptr<XdpFeatures>> Open();

  // Fills in `xdp_features` of `links`. Cost: one dump. Errors: those of NetlinkSocket::Ask.
  absl::Status Read(std::map<int, Link>& links);

  int fd() const { return events_.fd(); }  // readable when something may have changed
  // Takes what has arrived. Errors: those of NetlinkSocket::Drain.
  absl::Status Drain();

 private:
  XdpFeatures(std::uint16_t family, NetlinkSocket events)
      : family_(family), events_(std::move(events)) {}
  const std::uint16_t family_;
  NetlinkSocket events_;
};

}  // namespace sluice
