// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/tcx_link.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

// include/uapi/linux/bpf.h of Linux 6.6 and newer.
constexpr int kAttachTcxIngress = 46;          // BPF_TCX_INGRESS
constexpr int kAttachTcxEgress = 47;           // BPF_TCX_EGRESS
constexpr std::uint32_t kLinkTypeTcx = 11;     // BPF_LINK_TYPE_TCX
constexpr std::uint32_t kFlagBefore = 1 << 3;  // BPF_F_BEFORE; without an anchor: before all

// The kernel's struct of a tcx link begins with the ifindex, as that of an XDP link does, which the
// older headers have.
absl::StatusOr<bpf_link_info> InfoOf(int fd) {
  bpf_link_info info{};
  std::uint32_t length = sizeof(info);
  if (const int err = bpf_obj_get_info_by_fd(fd, &info, &length); err != 0) {
    return ErrnoStatus(err, "read a BPF link");
  }
  return info;
}

}  // namespace

absl::StatusOr<TcxLink> TcxLink::Create(int program_fd, int ifindex, TcDirection direction) {
  const auto type = static_cast<bpf_attach_type>(
      direction == TcDirection::kIngress ? kAttachTcxIngress : kAttachTcxEgress);
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = kFlagBefore);
  const int fd = bpf_link_create(program_fd, ifindex, type, &options);
  if (fd >= 0) return TcxLink(UniqueFd(fd));
  // A kernel that does not know the attach type answers EINVAL.
  if (fd == -EINVAL) return absl::UnimplementedError("the kernel has no tcx links");
  return ErrnoStatus(fd, "attach (tcx)");
}

absl::StatusOr<TcxLink> TcxLink::OpenPinned(const std::string& path) {
  const int fd = bpf_obj_get(path.c_str());
  if (fd < 0) return ErrnoStatus(fd, path);
  TcxLink link{UniqueFd(fd)};
  ASSIGN_OR_RETURN(const bpf_link_info info, InfoOf(fd));
  if (info.type != kLinkTypeTcx) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a tcx link"));
  }
  return link;
}

absl::Status TcxLink::Update(int program_fd) {
  const int err = bpf_link_update(fd_.get(), program_fd, nullptr);
  return err == 0 ? absl::OkStatus() : ErrnoStatus(err, "replace the program (tcx)");
}

absl::Status TcxLink::Pin(const std::string& path) const {
  const int err = bpf_obj_pin(fd_.get(), path.c_str());
  return err == 0 ? absl::OkStatus() : ErrnoStatus(err, absl::StrCat("pin ", path));
}

absl::Status TcxLink::Detach() {
  const int err = bpf_link_detach(fd_.get());
  return err == 0 ? absl::OkStatus() : ErrnoStatus(err, "detach (tcx)");
}

absl::StatusOr<int> TcxLink::Ifindex() const {
  ASSIGN_OR_RETURN(const bpf_link_info info, InfoOf(fd_.get()));
  return static_cast<int>(info.xdp.ifindex);
}

absl::StatusOr<std::uint32_t> TcxLink::Id() const {
  ASSIGN_OR_RETURN(const bpf_link_info info, InfoOf(fd_.get()));
  return info.id;
}

}  // namespace sluice
