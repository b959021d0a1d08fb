// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/network_monitor.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/time/time.h"

#include "control/base/status_macros.h"
#include "control/datapath/rtnetlink.h"

namespace sluice {
namespace {

// Bursts (a daemon that installs thousands of routes) are folded into one read.
constexpr absl::Duration kReadDelay = absl::Milliseconds(100);
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// Whether a route message can concern a default route; most on a busy router do not.
bool IsDefaultRoute(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(rtmsg)) return false;
  return static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message))->rtm_dst_len == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetworkMonitor>> NetworkMonitor::Create(EventLoop& loop, bool xdp) {
  ASSIGN_OR_RETURN(NetlinkSocket events, OpenNetworkEvents());
  std::unique_ptr<XdpFeatures> features;
  if (xdp) {
    auto opened = XdpFeatures::Open();
    if (opened.ok()) features = *std::move(opened);
  }
  return absl::WrapUnique(new NetworkMonitor(loop, std::move(events), std::move(features)));
}

NetworkMonitor::NetworkMonitor(EventLoop& loop, NetlinkSocket events,
                               std::unique_ptr<XdpFeatures> features)
    : loop_(loop), events_(std::move(events)), features_(std::move(features)) {}

NetworkMonitor::~NetworkMonitor() {
  if (features_ != nullptr) loop_.Unwatch(features_->fd());
  loop_.Unwatch(events_.fd());
  loop_.Cancel(read_timer_);
}

absl::Status NetworkMonitor::Start(std::function<void()> on_change) {
  on_change_ = std::move(on_change);
  // The groups are joined already, so that what changes during the read arrives after it.
  ASSIGN_OR_RETURN(state_, ReadNetworkState());
  ReadFeatures(state_.links);
  RETURN_IF_ERROR(loop_.Watch(events_.fd(), EPOLLIN, [this](std::uint32_t) { OnEvents(); }));
  if (features_ != nullptr) {
    RETURN_IF_ERROR(loop_.Watch(features_->fd(), EPOLLIN, [this](std::uint32_t) { OnFeatures(); }));
  }
  on_change_();
  return absl::OkStatus();
}

void NetworkMonitor::ReadFeatures(std::map<int, Link>& links) {
  if (features_ == nullptr) return;
  for (auto& [ifindex, link] : links) link.xdp_features = 0;
  if (features_->Read(links).ok() || read_timer_ != 0) return;
  read_timer_ = loop_.RunAfter(kRetryDelay, [this] { ReadAll(); });
}

// A driver that takes no more frames from others loses them until that is known: at once, and
// without asking for all the rest, as every interface that comes or goes is told of here too.
void NetworkMonitor::OnFeatures() {
  features_->Drain().IgnoreError();  // all are read anew, whatever was said
  std::map<int, Link> links = state_.links;
  ReadFeatures(links);
  if (links == state_.links) return;
  state_.links = std::move(links);
  on_change_();
}

void NetworkMonitor::OnEvents() {
  bool changed = false;
  const absl::Status drained =
      events_.Drain([&](const nlmsghdr& message) { changed = Take(message) || changed; });
  if (!drained.ok()) ScheduleRead();
  if (changed) on_change_();
}

bool NetworkMonitor::Take(const nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWLINK: {
      std::optional<Link> link = ParseLink(message);
      if (!link.has_value()) return false;
      Link& known = state_.links[link->ifindex];
      link->xdp_features = known.xdp_features;  // which this message does not tell
      if (known == *link) return false;
      known = *link;
      ScheduleRead();
      return true;
    }
    case RTM_DELLINK: {
      const std::optional<Link> link = ParseLink(message);
      if (!link.has_value()) return false;
      // Also when a veth's end moves to another namespace: the kernel does not say of the other
      // end that its peer is elsewhere now, so the links are read again.
      ScheduleRead();
      return state_.links.erase(link->ifindex) > 0;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR:
      ScheduleRead();
      return false;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (IsDefaultRoute(message)) ScheduleRead();
      return false;
    default:
      return false;
  }
}

void NetworkMonitor::ScheduleRead() {
  if (read_timer_ != 0) return;
  read_timer_ = loop_.RunAfter(kReadDelay, [this] { ReadAll(); });
}

void NetworkMonitor::ReadAll() {
  read_timer_ = 0;
  absl::StatusOr<NetworkState> read = ReadNetworkState();
  status_ = read.status();
  if (!read.ok()) {
    read_timer_ = loop_.RunAfter(kRetryDelay, [this] { ReadAll(); });
    return;
  }
  ReadFeatures(read->links);
  if (*read == state_) return;
  state_ = *std::move(read);
  on_change_();
}

}  // namespace sluice
