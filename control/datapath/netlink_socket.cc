// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/netlink_socket.h"

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr int kEventBufferBytes = 4 * 1024 * 1024;  // some thousand links coming up at once
constexpr timeval kAnswerTimeout = {2, 0};

int KeepAttribute(const nlattr* attribute, void* context) {
  NetlinkAttributes& found = *static_cast<NetlinkAttributes*>(context);
  const std::uint16_t type = mnl_attr_get_type(attribute);
  if (type < found.size()) found[type] = attribute;
  return MNL_CB_OK;
}

int OnMessage(const nlmsghdr* message, void* context) {
  (*static_cast<const NetlinkVisitor*>(context))(*message);
  return MNL_CB_OK;
}

void* ContextOf(const NetlinkVisitor& visit) { return const_cast<NetlinkVisitor*>(&visit); }

}  // namespace

void NetlinkSocket::Close::operator()(mnl_socket* socket) const { mnl_socket_close(socket); }

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open(int bus, unsigned groups) {
  NetlinkSocket socket(mnl_socket_open2(bus, SOCK_CLOEXEC));
  if (socket.socket_ == nullptr ||
      mnl_socket_bind(socket.socket_.get(), groups, MNL_SOCKET_AUTOPID) < 0 ||
      ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout)) <
          0) {
    return ErrnoStatus(errno, "netlink socket");
  }
  // Best effort: without CAP_NET_ADMIN the default size stays, and an overrun costs one more dump.
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBufferBytes,
               sizeof(kEventBufferBytes));
  return socket;
}

int NetlinkSocket::fd() const { return mnl_socket_get_fd(socket_.get()); }

absl::Status NetlinkSocket::Join(std::uint32_t group) {
  if (mnl_socket_setsockopt(socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
    return ErrnoStatus(errno, absl::StrCat("netlink group ", group));
  }
  return absl::OkStatus();
}

absl::Status NetlinkSocket::Ask(nlmsghdr& request, const NetlinkVisitor& visit) {
  request.nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), &request, request.nlmsg_len) < 0) {
    return ErrnoStatus(errno, "netlink request");
  }
  std::vector<char> buffer(kReceiveBytes);
  const unsigned port = mnl_socket_get_portid(socket_.get());
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::DeadlineExceededError("netlink does not answer");
      return ErrnoStatus(errno, "netlink answer");
    }
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), sequence_, port, OnMessage,
                      ContextOf(visit));
    if (more < 0) return ErrnoStatus(errno, absl::StrCat("netlink request ", request.nlmsg_type));
  }
  return absl::OkStatus();
}

absl::Status NetlinkSocket::Drain(const NetlinkVisitor& visit) {
  std::vector<char> buffer(kReceiveBytes);
  while (true) {
    const ssize_t length = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::OkStatus();
      if (errno == ENOBUFS) return absl::UnavailableError("netlink dropped messages");
      return ErrnoStatus(errno, "netlink events");
    }
    if (mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 0, 0, OnMessage,
                   ContextOf(visit)) < 0) {
      return ErrnoStatus(errno, "netlink events");
    }
  }
}

NetlinkAttributes AttributesOf(const nlmsghdr& message, std::size_t offset, std::size_t max) {
  NetlinkAttributes found(max + 1, nullptr);
  mnl_attr_parse(&message, static_cast<unsigned>(offset), KeepAttribute, &found);
  return found;
}

NetlinkAttributes AttributesIn(const nlattr& nest, std::size_t max) {
  NetlinkAttributes found(max + 1, nullptr);
  mnl_attr_parse_nested(&nest, KeepAttribute, &found);
  return found;
}

std::optional<std::uint16_t> AttributeU16(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_validate(attribute, MNL_TYPE_U16) < 0) return std::nullopt;
  return mnl_attr_get_u16(attribute);
}

std::optional<std::uint32_t> AttributeU32(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_validate(attribute, MNL_TYPE_U32) < 0) return std::nullopt;
  return mnl_attr_get_u32(attribute);
}

std::optional<std::uint64_t> AttributeU64(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_validate(attribute, MNL_TYPE_U64) < 0) return std::nullopt;
  return mnl_attr_get_u64(attribute);
}

}  // namespace sluice
