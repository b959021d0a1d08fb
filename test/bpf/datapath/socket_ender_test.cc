// SPDX-License-Identifier: Apache-2.0
// Sockets that are ended from outside, in this network namespace and in another.
#include "control/datapath/socket_ender.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "gtest/gtest.h"

#include "control/base/unique_fd.h"
#include "control/datapath/socket_programs.h"
#include "control/model/ip_address.h"
#include "test/support/netns.h"
#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// A connection over loopback of the calling thread's namespace.
struct Connection {
  UniqueFd server;
  UniqueFd client;
};

sockaddr_in6 NameOf(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_in6 name{};
  socklen_t length = sizeof(name);
  EXPECT_EQ(ask(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
  return name;
}

Connection Connect(int type, const char* address) {
  UniqueFd listener(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
  sockaddr_in6 at{};
  at.sin6_family = AF_INET6;
  EXPECT_EQ(::inet_pton(AF_INET6, address, &at.sin6_addr), 1);
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  EXPECT_TRUE(type == SOCK_DGRAM || ::listen(listener.get(), 1) == 0);
  at = NameOf(listener.get(), ::getsockname);
  Connection connection;
  connection.client.Reset(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(connection.client.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  connection.server = type == SOCK_STREAM ? UniqueFd(::accept(listener.get(), nullptr, nullptr))
                                          : std::move(listener);
  return connection;
}

abi::lost_socket Lost(const Connection& connection, std::uint32_t protocol) {
  const sockaddr_in6 local = NameOf(connection.client.get(), ::getsockname);
  const sockaddr_in6 remote = NameOf(connection.client.get(), ::getpeername);
  abi::lost_socket lost{};
  std::memcpy(&lost.local, &local.sin6_addr, sizeof(lost.local));
  std::memcpy(&lost.remote, &remote.sin6_addr, sizeof(lost.remote));
  lost.local_port = local.sin6_port;
  lost.remote_port = remote.sin6_port;
  lost.family = AF_INET6;
  lost.protocol = protocol;
  socklen_t length = sizeof(lost.cookie);
  EXPECT_EQ(::getsockopt(connection.client.get(), SOL_SOCKET, SO_COOKIE, &lost.cookie, &length), 0);
  lost.netns = OwnNetnsCookie().value();
  return lost;
}

int ErrorOf(const UniqueFd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) < 0 ? errno : 0;
}

class SocketEnderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto netns = NetNs::Create();
    ASSERT_THAT(netns, IsOk());
    netns_ = *std::move(netns);
    places_ = {.folders = {folder_.path()}, .proc = folder_.path() + "/none"};
  }
  // Keeps the namespace that the thread is in as ip-netns(8) does.
  std::string Keep(const char* name) {
    const std::string path = folder_.path() + "/" + name;
    std::ofstream(path).flush();
    EXPECT_EQ(::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr), 0);
    kept_.push_back(path);
    return path;
  }
  // A connection in another namespace, which is kept; adds it to `lost`.
  Connection ConnectElsewhere(std::vector<abi::lost_socket>& lost) {
    const auto other = NetNs::Create();
    EXPECT_THAT(other, IsOk());
    Connection there = Connect(SOCK_STREAM, "::1");
    lost.push_back(Lost(there, IPPROTO_TCP));
    Keep("pod");
    return there;
  }
  void TearDown() override {
    for (const std::string& path : kept_) ::umount2(path.c_str(), MNT_DETACH);
  }

  const ScratchFolder folder_;
  std::unique_ptr<NetNs> netns_;
  std::vector<std::string> kept_;
  NetnsPlaces places_;
};

TEST_F(SocketEnderTest, EndsWhatIsNamedAndNothingElse) {
  for (const char* address : {"::1", "::ffff:127.0.0.1"}) {
    const Connection ended = Connect(SOCK_STREAM, address);
    const Connection stays = Connect(SOCK_STREAM, address);
    const Connection datagrams = Connect(SOCK_DGRAM, address);
    const std::vector<abi::lost_socket> lost = {Lost(ended, IPPROTO_TCP),
                                                Lost(datagrams, IPPROTO_UDP)};
    const EndedSockets result = EndSockets(lost, places_);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.ended, 2u) << address;
    EXPECT_EQ(ErrorOf(ended.client), ECONNABORTED);
    EXPECT_EQ(ErrorOf(ended.server), ECONNRESET);
    EXPECT_EQ(ErrorOf(datagrams.client), ECONNABORTED);
    EXPECT_EQ(ErrorOf(stays.client), EAGAIN);
    EXPECT_EQ(EndSockets(lost, places_).gone, 2u) << "they have ended";
  }
}

