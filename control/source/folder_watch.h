// SPDX-License-Identifier: Apache-2.0
// Which entries of a folder change, by inotify(7), and in which state a change left them: being
// written, complete, or gone.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"

namespace sluice {

// Entries by name, without the folder.
struct FolderEvents {
  std::set<std::string> touched;  // complete, gone, or with other rights: worth a look now
  std::set<std::string> writing;  // being written and not closed yet
  bool rescan = false;            // anything may have changed
  bool folder_changed = false;    // the folder itself went, came or was replaced: Arm again

  bool empty() const { return touched.empty() && writing.empty() && !rescan && !folder_changed; }
};

// Watches one folder and, in the folder above, the folder's own name: so that one that is removed
// and made anew, or a link that is turned to another folder, is noticed. Thread: loop only.
class FolderWatch {
 public:
  // Errors: as inotify_init1(2).
  static absl::StatusOr<FolderWatch> Create();

  // Watches `folder` from now on, in place of what was watched before. Errors: NOT_FOUND when it
  // is not there, PERMISSION_DENIED when it cannot be read, RESOURCE_EXHAUSTED when the user's
  // limit of watches is reached (fs.inotify.max_user_watches); then only the name is watched.
  absl::Status Arm(const std::string& folder);

  // Readable when there are events.
  int fd() const { return inotify_.get(); }
  // All events so far. Never blocks.
  FolderEvents Drain();

 private:
  explicit FolderWatch(UniqueFd inotify) : inotify_(std::move(inotify)) {}
  void Take(int watch, std::uint32_t mask, const std::string& name, FolderEvents& events);

  UniqueFd inotify_;
  int folder_watch_ = -1;
  int parent_watch_ = -1;
  std::string folder_;
  std::string folder_name_;  // in the folder above
};

}  // namespace sluice
