// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "control/datapath/feature_probe.h"
#include "control/datapath/loader.h"
#include "maps/bpf_table.h"
#include "maps/names.h"
#include "sl_sock.skel.h"

namespace sluice {
namespace {

#ifndef SO_NETNS_COOKIE
constexpr int kSoNetnsCookie = 71;  // linux/socket.h, Linux 5.14
#else
constexpr int kSoNetnsCookie = SO_NETNS_COOKIE;
#endif

// What tells the service's address back, and what gives a backend's.
constexpr std::array<const char*, 4> kWayBack = {"sl_recvmsg4", "sl_recvmsg6", "sl_getpeer4",
                                                 "sl_getpeer6"};
constexpr std::array<const char*, 4> kWayThere = {"sl_connect4", "sl_connect6", "sl_sendmsg4",
                                                  "sl_sendmsg6"};
constexpr char kAccounting[] = "sl_sockops";
constexpr char kKernelTypes[] = "/sys/kernel/btf/vmlinux";

// A walk over the sockets that have a row in a map; without one, over all that processes have open.
struct Walk {
  const char* program;
  const char* map;
};
constexpr Walk kStorageWalks[] = {{names::kWalkTcp, "sl_conns"}, {names::kWalkUdp, "sl_sockets"}};
constexpr Walk kFileWalks[] = {{names::kWalkFiles, nullptr}};

// Those that this kernel lets be made: it may have hardened itself against walks over what programs
// could write to, which the rows are and open files are not (EPERM).
std::span<const Walk> WalksHere() {
  if (TakesIterator("bpf_sk_storage_map")) return kStorageWalks;
  if (TakesIterator("task_file")) return kFileWalks;
  return {};
}

struct SkeletonDeleter {
  void operator()(sl_sock* skeleton) const { sl_sock__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<sl_sock, SkeletonDeleter>;

// That `path` is a folder of a cgroup v2 hierarchy.
absl::Status CheckCgroup(const std::string& path) {
  struct statfs found {};
  if (::statfs(path.c_str(), &found) != 0) return ErrnoStatus(errno, path);
  if (static_cast<std::uint64_t>(found.f_type) != CGROUP2_SUPER_MAGIC) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a cgroup v2 folder"));
  }
  return absl::OkStatus();
}

std::string LinkFolder(const std::string& folder) { return absl::StrCat(folder, "/cgroup"); }

std::string WalkPin(const std::string& folder, const Walk& walk) {
  return absl::StrCat(folder, "/progs/", walk.program);
}

// Whether this is the first PID namespace: that has a number of its own (linux/proc_ns.h).
bool SeesAllProcesses() {
  constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;
  struct stat found {};
  return ::stat("/proc/self/ns/pid", &found) == 0 && found.st_ino == kInitialPidNamespace;
}

template <typename Visit>
void ForEachWalk(Visit visit) {
  for (const Walk& walk : kStorageWalks) visit(walk);
  for (const Walk& walk : kFileWalks) visit(walk);
}

// Who opens such a pin and reads it makes the program run for each socket.
absl::Status PinWalk(const bpf_object* object, const Walk& walk, const std::string& folder) {
  const bpf_program* program = bpf_object__find_program_by_name(object, walk.program);
  if (program == nullptr) return absl::InternalError(walk.program);
  bpf_iter_link_info target{};
  LIBBPF_OPTS(bpf_link_create_opts, options);
  if (walk.map != nullptr) {
    const bpf_map* map = bpf_object__find_map_by_name(object, walk.map);
    if (map == nullptr) return absl::InternalError(walk.map);
    target.map.map_fd = static_cast<__u32>(bpf_map__fd(map));
    options.iter_info = &target;
    options.iter_info_len = sizeof(target);
  }
  const UniqueFd link(bpf_link_create(bpf_program__fd(program), 0, BPF_TRACE_ITER, &options));
  if (!link.valid()) return ErrnoStatus(errno, absl::StrCat("make ", walk.program));
  return PinReplacing(link.get(), WalkPin(folder, walk));
}

// Reads a pinned walk to its end.
absl::Status ReadWalk(const std::string& path, std::vector<abi::lost_socket>& lost) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, path);
  std::string bytes;
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got == 0) break;
    if (got < 0 && errno != EINTR && errno != EAGAIN) return ErrnoStatus(errno, path);
    if (got > 0) bytes.append(buffer.data(), static_cast<std::size_t>(got));
  }
  for (std::size_t at = 0; at + sizeof(abi::lost_socket) <= bytes.size();
       at += sizeof(abi::lost_socket)) {
    std::memcpy(&lost.emplace_back(), bytes.data() + at, sizeof(abi::lost_socket));
  }
  return absl::OkStatus();
}

