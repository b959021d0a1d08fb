// SPDX-License-Identifier: Apache-2.0
#include "test/bench/connection_traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "control/base/unique_fd.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kWriteBytes = 128 * 1024;
// Writes of a stream between two looks at the clock.
constexpr int kBatch = 16;
constexpr int kIpLocalPortRange = 51;  // linux/in.h, Linux 6.3
// That nobody answers within is a failure.
constexpr std::chrono::milliseconds kLimit{5000};
// When one is asked who it is, another question is better than to wait.
constexpr std::chrono::milliseconds kImpatience{5};
// Between two of those questions, at first and later: each takes a port that is not to be had
// again.
constexpr std::chrono::microseconds kPauseAtFirst{100};
constexpr std::chrono::microseconds kPauseLater{2000};
constexpr std::chrono::milliseconds kAtFirst{200};

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Address AddressOf(const std::string& text, std::uint16_t port) {
  Address address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.length = sizeof(v4);
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.length = sizeof(v6);
  } else {
    errno = EINVAL;
    Fail(text);
  }
  return address;
}

void SetOption(int fd, int level, int option, std::uint32_t value, const char* name) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) != 0) Fail(name);
}

void GiveUpAfter(int fd, std::chrono::milliseconds time) {
  const timeval limit{.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) Fail("SO_RCVTIMEO");
}

UniqueFd Bound(int type, std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
  SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
  const Address address = AddressOf("::", port);
  if (::bind(fd.get(), address.get(), address.length) != 0) Fail("bind");
  return fd;
}

// Until the client ends it, or it is done.
void ServeConnection(int fd, std::vector<char>& buffer) {
  Traffic traffic{};
  for (bool first = true;; first = false) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    if (first) traffic = static_cast<Traffic>(buffer[0]);
    if (traffic == Traffic::kStream) continue;
    if (::send(fd, buffer.data(), 1, MSG_NOSIGNAL) <= 0) return;
    // The server ends it: the ports of clients are free again at once.
    if (traffic != Traffic::kRequests) return;
  }
}

void ServeTcp(std::uint16_t port) {
  const UniqueFd listener = Bound(SOCK_STREAM, port);
  GiveUpAfter(listener.get(), kLimit);  // of connections, too: whose client is gone without a word
  if (::listen(listener.get(), 1024) != 0) Fail("listen");
  std::puts("serving");
  std::fflush(stdout);
  std::vector<char> buffer(kWriteBytes);
  while (true) {
    const UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) continue;
    SetOption(connection.get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    ServeConnection(connection.get(), buffer);
  }
}

// Answers from the address that was asked, as one pod may have several.
void ServeUdp(const UniqueFd& socket, char letter) {
  SetOption(socket.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO");
  char byte = 0;
  iovec content{.iov_base = &byte, .iov_len = 1};
  while (true) {
    Address from;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))];
    msghdr message{};
    message.msg_name = &from.storage;
    message.msg_namelen = sizeof(from.storage);
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    if (::recvmsg(socket.get(), &message, 0) != 1) continue;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) continue;
    if (byte == static_cast<char>(Traffic::kWho)) byte = letter;
    // Out of whichever interface leads there.
    reinterpret_cast<in6_pktinfo*>(CMSG_DATA(header))->ipi6_ifindex = 0;
    ::sendmsg(socket.get(), &message, 0);
  }
}

UniqueFd Connect(const Target& target, int type) {
  const bool udp = type == SOCK_DGRAM;
  const Address address = AddressOf(target.address, udp ? target.udp_port : target.tcp_port);
  UniqueFd fd(::socket(address.storage.ss_family, type | SOCK_CLOEXEC, 0));
  if (!udp) SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
  GiveUpAfter(fd.get(), kLimit);
  const std::uint32_t range =
      target.least_client_port | static_cast<std::uint32_t>(target.most_client_port) << 16;
  SetOption(fd.get(), IPPROTO_IP, kIpLocalPortRange, range, "IP_LOCAL_PORT_RANGE (Linux 6.3)");
  if (::connect(fd.get(), address.get(), address.length) != 0) {
    Fail("connect to " + target.address);
  }
  return fd;
}

void Exchange(int fd, Traffic traffic) {
  char byte = static_cast<char>(traffic);
  if (::send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(fd, &byte, 1, 0) != 1) Fail("request");
}

void ConnectAndExchange(const Target& target) {
  const UniqueFd connection = Connect(target, SOCK_STREAM);
  Exchange(connection.get(), Traffic::kConnections);
  if (char byte = 0; ::recv(connection.get(), &byte, 1, 0) != 0) Fail("end of a connection");
}

