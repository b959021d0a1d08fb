// SPDX-License-Identifier: Apache-2.0
#include "control/source/folder_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::uint32_t kFolderMask = IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE |
                                      IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |
                                      IN_MOVE_SELF | IN_ONLYDIR;
// IN_MASK_ADD: the folder above may itself be watched already, when it is the folder ("/").
constexpr std::uint32_t kParentMask =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR | IN_MASK_ADD;
// What kubelet turns around to publish a volume's new content (ConfigMap, Secret).
constexpr char kVolumeLink[] = "..data";

// A new name for a file that is complete already: a link. A new file is being written.
bool IsComplete(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return true;  // gone again: worth a look
  return !S_ISREG(status.st_mode) || status.st_nlink > 1;
}

std::pair<std::string, std::string> SplitPath(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash == 0 ? 1 : slash), path.substr(slash + 1)};
}

}  // namespace

absl::StatusOr<FolderWatch> FolderWatch::Create() {
  UniqueFd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) return ErrnoStatus(errno, "inotify_init1");
  return FolderWatch(std::move(inotify));
}

absl::Status FolderWatch::Arm(const std::string& folder) {
  for (int* watch : {&folder_watch_, &parent_watch_}) {
    // Fails when the kernel has already dropped it with its folder: nothing is lost.
    if (*watch >= 0) ::inotify_rm_watch(inotify_.get(), *watch);
    *watch = -1;
  }
  folder_ = folder;
  const auto [parent, name] = SplitPath(folder);
  folder_name_ = name;
  // First the name: a folder made between the two calls is then not missed.
  parent_watch_ = ::inotify_add_watch(inotify_.get(), parent.c_str(), kParentMask);
  folder_watch_ = ::inotify_add_watch(inotify_.get(), folder.c_str(), kFolderMask);
  if (folder_watch_ >= 0) return absl::OkStatus();
  const int error = errno;
  return ErrnoStatus(error, "watch " + folder);
}

void FolderWatch::Take(int watch, std::uint32_t mask, const std::string& name,
                       FolderEvents& events) {
  if ((mask & IN_Q_OVERFLOW) != 0) {
    events.rescan = true;
    return;
  }
  if (watch == parent_watch_ && name == folder_name_) events.folder_changed = true;
  if (watch != folder_watch_) return;
  if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) {
    events.folder_changed = true;
    return;
  }
  if (name.empty()) return;  // rights or times of the folder itself
  if (name == kVolumeLink) events.rescan = true;
  const bool begins = (mask & IN_CREATE) != 0 && !IsComplete(folder_ + "/" + name);
  if (begins || (mask & IN_MODIFY) != 0) {
    events.touched.erase(name);
    events.writing.insert(name);
  } else if ((mask & IN_ATTRIB) == 0 || !events.writing.contains(name)) {
    events.writing.erase(name);
    events.touched.insert(name);
  }
}

FolderEvents FolderWatch::Drain() {
  FolderEvents events;
  alignas(inotify_event) std::array<char, std::size_t{64} << 10> buffer;
  for (;;) {
    const ssize_t got = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return events;  // EAGAIN: that was all
    for (const char* at = buffer.data(); at < buffer.data() + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      Take(event->wd, event->mask, event->len > 0 ? event->name : "", events);
      at += sizeof(inotify_event) + event->len;
    }
  }
}

}  // namespace sluice