// The programs use the maps of the TC programs and have none of their own.
absl::Status UseMaps(bpf_object* object, const std::string& folder) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    ASSIGN_OR_RETURN(const BpfMap pinned,
                     BpfMap::OpenPinned(absl::StrCat(folder, "/", bpf_map__name(map))));
    if (const int err = bpf_map__reuse_fd(map, pinned.fd()); err != 0) {
      return ErrnoStatus(err, absl::StrCat("map ", bpf_map__name(map)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bpf_link_info> InfoOf(int link_fd) {
  bpf_link_info info{};
  std::uint32_t length = sizeof(info);
  if (const int err = bpf_obj_get_info_by_fd(link_fd, &info, &length); err != 0) {
    return ErrnoStatus(err, "read a BPF link");
  }
  return info;
}

// A new program for the link that is pinned at `path`. False: there is none, or of another cgroup.
absl::StatusOr<bool> Replace(const std::string& path, int program_fd, std::uint64_t cgroup_id) {
  const UniqueFd link(bpf_obj_get(path.c_str()));
  if (!link.valid()) {
    if (errno == ENOENT) return false;
    return ErrnoStatus(errno, path);
  }
  ASSIGN_OR_RETURN(const bpf_link_info info, InfoOf(link.get()));
  if (info.cgroup.cgroup_id == cgroup_id) {
    const int err = bpf_link_update(link.get(), program_fd, nullptr);
    if (err == 0) return true;
    // ENOLINK: the cgroup has gone, and another has got its number.
    if (err != -ENOLINK) return ErrnoStatus(err, absl::StrCat("replace the program of ", path));
  }
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, absl::StrCat("remove ", path));
  return false;
}

// `made`: the pins of links that were not there before.
absl::Status Attach(const bpf_program* program, const std::string& path, int cgroup_fd,
                    std::uint64_t cgroup_id, std::vector<std::string>& made) {
  const int program_fd = bpf_program__fd(program);
  ASSIGN_OR_RETURN(const bool replaced, Replace(path, program_fd, cgroup_id));
  if (replaced) return absl::OkStatus();
  const UniqueFd link(
      bpf_link_create(program_fd, cgroup_fd, bpf_program__expected_attach_type(program), nullptr));
  if (!link.valid()) {
    return ErrnoStatus(errno, absl::StrCat("attach ", bpf_program__name(program)));
  }
  if (const int err = bpf_obj_pin(link.get(), path.c_str()); err != 0) {
    return ErrnoStatus(err, absl::StrCat("pin ", path));
  }
  made.push_back(path);
  return absl::OkStatus();
}

// The link that is pinned at `path`, if one is.
absl::Status TakeOff(const std::string& path) {
  const UniqueFd link(bpf_obj_get(path.c_str()));
  // A cgroup that is gone has no link to take off.
  if (link.valid()) bpf_link_detach(link.get());
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("remove ", path));
}

}  // namespace

absl::StatusOr<std::string> FindCgroupRoot() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    // The root of a hierarchy has no type; that of a container's cgroup namespace has one, and
    // holds that container's processes only.
    if (CheckCgroup(path).ok() && ::access(absl::StrCat(path, "/cgroup.type").c_str(), F_OK) != 0) {
      return path;
    }
  }
  return absl::NotFoundError(
      "no cgroup v2 hierarchy is mounted whole on /sys/fs/cgroup or below it; mount one (`mount -t "
      "cgroup2 cgroup2 FOLDER`), in a container the node's, and give it with --cgroup");
}

absl::StatusOr<std::uint64_t> OwnNetnsCookie() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return ErrnoStatus(errno, "socket");
  std::uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (::getsockopt(socket.get(), SOL_SOCKET, kSoNetnsCookie, &cookie, &length) != 0) {
    if (errno == ENOPROTOOPT) {
      return absl::UnimplementedError(
          "the kernel tells no network namespace's cookie (Linux 5.14)");
    }
    return ErrnoStatus(errno, "ask for the network namespace's cookie");
  }
  return cookie;
}

