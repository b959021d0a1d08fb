// SPDX-License-Identifier: Apache-2.0
#include "control/health/keeper_channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMessageBytes = 64 * 1024;

absl::StatusOr<sockaddr_un> SocketAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": too long for a unix socket"));
  }
  path.copy(address.sun_path, path.size());
  return address;
}

Json ToJson(const KeeperMessage& message) {
  Json json;
  if (!message.hold.empty()) {
    json["hold"] = message.hold;
    for (const auto& [key, answer] : message.answers) {
      json["answers"][key] = {
          {"code", answer.code}, {"body", answer.body}, {"headers", answer.headers}};
    }
  }
  if (!message.drop.empty()) json["drop"] = message.drop;
  if (!message.held.empty()) json["held"] = message.held;
  if (message.take) json["take"] = true;
  if (message.end) json["end"] = true;
  if (message.serving) json["serving"] = true;
  if (message.over) json["over"] = true;
  return json;
}

absl::StatusOr<KeeperMessage> FromText(const char* text, std::size_t size) {
  try {
    const Json json = Json::parse(text, text + size);
    KeeperMessage message;
    message.hold = json.value("hold", "");
    message.drop = json.value("drop", "");
    message.held = json.value("held", "");
    message.take = json.value("take", false);
    message.end = json.value("end", false);
    message.serving = json.value("serving", false);
    message.over = json.value("over", false);
    const Json answers = json.value("answers", Json::object());
    for (const auto& [key, answer] : answers.items()) {
      HealthAnswer& kept = message.answers[key];
      kept.code = answer.at("code").get<int>();
      kept.body = answer.at("body").get<std::string>();
      kept.headers = answer.at("headers").get<decltype(kept.headers)>();
    }
    return message;
  } catch (const Json::exception& e) {
    return absl::DataLossError(absl::StrCat("message between agent and keeper: ", e.what()));
  }
}

}  // namespace

std::string KeptKey(std::string_view path, bool v4) {
  return absl::StrCat(v4 ? "4 " : "6 ", absl::string_view(path.data(), path.size()));
}

std::string KeeperSocketPath(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/health-keeper.sock");
}

absl::StatusOr<UniqueFd> ConnectToKeeper(const std::string& state_dir) {
  const std::string path = KeeperSocketPath(state_dir);
  ASSIGN_OR_RETURN(const sockaddr_un address, SocketAddress(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("connect to ", path));
  }
  return fd;
}

absl::StatusOr<UniqueFd> ListenForAgents(const std::string& state_dir) {
  const std::string path = KeeperSocketPath(state_dir);
  ASSIGN_OR_RETURN(const sockaddr_un address, SocketAddress(path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, path);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 4) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen on ", path));
  }
  return fd;
}

absl::Status SendMessage(int channel, const KeeperMessage& message, int fd,
                         absl::Duration patience) {
  std::string text = ToJson(message).dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMessageBytes) {
    return absl::InvalidArgumentError("message to the keeper: too long");
  }
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  ssize_t sent = ::sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && errno == EAGAIN && patience > absl::ZeroDuration()) {
    pollfd room{channel, POLLOUT, 0};
    ::poll(&room, 1, static_cast<int>(absl::ToInt64Milliseconds(patience)));
    sent = ::sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  return sent < 0 ? ErrnoStatus(errno, "send between agent and keeper") : absl::OkStatus();
}

absl::StatusOr<std::optional<ReceivedMessage>> ReceiveMessage(int channel) {
  std::string text(kMessageBytes, '\0');
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t length = ::recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (length < 0 && errno != ECONNRESET) {
    return ErrnoStatus(errno, "receive between agent and keeper");
  }
  if (length <= 0) return absl::OutOfRangeError("the other end is gone");
  ReceivedMessage received;
  for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr;
       rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    received.fd.Reset(fd);
  }
  ASSIGN_OR_RETURN(received.message, FromText(text.data(), static_cast<std::size_t>(length)));
  return received;
}

}  // namespace sluice
