// SPDX-License-Identifier: Apache-2.0
#include "test/support/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/support/packet.h"

extern char** environ;

namespace sluice::testing {
namespace {

absl::Status WriteAll(int fd, const std::string& text, const std::string& what) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0) return ErrnoStatus(errno, what);
    done += static_cast<std::size_t>(n);
  }
  return absl::OkStatus();
}

// Runs `ip -batch` on an unlinked file of its own as standard input; its output goes to another.
absl::Status RunBatch(const std::string& lines) {
  const UniqueFd input(memfd_create("ip-batch", MFD_CLOEXEC));
  const UniqueFd output(memfd_create("ip-output", MFD_CLOEXEC));
  if (input.get() < 0 || output.get() < 0) return ErrnoStatus(errno, "memfd_create");
  RETURN_IF_ERROR(WriteAll(input.get(), lines, "ip batch"));
  lseek(input.get(), 0, SEEK_SET);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDERR_FILENO);
  const std::array<const char*, 4> arguments = {"ip", "-batch", "-", nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "ip", &actions, nullptr,
                                 const_cast<char* const*>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "start ip");
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "wait for ip");
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return absl::OkStatus();
  std::array<char, 2048> said{};
  const ssize_t size = pread(output.get(), said.data(), said.size() - 1, 0);
  return absl::InternalError(
      absl::StrCat("ip: ", std::string(said.data(), size > 0 ? static_cast<std::size_t>(size) : 0),
                   " in:\n", lines));
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
