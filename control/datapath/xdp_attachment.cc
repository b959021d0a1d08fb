// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/datapath/attachment.h"
#include "control/datapath/loader.h"
#include "control/datapath/xdp_features.h"
#include "maps/bpf_table.h"
#include "maps/names.h"
#include "maps/uplink.h"
#include "sl_xdp.skel.h"

namespace sluice {
namespace {

struct SkeletonDeleter {
  void operator()(sl_xdp* skeleton) const { sl_xdp__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<sl_xdp, SkeletonDeleter>;

constexpr char kProgram[] = "sl_xdp";

std::string OwnFolder(const std::string& folder) { return absl::StrCat(folder, "/xdp"); }
std::string LinkFolder(const std::string& folder) { return absl::StrCat(folder, "/xdp/links"); }
std::string ProgramPin(const std::string& folder) {
  return absl::StrCat(folder, "/progs/", kProgram);
}

absl::Status MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("create folder ", path));
}

bool IsOwn(std::string_view map) {
  return map == names::kUplinks || map == names::kXdpWays || map == names::kXdpPorts;
}

// The maps that all programs share, and those of its own that an earlier agent has pinned.
absl::Status UseMaps(bpf_object* object, const std::string& folder) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    const std::string name = bpf_map__name(map);
    absl::StatusOr<BpfMap> pinned =
        BpfMap::OpenPinned(absl::StrCat(IsOwn(name) ? OwnFolder(folder) : folder, "/", name));
    if (IsOwn(name) && absl::IsNotFound(pinned.status())) continue;
    RETURN_IF_ERROR(pinned);
    if (const int err = bpf_map__reuse_fd(map, pinned->fd()); err != 0) {
      return ErrnoStatus(err, absl::StrCat("map ", name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Keep(int fd, const std::string& what) {
  UniqueFd copy(::dup(fd));
  if (!copy.valid()) return ErrnoStatus(errno, what);
  return copy;
}

// 0: the interface that it was attached to no longer exists.
absl::StatusOr<int> IfindexOf(const UniqueFd& link) {
  bpf_link_info info{};
  std::uint32_t length = sizeof(info);
  if (const int err = bpf_obj_get_info_by_fd(link.get(), &info, &length); err != 0) {
    return ErrnoStatus(err, "read a BPF link");
  }
  return static_cast<int>(info.xdp.ifindex);
}

// Of whoever is there already; 0: nobody, or it cannot be told.
std::uint32_t ProgramAt(int ifindex) {
  std::uint32_t id = 0;
  return bpf_xdp_query_id(ifindex, 0, &id) == 0 ? id : 0;
}

absl::Status TakeOff(const std::string& path) {
  const UniqueFd link(bpf_obj_get(path.c_str()));
  if (!link.valid()) return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, path);
  const int err = bpf_link_detach(link.get());
  if (err != 0 && err != -ENOLINK) return ErrnoStatus(err, absl::StrCat("detach ", path));
  return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, path);
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    paths.push_back(file.path().string());
  }
  return paths;
}

bool Put(int map, const void* key, const void* value) {
  return bpf_map_update_elem(map, key, value, BPF_ANY) == 0;
}

// Rows of earlier agents and of interfaces that are gone too: an index may be another's by now.
template <typename Key>
absl::Status DeleteOthers(int map, const std::vector<Key>& wanted) {
  std::vector<Key> others;
  Key key{};
  for (const Key* last = nullptr; bpf_map_get_next_key(map, last, &key) == 0; last = &key) {
    if (std::find(wanted.begin(), wanted.end(), key) == wanted.end()) others.push_back(key);
  }
  for (const Key& one : others) {
    const int err = bpf_map_delete_elem(map, &one);
    if (err != 0 && err != -ENOENT) return ErrnoStatus(err, "remove a row");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<XdpAttacher>> XdpAttacher::Create(std::string folder, XdpMode mode) {
  auto attacher = absl::WrapUnique(new XdpAttacher(std::move(folder), mode));
  RETURN_IF_ERROR(attacher->Load());
  return attacher;
}

absl::Status XdpAttacher::Load() {
  RETURN_IF_ERROR(MakeFolder(OwnFolder(folder_)));
  RETURN_IF_ERROR(MakeFolder(LinkFolder(folder_)));
  const Skeleton skeleton(sl_xdp__open());
  if (skeleton == nullptr) return ErrnoStatus(errno, "open the BPF object");
  RETURN_IF_ERROR(UseMaps(skeleton->obj, folder_));
  skeleton->rodata->sl_opening_mask = bpf_map__max_entries(skeleton->maps.sl_opening) - 1;
  skeleton->rodata->sl_clients_mask = bpf_map__max_entries(skeleton->maps.sl_clients) - 1;
  // Packets in several buffers. Not by the stack: it would copy each skb and leave the copy without
  // mac_len (skb_pp_cow_data(), seen on 6.18), so that at TC's ingress a frame would begin with its
  // IP header. Without the flag it makes them linear in place.
  if (!generic()) {
    bpf_program__set_flags(skeleton->progs.sl_xdp, BPF_F_XDP_HAS_FRAGS);
  }
  if (const int err = sl_xdp__load(skeleton.get()); err != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the kernel refuses sl_xdp: ", ErrnoStatus(err, "load").message()));
  }
  ASSIGN_OR_RETURN(program_, Keep(bpf_program__fd(skeleton->progs.sl_xdp), kProgram));
  ASSIGN_OR_RETURN(uplinks_, Keep(bpf_map__fd(skeleton->maps.sl_uplinks), names::kUplinks));
  ASSIGN_OR_RETURN(ways_, Keep(bpf_map__fd(skeleton->maps.sl_xdp_ways), names::kXdpWays));
  ASSIGN_OR_RETURN(ports_, Keep(bpf_map__fd(skeleton->maps.sl_xdp_ports), names::kXdpPorts));
  for (const auto& [fd, name] : {std::pair{uplinks_.get(), names::kUplinks},
                                 {ways_.get(), names::kXdpWays},
                                 {ports_.get(), names::kXdpPorts}}) {
    RETURN_IF_ERROR(PinReplacing(fd, absl::StrCat(OwnFolder(folder_), "/", name)));
  }
  return PinReplacing(program_.get(), ProgramPin(folder_));
}

std::string XdpAttacher::PinPath(std::string_view interface, bool generic) const {
  return absl::StrCat(LinkFolder(folder_), "/",
                      LinkPinName(interface, generic ? "generic" : "native"));
}

// The link of an earlier agent with the new program, else a new one.
absl::StatusOr<UniqueFd> XdpAttacher::AttachLink(const Link& link) {
  const std::string path = PinPath(link.name, generic());
  UniqueFd before(bpf_obj_get(path.c_str()));
  if (before.valid()) {
    const absl::StatusOr<int> ifindex = IfindexOf(before);
    if (ifindex.ok() && *ifindex == link.ifindex) {
      const int err = bpf_link_update(before.get(), program_.get(), nullptr);
      if (err != 0) return ErrnoStatus(err, "replace the program (xdp)");
      return before;
    }
    RETURN_IF_ERROR(TakeOff(path));
  }
  // The same interface in the other mode: it can have one of them only.
  RETURN_IF_ERROR(TakeOff(PinPath(link.name, !generic())));
  LIBBPF_OPTS(bpf_link_create_opts, options,
              .flags = generic() ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
  UniqueFd made(bpf_link_create(program_.get(), link.ifindex, BPF_XDP, &options));
  if (!made.valid()) return ErrnoStatus(errno, "attach (xdp)");
  if (const int err = bpf_obj_pin(made.get(), path.c_str()); err != 0) {
    return ErrnoStatus(err, absl::StrCat("pin ", path));
  }
  return made;
}

absl::Status XdpAttacher::Attach(const Link& device) {
  absl::StatusOr<UniqueFd> attached = AttachLink(device);
  if (attached.ok()) {
    entries_[device.ifindex] = {device.name, *std::move(attached)};
    return absl::OkStatus();
  }
  const std::uint32_t other = ProgramAt(device.ifindex);
  if (other != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another XDP program has ", device.name, " (id ", other,
                     ", see `bpftool prog show id ", other, "`): take it off, or give --xdp off"));
  }
  if (mode_ == XdpMode::kAuto) return absl::OkStatus();
  return Annotate(attached.status(), absl::StrCat("--xdp ", std::string(XdpModeName(mode_))));
}

// Pins bear names: a device that is called another name now is attached anew under it.
void XdpAttacher::DetachUnwanted(const std::map<int, Link>& wanted) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto found = wanted.find(entry->first);
    if (found != wanted.end() && found->second.name == entry->second.name) {
      ++entry;
      continue;
    }
    TakeOff(PinPath(entry->second.name, generic())).IgnoreError();  // the device may be gone
    entry = entries_.erase(entry);
  }
}

// A way is there after its port, and goes before it: what is redirected to no port is lost.
absl::Status XdpAttacher::WriteRows(const XdpRows& rows) {
  if (rows_ == rows) return absl::OkStatus();
  rows_.reset();
  absl::Status first;  // an interface that goes meanwhile keeps no other's rows from being right
  std::vector<abi::uplink_key> uplinks;
  std::vector<std::uint32_t> ways, ports;
  for (const std::uint32_t device : rows.ports) {
    if (Put(ports_.get(), &device, &device)) {
      ports.push_back(device);
    } else {
      first.Update(ErrnoStatus(errno, names::kXdpPorts));
    }
  }
  for (const auto& [ifindex, way] : rows.ways) {
    if (!Put(ways_.get(), &ifindex, &way)) first.Update(ErrnoStatus(errno, names::kXdpWays));
    ways.push_back(ifindex);
  }
  for (const auto& [key, uplink] : rows.uplinks) {
    if (!Put(uplinks_.get(), &key, &uplink)) first.Update(ErrnoStatus(errno, names::kUplinks));
    uplinks.push_back(key);
  }
  first.Update(Annotate(DeleteOthers(uplinks_.get(), uplinks), names::kUplinks));
  first.Update(Annotate(DeleteOthers(ways_.get(), ways), names::kXdpWays));
  first.Update(Annotate(DeleteOthers(ports_.get(), ports), names::kXdpPorts));
  if (first.ok()) rows_ = rows;
  return first;
}

std::map<int, XdpInterface> XdpAttacher::Apply(const std::vector<Interface>& interfaces,
                                               const std::map<int, Link>& links) {
  const std::vector<XdpPlace> places = FindXdpPlaces(interfaces, links, mode_);
  std::map<int, Link> wanted;
  for (const XdpPlace& place : places) wanted.emplace(place.device.ifindex, place.device);
  const auto attached_now = [&] {
    std::set<int> attached;
    for (const auto& [ifindex, entry] : entries_) attached.insert(ifindex);
    return attached;
  };
  // Before a program goes, so that no frame is sent to a device that takes none without it. Whether
  // it could be written is seen below. (Not at a start: the earlier agent's program needs its rows
  // until it is replaced.)
  if (!entries_.empty()) {
    WriteRows(MakeXdpRows(places, attached_now(), mode_)).IgnoreError();
  }
  DetachUnwanted(wanted);
  std::map<int, absl::Status> statuses;
  for (const auto& [ifindex, device] : wanted) {
    if (!entries_.contains(ifindex)) statuses[ifindex] = Attach(device);
  }
  const std::set<int> attached = attached_now();
  const absl::Status written = WriteRows(MakeXdpRows(places, attached, mode_));
  std::map<int, XdpInterface> results;
  for (const XdpPlace& place : places) {
    XdpInterface& result = results[place.interface.ifindex];
    absl::Status status = statuses[place.device.ifindex];
    status.Update(written);
    if (!status.ok()) result.error = std::string(status.message());
    if (place.vlan != 0 && TakesTagsOff(place.device.name)) {
      result.error = absl::StrCat(place.device.name,
                                  " takes VLAN tags off before XDP sees them: ", "`ethtool -K ",
                                  place.device.name, " rxvlan off`, or --xdp off");
      continue;
    }
    if (!attached.contains(place.device.ifindex)) continue;
    result.hook = place.vlan != 0 ? absl::StrCat("xdp (by ", place.device.name, ")")
                  : generic()     ? "xdp (generic)"
                                  : "xdp";
  }
  if (!std::exchange(leftovers_removed_, true)) RemoveStalePins();
  return results;
}

void XdpAttacher::RemoveStalePins() {
  std::set<std::string> ours;
  for (const auto& [ifindex, entry] : entries_) ours.insert(PinPath(entry.name, generic()));
  for (const std::string& path : FilesIn(LinkFolder(folder_))) {
    if (!ours.contains(path)) TakeOff(path).IgnoreError();
  }
}

absl::Status DetachXdp(const std::string& folder) {
  absl::Status first;
  // No frame is to be sent to a device that takes none without the program.
  const auto ways = BpfMap::OpenPinned(absl::StrCat(OwnFolder(folder), "/", names::kXdpWays));
  if (ways.ok()) DeleteOthers<std::uint32_t>(ways->fd(), {}).IgnoreError();
  for (const std::string& path : FilesIn(LinkFolder(folder))) first.Update(TakeOff(path));
  // What cannot be taken off keeps its pin: nobody could find it again.
  if (!first.ok()) return first;
  ::unlink(ProgramPin(folder).c_str());  // may not be there
  std::error_code error;
  std::filesystem::remove_all(OwnFolder(folder), error);
  return error ? ErrnoStatus(error.value(), absl::StrCat("remove ", OwnFolder(folder)))
               : absl::OkStatus();
}

}  // namespace sluice