TEST_F(SocketEnderTest, AnotherSocketInItsPlaceStays) {
  const Connection other = Connect(SOCK_STREAM, "::1");
  abi::lost_socket lost = Lost(other, IPPROTO_TCP);
  ++lost.cookie;
  const EndedSockets result = EndSockets(std::vector{lost}, places_);
  EXPECT_EQ(result.ended, 0u);
  EXPECT_EQ(result.gone, 1u);
  EXPECT_EQ(ErrorOf(other.client), EAGAIN);
}

TEST_F(SocketEnderTest, EntersOtherNamespacesAndComesBack) {
  const std::uint64_t here = OwnNetnsCookie().value();
  std::vector<abi::lost_socket> lost;
  const Connection there = ConnectElsewhere(lost);
  ASSERT_EQ(OwnNetnsCookie().value(), here);
  const EndedSockets result = EndSockets(lost, places_);
  EXPECT_EQ(result.ended, 1u);
  EXPECT_EQ(result.not_reached, 0u);
  EXPECT_EQ(ErrorOf(there.client), ECONNABORTED);
  EXPECT_EQ(OwnNetnsCookie().value(), here);
}

TEST_F(SocketEnderTest, TellsOfNamespacesThatItDoesNotFind) {
  const Connection here = Connect(SOCK_STREAM, "::1");
  abi::lost_socket lost = Lost(here, IPPROTO_TCP);
  abi::lost_socket elsewhere = lost;
  elsewhere.netns = ~0ULL;
  const EndedSockets result = EndSockets(std::vector{elsewhere, lost, elsewhere}, places_);
  EXPECT_EQ(result.ended, 1u) << "the others are ended all the same";
  EXPECT_EQ(result.not_reached, 2u);
}

// A process that sleeps in send() on a page that never comes, and holds the socket's lock
// meanwhile: what waits for that lock no signal ends. Such pages a debugger makes, or a file system
// that hangs.
class HeldSocket {
 public:
  explicit HeldSocket(int fd) {
    std::array<int, 2> sleeps{};
    EXPECT_EQ(::pipe2(sleeps.data(), O_CLOEXEC), 0);
    const UniqueFd read_end(sleeps[0]);
    UniqueFd write_end(sleeps[1]);
    child_ = ::fork();
    if (child_ != 0) {
      write_end.Reset();
      char byte = 0;
      EXPECT_EQ(::read(read_end.get(), &byte, 1), 1) << "it does not sleep";
      return;
    }
    const long page = ::sysconf(_SC_PAGESIZE);
    void* const memory = ::mmap(nullptr, static_cast<std::size_t>(page), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int faults = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC));
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{};
    range.range = {reinterpret_cast<__u64>(memory), static_cast<__u64>(page)};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (::ioctl(faults, UFFDIO_API, &api) != 0 || ::ioctl(faults, UFFDIO_REGISTER, &range) != 0) {
      ::_exit(1);
    }
    std::thread sender([&] { ::send(fd, memory, 1, 0); });
    uffd_msg fault{};
    if (::read(faults, &fault, sizeof(fault)) == sizeof(fault)) ::write(write_end.get(), "x", 1);
    sender.join();
    ::_exit(0);
  }
  ~HeldSocket() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_ = -1;
};

TEST_F(SocketEnderTest, AProcessThatHoldsItsSocketHoldsUpNobody) {
  std::vector<abi::lost_socket> lost;
  const Connection there = ConnectElsewhere(lost);
  const Connection held = Connect(SOCK_STREAM, "::1");
  lost.push_back(Lost(held, IPPROTO_TCP));
  const HeldSocket holder(held.client.get());
  const EndedSockets result = EndSockets(lost, places_, absl::Milliseconds(300));
  EXPECT_EQ(result.stuck, 1u);
  EXPECT_EQ(result.ended, 1u);
  EXPECT_EQ(ErrorOf(there.client), ECONNABORTED);
}

// A container that has not CAP_SYS_ADMIN.
TEST_F(SocketEnderTest, MayBeForbiddenToEnterNamespaces) {
  std::vector<abi::lost_socket> lost;
  const Connection there = ConnectElsewhere(lost);
  EndedSockets result;
  // Rights are a thread's own.
  std::thread([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> rights{};
    ASSERT_EQ(::syscall(SYS_capget, &header, rights.data()), 0);
    for (auto& part : rights) part.inheritable = 0;
    rights[0].effective &= ~(1U << CAP_SYS_ADMIN);
    ASSERT_EQ(::syscall(SYS_capset, &header, rights.data()), 0);
    result = EndSockets(lost, places_);
  }).join();
  EXPECT_EQ(result.not_reached, 1u);
  EXPECT_EQ(ErrorOf(there.client), EAGAIN);
}

}  // namespace
}  // namespace sluice::testing
