// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_ender.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

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
EndedSockets EndHere(std::span<const abi::lost_socket* const> sockets) {
  EndedSockets result;
  const std::unique_ptr<mnl_socket, MnlClose> socket(
      mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC));
  if (socket == nullptr || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0 ||
      ::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                   sizeof(kAnswerTimeout)) < 0) {
    result.error = errno;
    return result;
  }
  unsigned sequence = 0;
  for (const abi::lost_socket* lost : sockets) {
    const int error = EndOne(socket.get(), *lost, ++sequence);
    if (error == 0) {
      ++result.ended;
    } else if (error == ENOENT) {
      ++result.gone;
    } else if (result.error == 0) {
      result.error = error;
    }
  }
  return result;
}

// The same by a child, which is given up when it takes longer than `patience`.
EndedSockets EndByChild(const std::vector<const abi::lost_socket*>& sockets,
                        absl::Duration patience) {
  EndedSockets result;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    result.error = errno;
    return result;
  }
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) {
    result.error = errno;
    return result;
  }
  if (child == 0) {
    // What it has of its parent's must not be held open if it never comes back.
    ::close_range(0, static_cast<unsigned>(write_end.get()) - 1, 0);
    const EndedSockets ended = EndHere(sockets);
    const ssize_t written = ::write(write_end.get(), &ended, sizeof(ended));
    ::_exit(written == sizeof(ended) ? 0 : 1);
  }
  write_end.Reset();
  pollfd wait{.fd = read_end.get(), .events = POLLIN, .revents = 0};
  const bool answered =
      ::poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) == 1 &&
      ::read(read_end.get(), &result, sizeof(result)) == sizeof(result);
  if (answered) {
    ::waitpid(child, nullptr, 0);
    return result;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, WNOHANG);  // it may sleep where no signal reaches it
  result = {};
  result.stuck = static_cast<std::uint32_t>(sockets.size());
  return result;
}

void Add(const EndedSockets& more, EndedSockets& sum) {
  sum.ended += more.ended;
  sum.gone += more.gone;
  sum.not_reached += more.not_reached;
  sum.stuck += more.stuck;
  if (sum.error == 0) sum.error = more.error;
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
  for (const std::string& folder : places.folders) {
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      add(it->path().string());
    }
    error.clear();
  }
  for (fs::directory_iterator it(places.proc, error), end; !error && it != end;
       it.increment(error)) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(it->path().filename().string().front()))) {
      add(absl::StrCat(it->path().string(), "/ns/net"));
    }
  }
  return paths;
}

}  // namespace

EndedSockets EndSockets(std::span<const abi::lost_socket> sockets, const NetnsPlaces& places,
                        absl::Duration patience) {
  EndedSockets result;
  std::map<std::uint64_t, std::vector<const abi::lost_socket*>> by_netns;
  for (const abi::lost_socket& lost : sockets) by_netns[lost.netns].push_back(&lost);
  // Ends those of the namespace that the thread is in, if that is one of them.
  const auto end_here = [&] {
    const absl::StatusOr<std::uint64_t> cookie = OwnNetnsCookie();
    const auto found = cookie.ok() ? by_netns.find(*cookie) : by_netns.end();
    if (found == by_netns.end()) return;
    Add(EndByChild(found->second, patience), result);
    by_netns.erase(found);
  };
  if (!by_netns.empty()) end_here();
  if (by_netns.empty()) return result;

  const UniqueFd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  bool away = false;
  for (const std::string& path : FindNetns(places)) {
    if (by_netns.empty() || !own.valid()) break;
    const UniqueFd netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns.valid() || ::setns(netns.get(), CLONE_NEWNET) != 0) continue;
    away = true;
    end_here();
  }
  // Who could leave may come back. If not, this would serve the wrong network from here on.
  if (away && ::setns(own.get(), CLONE_NEWNET) != 0) std::abort();
  for (const auto& [cookie, lost] : by_netns) {
    result.not_reached += static_cast<std::uint32_t>(lost.size());
  }
  return result;
}

int RunSocketEnder(int input, int output) {
  std::vector<abi::lost_socket> sockets;
  abi::lost_socket lost{};
  while (::read(input, &lost, sizeof(lost)) == sizeof(lost)) sockets.push_back(lost);
  const EndedSockets result = EndSockets(sockets);
  return ::write(output, &result, sizeof(result)) == sizeof(result) ? 0 : 1;
}

}  // namespace sluice
