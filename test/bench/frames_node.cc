// SPDX-License-Identifier: Apache-2.0
#include "test/bench/frames_node.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/bench/bench_frame.h"
#include "test/bench/bench_scenario.h"
#include "test/support/command.h"
#include "test/support/netns.h"

namespace sluice::bench {
namespace {

constexpr char kFarEnd[] = "uplink-x";

absl::Status AttachTc(const char* device, int program) {
  LIBBPF_OPTS(bpf_tc_hook, hook);
  hook.ifindex = static_cast<int>(if_nametoindex(device));
  hook.attach_point = BPF_TC_INGRESS;
  LIBBPF_OPTS(bpf_tc_opts, opts);
  opts.prog_fd = program;
  int error = bpf_tc_hook_create(&hook);
  if (error == 0) error = bpf_tc_attach(&hook, &opts);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(-error, device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FarEnd>> FarEnd::Load() {
  End end(frames_end__open_and_load(), frames_end__destroy);
  if (end == nullptr) return ErrnoStatus(errno, "load frames_end");
  return std::unique_ptr<FarEnd>(new FarEnd(std::move(end)));
}

absl::StatusOr<std::uint64_t> FarEnd::Arrived() const {
  const __u32 zero = 0;
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  const int map = bpf_map__fd(end_->maps.frames_arrived);
  if (bpf_map_lookup_elem(map, &zero, counts.data()) != 0) return ErrnoStatus(errno, "arrived");
  std::uint64_t sum = 0;
  for (const std::uint64_t count : counts) sum += count;
  return sum;
}

void FarEnd::Keep(std::uint32_t count) {
  end_->bss->frames_found = 0;
  end_->bss->frames_wanted = count;
}

absl::StatusOr<std::vector<testing::Bytes>> FarEnd::Kept() {
  end_->bss->frames_wanted = 0;
  std::vector<testing::Bytes> frames(end_->bss->frames_found);
  const int map = bpf_map__fd(end_->maps.frames_keep);
  for (__u32 i = 0; i < frames.size(); ++i) {
    frames_kept kept{};
    if (bpf_map_lookup_elem(map, &i, &kept) != 0) return ErrnoStatus(errno, "kept frame");
    frames[i].assign(kept.bytes, kept.bytes + kept.length);
  }
  return frames;
}

absl::StatusOr<std::unique_ptr<Node>> Node::Create() {
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::NetNs> net, testing::NetNs::Create());
  RETURN_IF_ERROR(BuildNetwork(*net));
  // Packets leave by the interface that they came by: the stack would tell their senders.
  for (const char* device : {"all", "uplink"}) {
    RETURN_IF_ERROR(
        net->SetSysctl(std::string("net/ipv4/conf/") + device + "/send_redirects", "0"));
  }
  UniqueFd space(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!space.valid()) return ErrnoStatus(errno, "open network namespace");
  std::unique_ptr<Node> node(new Node(std::move(space), if_nametoindex("uplink")));
  return node;
}

absl::Status Node::Enter() const {
  return setns(space_.get(), CLONE_NEWNET) == 0 ? absl::OkStatus()
                                                : ErrnoStatus(errno, "enter a node");
}

absl::Status Node::TakeAtXdp(const FarEnd& end) {
  const int error = bpf_xdp_attach(static_cast<int>(if_nametoindex(kFarEnd)), end.at_xdp(),
                                   XDP_FLAGS_DRV_MODE, nullptr);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(-error, "far end at XDP");
}

absl::Status Node::TakeAtTc(const FarEnd& end) { return AttachTc(kFarEnd, end.at_tc()); }

absl::Status Node::AttachToUplink(int program) { return AttachTc("uplink", program); }

absl::Status Node::Nftables(const std::string& rules) {
  return testing::RunCommand({"nft", "-f", "-"}, rules).status();
}

absl::Status Node::Iptables(const std::string& rules) {
  return testing::RunCommand({"iptables-legacy-restore", "--noflush"}, rules).status();
}

absl::Status Node::ForgetConnections() {
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket.valid()) return ErrnoStatus(errno, "netfilter's netlink");
  struct {
    nlmsghdr header;
    nfgenmsg message;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.message.nfgen_family = AF_UNSPEC;
  struct {
    nlmsghdr header;
    nlmsgerr error;
  } answer = {};
  if (send(socket.get(), &request, sizeof(request), 0) < 0 ||
      recv(socket.get(), &answer, sizeof(answer), 0) < 0) {
    return ErrnoStatus(errno, "forget connections");
  }
  return answer.error.error == 0 ? absl::OkStatus()
                                 : ErrnoStatus(-answer.error.error, "forget connections");
}

absl::StatusOr<std::uint32_t> Node::AnsweredConnections() const {
  std::ifstream file("/proc/thread-self/net/nf_conntrack");
  if (!file) return ErrnoStatus(errno, "read connections");
  std::uint32_t answered = 0;
  for (std::string line; std::getline(file, line);) {
    answered += absl::StrContains(line, "[ASSURED]") ? 1 : 0;
  }
  return answered;
}

}  // namespace sluice::bench
