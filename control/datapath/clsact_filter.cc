// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/clsact_filter.h"

#include <bpf/libbpf.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cerrno>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr std::size_t kReceiveBytes = 32 * 1024;

bpf_tc_attach_point PointOf(TcDirection direction) {
  return direction == TcDirection::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

bpf_tc_hook HookOf(int ifindex, bpf_tc_attach_point point) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
  return hook;
}

int CountFilter(const nlmsghdr* message, void* count) {
  if (message->nlmsg_type == RTM_NEWTFILTER) ++*static_cast<int*>(count);
  return MNL_CB_OK;
}

// How many filters one side of the clsact qdisc holds.
absl::StatusOr<int> CountFilters(int ifindex, TcDirection direction) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return ErrnoStatus(errno, "rtnetlink socket");
  const auto close = absl::MakeCleanup([socket] { mnl_socket_close(socket); });
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    return ErrnoStatus(errno, "rtnetlink socket");
  }
  std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = RTM_GETTFILTER;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = 1;
  auto* body = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(tcmsg)));
  body->tcm_ifindex = ifindex;
  body->tcm_parent = TC_H_MAKE(
      TC_H_CLSACT, direction == TcDirection::kIngress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) {
    return ErrnoStatus(errno, "list TC filters");
  }
  std::vector<char> buffer(kReceiveBytes);
  int count = 0;
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t length = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (length < 0) return ErrnoStatus(errno, "list TC filters");
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 1,
                      mnl_socket_get_portid(socket), CountFilter, &count);
    if (more < 0) return ErrnoStatus(errno, "list TC filters");
  }
  return count;
}

}  // namespace

absl::StatusOr<bool> EnsureClsact(int ifindex) {
  bpf_tc_hook hook =
      HookOf(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int err = bpf_tc_hook_create(&hook);
  if (err == 0) return true;
  if (err == -EEXIST) return false;
  return ErrnoStatus(err, "add the clsact qdisc");
}

absl::Status AttachClsact(int ifindex, TcDirection direction, int program_fd) {
  const bpf_tc_hook hook = HookOf(ifindex, PointOf(direction));
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd, .flags = BPF_TC_F_REPLACE,
              .handle = kClsactHandle, .priority = kClsactPriority);
  const int err = bpf_tc_attach(&hook, &options);
  if (err == 0) return absl::OkStatus();
  if (err == -EINVAL || err == -EEXIST) {
    return absl::FailedPreconditionError(
        absl::StrCat("attach (clsact): the kernel refuses a BPF filter of priority ",
                     kClsactPriority, "; see `tc filter show` for what else has it"));
  }
  return ErrnoStatus(err, "attach (clsact)");
}

absl::StatusOr<std::uint32_t> QueryClsact(int ifindex, TcDirection direction) {
  const bpf_tc_hook hook = HookOf(ifindex, PointOf(direction));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kClsactHandle, .priority = kClsactPriority);
  const int err = bpf_tc_query(&hook, &options);
  // Without the qdisc the kernel says EINVAL.
  if (err == -EINVAL) return absl::NotFoundError("no clsact qdisc");
  if (err != 0) return ErrnoStatus(err, "read the TC filter");
  return options.prog_id;
}

absl::Status DetachClsact(int ifindex, TcDirection direction) {
  const absl::StatusOr<std::uint32_t> there = QueryClsact(ifindex, direction);
  if (absl::IsNotFound(there.status())) return absl::OkStatus();
  RETURN_IF_ERROR(there);
  const bpf_tc_hook hook = HookOf(ifindex, PointOf(direction));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kClsactHandle, .priority = kClsactPriority);
  const int err = bpf_tc_detach(&hook, &options);
  return err == 0 || err == -ENOENT ? absl::OkStatus() : ErrnoStatus(err, "detach (clsact)");
}

absl::Status RemoveClsact(int ifindex) {
  for (const TcDirection direction : {TcDirection::kIngress, TcDirection::kEgress}) {
    ASSIGN_OR_RETURN(const int filters, CountFilters(ifindex, direction));
    if (filters > 0) return absl::OkStatus();
  }
  bpf_tc_hook hook =
      HookOf(ifindex, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int err = bpf_tc_hook_destroy(&hook);
  return err == 0 || err == -ENOENT || err == -EINVAL ? absl::OkStatus()
                                                      : ErrnoStatus(err, "remove the clsact qdisc");
}

}  // namespace sluice
