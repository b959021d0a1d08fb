// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/xdp_attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
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

bool IsOwn(std::string_view map) { return map == names::kUplinks || map == names::kXdpPorts; }

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

// A frame that the program could send, and by whose address it knows its own.
bool IsUplink(const Interface& interface) {
  return interface.role == Role::kUplink && interface.unsupported.empty() &&
         interface.link.type == ARPHRD_ETHER;
}

}  // namespace

std::string_view XdpModeName(XdpMode mode) {
  switch (mode) {
    case XdpMode::kOff:
      return "off";
    case XdpMode::kNative:
      return "native";
    case XdpMode::kGeneric:
      return "generic";
    case XdpMode::kAuto:
      return "auto";
  }
  return "";
}

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
  // Packets in several buffers. Not by the stack: it would copy each skb and leave the copy without
  // mac_len (skb_pp_cow_data(), seen on 6.18), so that at TC's ingress a frame would begin with its
  // IP header. Without the flag it makes them linear in place.
  if (mode_ != XdpMode::kGeneric) {
    bpf_program__set_flags(skeleton->progs.sl_xdp, BPF_F_XDP_HAS_FRAGS);
  }
  if (const int err = sl_xdp__load(skeleton.get()); err != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the kernel refuses sl_xdp: ", ErrnoStatus(err, "load").message()));
  }
  ASSIGN_OR_RETURN(program_, Keep(bpf_program__fd(skeleton->progs.sl_xdp), kProgram));
  ASSIGN_OR_RETURN(uplinks_, Keep(bpf_map__fd(skeleton->maps.sl_uplinks), names::kUplinks));
  ASSIGN_OR_RETURN(ports_, Keep(bpf_map__fd(skeleton->maps.sl_xdp_ports), names::kXdpPorts));
  for (const auto& [fd, name] :
       {std::pair{uplinks_.get(), names::kUplinks}, {ports_.get(), names::kXdpPorts}}) {
    RETURN_IF_ERROR(PinReplacing(fd, absl::StrCat(OwnFolder(folder_), "/", name)));
  }
  return PinReplacing(program_.get(), ProgramPin(folder_));
}

std::string XdpAttacher::PinPath(std::string_view interface, bool generic) const {
  return absl::StrCat(LinkFolder(folder_), "/",
                      LinkPinName(interface, generic ? "generic" : "native"));
}

// The link of an earlier agent with the new program, else a new one.
absl::StatusOr<UniqueFd> XdpAttacher::AttachLink(const Link& link, bool generic) {
  const std::string path = PinPath(link.name, generic);
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
  RETURN_IF_ERROR(TakeOff(PinPath(link.name, !generic)));
  LIBBPF_OPTS(bpf_link_create_opts, options,
              .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
  UniqueFd made(bpf_link_create(program_.get(), link.ifindex, BPF_XDP, &options));
  if (!made.valid()) return ErrnoStatus(errno, "attach (xdp)");
  if (const int err = bpf_obj_pin(made.get(), path.c_str()); err != 0) {
    return ErrnoStatus(err, absl::StrCat("pin ", path));
  }
  return made;
}

// What the program is told of the interface.
absl::Status XdpAttacher::Describe(const Link& link) {
  const auto ifindex = static_cast<std::uint32_t>(link.ifindex);
  abi::uplink row = {};
  std::copy(link.mac.begin(), link.mac.end(), row.mac);
  // Not in sl_xdp_ports: a driver that runs programs need not take frames from others, and a devmap
  // would drop them without a word. What leaves by another uplink is TC's.
  const int err = bpf_map_update_elem(uplinks_.get(), &ifindex, &row, BPF_ANY);
  return err == 0 ? absl::OkStatus() : ErrnoStatus(err, names::kUplinks);
}

absl::Status XdpAttacher::Attach(const Link& link, XdpInterface& result) {
  const bool generic = mode_ == XdpMode::kGeneric;
  absl::StatusOr<UniqueFd> attached = AttachLink(link, generic);
  if (!attached.ok()) {
    const std::uint32_t other = ProgramAt(link.ifindex);
    if (other != 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "another XDP program has ", link.name, " (id ", other, ", see `bpftool prog show id ",
          other, "`): take it off, or give --xdp off"));
    }
    if (mode_ == XdpMode::kAuto) return absl::OkStatus();
    return Annotate(attached.status(), absl::StrCat("--xdp ", std::string(XdpModeName(mode_))));
  }
  RETURN_IF_ERROR(Describe(link));
  entries_[link.ifindex] = {link.name, generic, link.mac, *std::move(attached)};
  result.hook = generic ? "xdp (generic)" : "xdp";
  return absl::OkStatus();
}

std::map<int, XdpInterface> XdpAttacher::Apply(const std::vector<Interface>& interfaces) {
  std::map<int, XdpInterface> results;
  std::set<int> wanted;
  for (const Interface& interface : interfaces) {
    if (IsUplink(interface)) wanted.insert(interface.link.ifindex);
  }
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (wanted.contains(entry->first)) {
      ++entry;
      continue;
    }
    Detach(entry->first, entry->second);
    entry = entries_.erase(entry);
  }
  for (const Interface& interface : interfaces) {
    if (!IsUplink(interface)) continue;
    const Link& link = interface.link;
    XdpInterface& result = results[link.ifindex];
    auto entry = entries_.find(link.ifindex);
    if (entry != entries_.end() && entry->second.name != link.name) {
      // Pins bear names: it is attached anew under the new one.
      Detach(entry->first, entry->second);
      entries_.erase(entry);
      entry = entries_.end();
    }
    absl::Status status;
    if (entry == entries_.end()) {
      status = Attach(link, result);
    } else {
      result.hook = entry->second.generic ? "xdp (generic)" : "xdp";
      if (entry->second.mac != link.mac) {
        status = Describe(link);
        if (status.ok()) entry->second.mac = link.mac;
      }
    }
    if (!status.ok()) result.error = std::string(status.message());
  }
  if (!std::exchange(leftovers_removed_, true)) RemoveStalePins();
  return results;
}

void XdpAttacher::Detach(int ifindex, const Entry& entry) {
  const auto key = static_cast<std::uint32_t>(ifindex);
  TakeOff(PinPath(entry.name, entry.generic)).IgnoreError();  // the interface may be gone
  bpf_map_delete_elem(ports_.get(), &key);
  bpf_map_delete_elem(uplinks_.get(), &key);
}

void XdpAttacher::RemoveStalePins() {
  std::set<std::string> ours;
  for (const auto& [ifindex, entry] : entries_) ours.insert(PinPath(entry.name, entry.generic));
  for (const std::string& path : FilesIn(LinkFolder(folder_))) {
    if (!ours.contains(path)) TakeOff(path).IgnoreError();
  }
}

absl::Status DetachXdp(const std::string& folder) {
  absl::Status first;
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
