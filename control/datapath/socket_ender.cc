// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_ender.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/unique_fd.h"
#include "control/datapath/socket_programs.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr timeval kAnswerTimeout = {2, 0};

struct MnlClose {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};

inet_diag_req_v2 Request(const abi::lost_socket& lost) {
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<__u8>(lost.family);
  request.sdiag_protocol = static_cast<__u8>(lost.protocol);
  request.idiag_states = ~0U;
  inet_diag_sockid& id = request.id;
  id.idiag_sport = lost.local_port;
  id.idiag_dport = lost.remote_port;
  if (lost.family == AF_INET) {
    id.idiag_src[0] = lost.local.w[3];
    id.idiag_dst[0] = lost.remote.w[3];
  } else {
    std::memcpy(id.idiag_src, &lost.local, sizeof(lost.local));
    std::memcpy(id.idiag_dst, &lost.remote, sizeof(lost.remote));
  }
  id.idiag_if = lost.device;
  id.idiag_cookie[0] = static_cast<__u32>(lost.cookie);
  id.idiag_cookie[1] = static_cast<__u32>(lost.cookie >> 32);
  return request;
}

// 0, or what errno would be.
int EndOne(mnl_socket* socket, const abi::lost_socket& lost, unsigned sequence) {
  std::array<char, 8192> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = SOCK_DESTROY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  header->nlmsg_seq = sequence;
  const inet_diag_req_v2 request = Request(lost);
  std::memcpy(mnl_nlmsg_put_extra_header(header, sizeof(request)), &request, sizeof(request));
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  const ssize_t got = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
  if (got < 0) return errno;
  const int end = mnl_cb_run(buffer.data(), static_cast<std::size_t>(got), sequence,
                             mnl_socket_get_portid(socket), nullptr, nullptr);
  return end < 0 ? errno : 0;
}

// In the network namespace of the calling thread.
void EndHere(std::span<const abi::lost_socket* const> sockets, EndedSockets& result) {
  const std::unique_ptr<mnl_socket, MnlClose> socket(
      mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC));
  if (socket == nullptr || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0 ||
      ::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                   sizeof(kAnswerTimeout)) < 0) {
    result.first_error.Update(ErrnoStatus(errno, "sock_diag socket"));
    return;
  }
  unsigned sequence = 0;
  for (const abi::lost_socket* lost : sockets) {
    const int err = EndOne(socket.get(), *lost, ++sequence);
    if (err == 0) {
      ++result.ended;
    } else if (err == ENOENT) {
      ++result.gone;
    } else {
      result.first_error.Update(
          ErrnoStatus(err, "end a socket (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY)"));
    }
  }
}

// Every file that may be a network namespace. Processes share theirs mostly: one of each is enough.
std::vector<std::string> FindNetns(const NetnsPlaces& places) {
  std::vector<std::string> paths;
  std::set<std::pair<dev_t, ino_t>> known;
  const auto add = [&](std::string path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) == 0 && known.emplace(found.st_dev, found.st_ino).second) {
      paths.push_back(std::move(path));
    }
  };
  std::error_code error;  // a place may not be there
  for (fs::directory_iterator it(places.folder, error), end; !error && it != end;
       it.increment(error)) {
    add(it->path().string());
  }
  error.clear();
  for (fs::directory_iterator it(places.proc, error), end; !error && it != end;
       it.increment(error)) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(it->path().filename().string().front()))) {
      add(absl::StrCat(it->path().string(), "/ns/net"));
    }
  }
  return paths;
}

}  // namespace

EndedSockets EndSockets(std::span<const abi::lost_socket> sockets, const NetnsPlaces& places) {
  EndedSockets result;
  std::map<std::uint64_t, std::vector<const abi::lost_socket*>> by_netns;
  for (const abi::lost_socket& lost : sockets) by_netns[lost.netns].push_back(&lost);
  // Ends those of the namespace that the thread is in, if that is one of them.
  const auto end_here = [&] {
    const absl::StatusOr<std::uint64_t> cookie = OwnNetnsCookie();
    result.first_error.Update(cookie.status());
    if (!cookie.ok()) return;
    const auto found = by_netns.find(*cookie);
    if (found == by_netns.end()) return;
    EndHere(found->second, result);
    by_netns.erase(found);
  };
  if (!by_netns.empty()) end_here();
  if (by_netns.empty()) return result;

  const UniqueFd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (own.valid()) {
    bool away = false;
    const auto back = absl::MakeCleanup([&] {
      // Who could leave may come back. If not, this would serve the wrong network from here on.
      if (away && ::setns(own.get(), CLONE_NEWNET) != 0) std::abort();
    });
    for (const std::string& path : FindNetns(places)) {
      if (by_netns.empty()) break;
      const UniqueFd netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!netns.valid() || ::setns(netns.get(), CLONE_NEWNET) != 0) continue;
      away = true;
      end_here();
    }
  } else {
    result.first_error.Update(ErrnoStatus(errno, "/proc/thread-self/ns/net"));
  }
  for (const auto& [cookie, lost] : by_netns) {
    result.out_of_reach.insert(cookie);
    result.not_reached += lost.size();
  }
  return result;
}

}  // namespace sluice
