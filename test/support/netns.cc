// SPDX-License-Identifier: Apache-2.0
#include "test/support/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/support/command.h"
#include "test/support/packet.h"

namespace sluice::testing {
namespace {

// Runs `ip -batch`.
absl::Status RunBatch(const std::string& lines) {
  const absl::Status status = RunCommand({"ip", "-batch", "-"}, lines).status();
  return status.ok() ? status : Annotate(status, absl::StrCat("in:\n", lines));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetNs>> NetNs::Create() {
  UniqueFd before(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (before.get() < 0) return ErrnoStatus(errno, "open own network namespace");
  if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "new network namespace");
  std::unique_ptr<NetNs> made(new NetNs(std::move(before)));
  RETURN_IF_ERROR(made->Ip({"link set lo up"}));
  RETURN_IF_ERROR(made->SetSysctl("net/ipv4/ip_forward", "1"));
  RETURN_IF_ERROR(made->SetSysctl("net/ipv6/conf/all/forwarding", "1"));
  RETURN_IF_ERROR(made->SetSysctl("net/ipv6/conf/default/accept_dad", "0"));
  RETURN_IF_ERROR(made->SetSysctl("net/ipv6/conf/default/forwarding", "1"));
  return made;
}

NetNs::~NetNs() {
  if (setns(before_.get(), CLONE_NEWNET) != 0) {
    // Going on in the wrong namespace would test something else than it says.
    std::cerr << "cannot leave the test's network namespace: " << std::strerror(errno) << "\n";
    std::abort();
  }
}

absl::Status NetNs::Ip(const std::vector<std::string>& lines) {
  return RunBatch(absl::StrCat(absl::StrJoin(lines, "\n"), "\n"));
}

absl::StatusOr<std::uint32_t> NetNs::AddDevice(const std::string& name, std::uint32_t mtu) {
  RETURN_IF_ERROR(Ip({
      // The address that Ethernet{} sends to: frames for others are none of a node's business.
      absl::StrCat("link add ", name, " address ", Ethernet{}.destination, " mtu ", mtu,
                   " type veth peer name ", name, "-x mtu ", mtu),
      absl::StrCat("link set ", name, " up"),
      absl::StrCat("link set ", name, "-x up"),
  }));
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) return ErrnoStatus(errno, "index of " + name);
  return index;
}

absl::Status NetNs::SetSysctl(const std::string& path, const std::string& value) {
  const std::string file = "/proc/sys/" + path;
  const UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "open " + file);
  return WriteAll(fd.get(), value, "write " + file);
}

}  // namespace sluice::testing