absl::StatusOr<SocketPrograms> AttachSocketPrograms(const std::string& folder,
                                                    const std::string& cgroup,
                                                    const SocketScope& scope) {
  RETURN_IF_ERROR(CheckCgroup(cgroup));
  const UniqueFd cgroup_fd(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_fd.valid()) return ErrnoStatus(errno, cgroup);
  // A cgroup's id is the number of its folder's inode.
  struct stat found {};
  if (::fstat(cgroup_fd.get(), &found) != 0) return ErrnoStatus(errno, cgroup);

  SocketPrograms result;
  const Skeleton skeleton(sl_sock__open());
  if (skeleton == nullptr) return ErrnoStatus(errno, "open the BPF object");
  if (::access(kKernelTypes, R_OK) != 0) {
    result.accounting = absl::FailedPreconditionError(absl::StrCat(
        "the kernel does not tell its types (", kKernelTypes,
        ", CONFIG_DEBUG_INFO_BTF): what connections carry is not counted, and those whose endpoint "
        "is removed are not ended"));
    bpf_program__set_autoload(skeleton->progs.sl_sockops, false);
  }
  const std::span<const Walk> walks =
      result.accounting.ok() ? WalksHere() : std::span<const Walk>();
  if (result.accounting.ok() && walks.empty()) {
    result.accounting = absl::FailedPreconditionError(
        "the kernel refuses walks over sockets (BPF iterators): what connections carry is counted "
        "when they end, and those whose endpoint is removed are not ended");
  } else if (result.accounting.ok() && walks.data() == kFileWalks && !SeesAllProcesses()) {
    result.accounting = absl::FailedPreconditionError(
        "the kernel refuses walks over socket storage, and from this PID namespace the files of "
        "other processes are not seen: what their connections carry is counted when they end, and "
        "those whose endpoint is removed are not ended. Run sluiced in the node's (hostPID: true)");
  }
  ForEachWalk([&](const Walk& walk) {
    const bool load = std::any_of(walks.begin(), walks.end(),
                                  [&](const Walk& one) { return one.program == walk.program; });
    bpf_program__set_autoload(bpf_object__find_program_by_name(skeleton->obj, walk.program), load);
    if (!load) ::unlink(WalkPin(folder, walk).c_str());
  });
  RETURN_IF_ERROR(UseMaps(skeleton->obj, folder));
  skeleton->rodata->sl_node_netns = scope.node_netns;
  skeleton->rodata->sl_pod_sockets = scope.pods;
  skeleton->rodata->sl_has_retval =
      libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1;
  if (const int err = sl_sock__load(skeleton.get()); err != 0) {
    return absl::FailedPreconditionError(absl::StrCat("the kernel refuses the socket programs: ",
                                                      ErrnoStatus(err, "load").message()));
  }
  const std::string links = LinkFolder(folder);
  if (::mkdir(links.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, links);
  // Only asked, never attached: by `sluicectl trace`.
  RETURN_IF_ERROR(PinReplacing(bpf_program__fd(skeleton->progs.sl_trace_host),
                               absl::StrCat(folder, "/progs/", names::kTraceHostProgram)));
  std::vector<std::string> made;
  const auto attach = [&](const char* name) -> absl::Status {
    const bpf_program* program = bpf_object__find_program_by_name(skeleton->obj, name);
    if (program == nullptr) return absl::InternalError(absl::StrCat("no program ", name));
    return Attach(program, absl::StrCat(links, "/", name), cgroup_fd.get(), found.st_ino, made);
  };
  // Before the first connection that is to be counted.
  for (const Walk& walk : walks) result.accounting.Update(PinWalk(skeleton->obj, walk, folder));
  if (bpf_program__fd(skeleton->progs.sl_sockops) >= 0) {
    result.accounting.Update(attach(kAccounting));
  }
  // The way back before the way there: a call that is translated must be answered right. What was
  // not there before goes again if the rest cannot be had.
  for (const auto& names : {kWayBack, kWayThere}) {
    for (const char* name : names) {
      const absl::Status attached = attach(name);
      if (attached.ok()) continue;
      for (auto path = made.rbegin(); path != made.rend(); ++path) ::unlink(path->c_str());
      return attached;
    }
  }
  return result;
}

absl::Status StopSocketPrograms(const std::string& folder) {
  absl::Status first;
  for (const char* name : kWayThere) {
    first.Update(TakeOff(absl::StrCat(LinkFolder(folder), "/", name)));
  }
  // It would say what is no longer done.
  ::unlink(absl::StrCat(folder, "/progs/", names::kTraceHostProgram).c_str());  // may not be there
  return first;
}

absl::Status DetachSocketPrograms(const std::string& folder) {
  absl::Status first = StopSocketPrograms(folder);
  ForEachWalk([&](const Walk& walk) { ::unlink(WalkPin(folder, walk).c_str()); });
  first.Update(TakeOff(absl::StrCat(LinkFolder(folder), "/", kAccounting)));
  for (const char* name : kWayBack) {
    first.Update(TakeOff(absl::StrCat(LinkFolder(folder), "/", name)));
  }
  std::error_code error;  // the folder may not be there
  std::filesystem::remove(LinkFolder(folder), error);
  return first;
}

absl::StatusOr<std::vector<abi::lost_socket>> WalkSockets(const std::string& folder) {
  std::vector<abi::lost_socket> lost;
  absl::Status status;
  ForEachWalk([&](const Walk& walk) {
    if (status.ok()) status = ReadWalk(WalkPin(folder, walk), lost);
  });
  RETURN_IF_ERROR(status);
  // A socket that several processes have open is told as often.
  std::set<std::uint64_t> seen;
  std::erase_if(lost, [&](const abi::lost_socket& one) { return !seen.insert(one.cookie).second; });
  return lost;
}

}  // namespace sluice
