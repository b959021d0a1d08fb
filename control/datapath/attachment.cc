// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/attachment.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/datapath/clsact_filter.h"

namespace sluice {
namespace {

std::string LinksFolder(const std::string& folder) { return absl::StrCat(folder, "/links"); }

// Whether the filter with our priority and handle runs one of our programs, and not one that
// somebody else put there by the same numbers.
bool FilterIsOurs(int ifindex, TcDirection direction) {
  const absl::StatusOr<std::uint32_t> id = QueryClsact(ifindex, direction);
  if (!id.ok()) return false;
  const UniqueFd program(bpf_prog_get_fd_by_id(*id));
  if (!program.valid()) return false;
  bpf_prog_info info{};
  std::uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0) return false;
  return absl::StartsWith(info.name, "sl_");
}

// Filters of the interface that is recorded as `record`, unless another interface has its index
// now.
absl::Status RemoveRecorded(int ifindex, const ClsactRecord& record) {
  char name[IF_NAMESIZE] = {};
  if (::if_indextoname(static_cast<unsigned>(ifindex), name) == nullptr) return absl::OkStatus();
  for (const TcDirection direction : {TcDirection::kIngress, TcDirection::kEgress}) {
    if (!FilterIsOurs(ifindex, direction)) continue;
    const absl::Status removed = DetachClsact(ifindex, direction);
    if (!removed.ok() && !absl::IsNotFound(removed)) return Annotate(removed, name);
  }
  // Recorded under another name: perhaps another device that got the number, whose qdisc it is.
  if (!record.added_qdisc || record.name != name) return absl::OkStatus();
  const absl::Status removed = RemoveClsact(ifindex);
  return absl::IsNotFound(removed) ? absl::OkStatus() : Annotate(removed, name);
}

// Detaches a pinned link, wherever it is attached, and removes its pin.
absl::Status RemovePin(const std::string& path) {
  absl::StatusOr<TcxLink> link = TcxLink::OpenPinned(path);
  // A link whose interface is gone cannot be detached any more: ENOLINK.
  if (link.ok() && link->Ifindex().value_or(0) != 0) {
    const absl::Status detached = link->Detach();
    if (!detached.ok() && link->Ifindex().value_or(0) != 0) return Annotate(detached, path);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

std::vector<std::string> PinsIn(const std::string& folder) {
  std::vector<std::string> pins;
  std::error_code error;  // a folder that is not there has no pins
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    pins.push_back(entry.path().string());
  }
  return pins;
}

}  // namespace

std::string_view AttachModeName(AttachMode mode) {
  return mode == AttachMode::kTcx ? "tcx" : "clsact";
}

std::string LinkPinName(std::string_view interface, std::string_view hook) {
  const std::string name = absl::StrReplaceAll(
      absl::string_view(interface.data(), interface.size()), {{"%", "%25"}, {".", "%2e"}});
  return absl::StrCat(name, "_", absl::string_view(hook.data(), hook.size()));
}

absl::StatusOr<std::unique_ptr<Attacher>> Attacher::Create(std::string folder, AttachMode mode,
                                                           Programs programs, NodeRecord& record) {
  const std::string links = LinksFolder(folder);
  if (::mkdir(links.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, links);
  return absl::WrapUnique(new Attacher(std::move(folder), mode, std::move(programs), record));
}

Attacher::Attacher(std::string folder, AttachMode mode, Programs programs, NodeRecord& record)
    : folder_(std::move(folder)), mode_(mode), programs_(std::move(programs)), record_(record) {}

std::vector<AttachedInterface> Attacher::Apply(const std::vector<Interface>& interfaces) {
  std::map<int, Role> wanted;
  for (const Interface& interface : interfaces) {
    if (interface.unsupported.empty()) wanted[interface.link.ifindex] = interface.role;
  }
  DropUnwanted(wanted);

  std::vector<AttachedInterface> result;
  for (const Interface& interface : interfaces) {
    const Link& link = interface.link;
    AttachedInterface attached{link.name, link.ifindex, interface.role, {}, interface.unsupported};
    bool gone = false;
    if (interface.unsupported.empty()) {
      Entry& entry = entries_[link.ifindex];
      Rename(entry, link.name);
      for (std::size_t hook = 0; hook < kHooks.size() && !gone; ++hook) {
        if (kHooks[hook].role != interface.role) continue;
        const absl::Status status = AttachHook(link, hook, entry);
        gone = absl::IsNotFound(status);
        if (status.ok()) {
          attached.hooks.emplace_back(kHooks[hook].name);
        } else if (!gone) {
          attached.error = absl::StrCat(std::string(kHooks[hook].name), ": ", status.message());
        }
      }
    }
    if (!gone) result.push_back(std::move(attached));
  }
  if (!leftovers_removed_) RemoveLeftovers();
  return result;
}

std::string Attacher::PinPath(std::string_view interface, const Hook& hook) const {
  return absl::StrCat(LinksFolder(folder_), "/", LinkPinName(interface, hook.name));
}

absl::Status Attacher::AttachHook(const Link& link, std::size_t hook, Entry& entry) {
  if (entry.attached[hook]) return absl::OkStatus();
  if (mode_ == AttachMode::kTcx) {
    ASSIGN_OR_RETURN(entry.links[hook], AttachTcx(link, hook));
  } else {
    RETURN_IF_ERROR(AttachFilter(link, hook));
  }
  entry.attached[hook] = true;
  return absl::OkStatus();
}

absl::StatusOr<TcxLink> Attacher::AttachTcx(const Link& link, std::size_t hook) {
  const std::string path = PinPath(link.name, kHooks[hook]);
  const int program = programs_[hook].get();
  absl::StatusOr<TcxLink> pinned = TcxLink::OpenPinned(path);
  if (pinned.ok() && pinned->Ifindex().value_or(0) == link.ifindex &&
      pinned->Update(program).ok()) {
    return pinned;
  }
  // Another device had the name; or the link can take no program any more.
  if (!absl::IsNotFound(pinned.status())) RETURN_IF_ERROR(RemovePin(path));
  ASSIGN_OR_RETURN(TcxLink created, TcxLink::Create(program, link.ifindex, kHooks[hook].direction));
  RETURN_IF_ERROR(created.Pin(path));
  return created;
}

absl::Status Attacher::AttachFilter(const Link& link, std::size_t hook) {
  NodeChanges changes = record_.changes();
  if (!changes.clsact.contains(link.ifindex) || changes.clsact[link.ifindex].name != link.name) {
    changes.clsact[link.ifindex] = {link.name, false};
    RETURN_IF_ERROR(record_.Write(changes));
  }
  ASSIGN_OR_RETURN(const bool added, EnsureClsact(link.ifindex));
  if (added) {
    changes.clsact[link.ifindex].added_qdisc = true;
    RETURN_IF_ERROR(record_.Write(changes));
  }
  return AttachClsact(link.ifindex, kHooks[hook].direction, programs_[hook].get());
}

void Attacher::Rename(Entry& entry, const std::string& name) {
  if (entry.name == name) return;
  for (std::size_t hook = 0; hook < kHooks.size(); ++hook) {
    if (!entry.links[hook].has_value()) continue;
    // A pin that cannot follow its interface is made anew under the new name by the next start,
    // which also removes the old one.
    std::rename(PinPath(entry.name, kHooks[hook]).c_str(), PinPath(name, kHooks[hook]).c_str());
  }
  entry.name = name;
}

void Attacher::DetachHook(int ifindex, std::size_t hook, Entry& entry) {
  if (!entry.attached[hook]) return;
  entry.attached[hook] = false;
  if (mode_ == AttachMode::kTcx) {
    entry.links[hook].reset();
    // A failure leaves the pin, which the next start removes.
    RemovePin(PinPath(entry.name, kHooks[hook])).IgnoreError();
  } else {
    DetachClsact(ifindex, kHooks[hook].direction).IgnoreError();  // stays recorded
  }
}

void Attacher::DropUnwanted(const std::map<int, Role>& wanted) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto found = wanted.find(it->first);
    const Role role = found == wanted.end() ? Role::kNone : found->second;
    for (std::size_t hook = 0; hook < kHooks.size(); ++hook) {
      if (kHooks[hook].role != role) DetachHook(it->first, hook, it->second);
    }
    if (role != Role::kNone) {
      ++it;
      continue;
    }
    if (mode_ == AttachMode::kClsact) RemoveFilters(it->first);
    it = entries_.erase(it);
  }
}