// What the machine's processors have done since it was started, in microseconds: all but to idle
// and to wait for a disk, and without what the machine beneath a virtual one took.
double BusyMicroseconds() {
  std::ifstream file("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0;
  file >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq;
  if (!file) Fail("/proc/stat");
  static const auto tick_us = 1e6 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return (user + nice + system + irq + softirq) * tick_us;
}

// Megabits in a second.
double Stream(const Target& target, std::chrono::milliseconds time) {
  const std::vector<char> bytes(kWriteBytes, static_cast<char>(Traffic::kStream));
  const UniqueFd connection = Connect(target, SOCK_STREAM);
  double megabits = 0;
  const Clock::time_point begin = Clock::now();
  Clock::time_point now = begin;
  while (now < begin + time) {
    for (int i = 0; i < kBatch; ++i) {
      const ssize_t sent = ::send(connection.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) Fail("send");
      megabits += static_cast<double>(sent) * 8 / 1e6;
    }
    now = Clock::now();
  }
  return megabits / std::chrono::duration<double>(now - begin).count();
}

// The time of each request, one after the other, in microseconds.
std::vector<float> TimeRequests(const Target& target, Traffic traffic,
                                std::chrono::milliseconds time) {
  std::vector<float> times_us;
  times_us.reserve(static_cast<std::size_t>(time.count()) * 100);
  UniqueFd kept;
  if (traffic != Traffic::kConnections) {
    kept = Connect(target, traffic == Traffic::kDatagrams ? SOCK_DGRAM : SOCK_STREAM);
  }
  const Clock::time_point begin = Clock::now();
  for (Clock::time_point before = begin; before < begin + time;) {
    kept.valid() ? Exchange(kept.get(), traffic) : ConnectAndExchange(target);
    const Clock::time_point now = Clock::now();
    times_us.push_back(std::chrono::duration<float, std::micro>(now - before).count());
    before = now;
  }
  return times_us;
}

}  // namespace

void Fail(const std::string& what) {
  std::fprintf(stderr, "sluice_connection_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

int Serve(char letter, std::uint16_t port) {
  const UniqueFd datagrams = Bound(SOCK_DGRAM, port);
  const std::thread udp(ServeUdp, std::cref(datagrams), letter);
  ServeTcp(port);
  return 0;
}

Slice Ask(const Target& target, Traffic traffic, std::chrono::milliseconds time) {
  Slice slice;
  const double busy_before = BusyMicroseconds();
  if (traffic == Traffic::kStream) {
    slice.rate = Stream(target, time);
    slice.busy_us = BusyMicroseconds() - busy_before;
    return slice;
  }
  const Clock::time_point begin = Clock::now();
  std::vector<float> times_us = TimeRequests(target, traffic, time);
  const std::chrono::duration<double> took = Clock::now() - begin;
  slice.busy_us = BusyMicroseconds() - busy_before;
  std::sort(times_us.begin(), times_us.end());
  slice.requests = times_us.size();
  slice.rate = static_cast<double>(times_us.size()) / took.count();
  slice.p50_us = times_us[(times_us.size() - 1) / 2];
  slice.p99_us = times_us[(times_us.size() - 1) * 99 / 100];
  slice.worst_us = times_us.back();
  return slice;
}

int AskUntil(const Target& target, char letter) {
  const Clock::time_point begin = Clock::now();
  const int ports = target.most_client_port - target.least_client_port + 1;
  for (int asked = 0; asked < ports; ++asked) {
    Target with_port = target;
    with_port.least_client_port = static_cast<std::uint16_t>(target.least_client_port + asked);
    with_port.most_client_port = with_port.least_client_port;
    const UniqueFd socket = Connect(with_port, SOCK_DGRAM);
    GiveUpAfter(socket.get(), kImpatience);
    char byte = static_cast<char>(Traffic::kWho);
    // Whom it was for may be gone just then.
    if (::send(socket.get(), &byte, 1, 0) == 1 && ::recv(socket.get(), &byte, 1, 0) == 1 &&
        byte == letter) {
      return asked + 1;
    }
    const auto pause = Clock::now() - begin < kAtFirst ? kPauseAtFirst : kPauseLater;
    const timespec time{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(pause).count()};
    ::ppoll(nullptr, 0, &time, nullptr);
  }
  errno = ETIMEDOUT;
  Fail("no other backend answers");
}

}  // namespace sluice::bench