void Attacher::RemoveLeftovers() {
  leftovers_removed_ = true;
  RemoveStalePins();
  const auto recorded = record_.changes().clsact;
  for (const auto& [ifindex, record] : recorded) {
    if (mode_ == AttachMode::kClsact && entries_.contains(ifindex)) continue;
    RemoveFilters(ifindex);
  }
}

void Attacher::RemoveStalePins() {
  std::set<std::string> ours;
  for (const auto& [ifindex, entry] : entries_) {
    for (std::size_t hook = 0; hook < kHooks.size(); ++hook) {
      if (entry.links[hook].has_value()) ours.insert(PinPath(entry.name, kHooks[hook]));
    }
  }
  for (const std::string& pin : PinsIn(LinksFolder(folder_))) {
    if (!ours.contains(pin)) RemovePin(pin).IgnoreError();  // tried again by the next start
  }
}

void Attacher::RemoveFilters(int ifindex) {
  NodeChanges changes = record_.changes();
  const auto found = changes.clsact.find(ifindex);
  if (found == changes.clsact.end()) return;
  if (!RemoveRecorded(ifindex, found->second).ok()) return;
  changes.clsact.erase(found);
  record_.Write(changes).IgnoreError();  // an entry too many is harmless: see RemoveRecorded
}

absl::Status DetachEverything(const std::string& folder, NodeRecord& record) {
  absl::Status first;
  for (const std::string& pin : PinsIn(LinksFolder(folder))) first.Update(RemovePin(pin));
  NodeChanges left = record.changes();
  const auto recorded = left.clsact;
  for (const auto& [ifindex, clsact] : recorded) {
    const absl::Status removed = RemoveRecorded(ifindex, clsact);
    if (removed.ok()) left.clsact.erase(ifindex);
    first.Update(removed);
  }
  first.Update(record.Write(left));
  return first;
}

}  // namespace sluice
