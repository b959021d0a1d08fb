// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_owner.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::vector<int> ProcessIds(const std::string& proc) {
  std::vector<int> ids;
  std::error_code error;
  for (fs::directory_iterator it(proc, error), end; !error && it != end; it.increment(error)) {
    int id = 0;
    if (absl::SimpleAtoi(it->path().filename().string(), &id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

// The inode that "socket:[123]" names; 0: it is no socket.
std::uint32_t InodeOf(const std::string& target) {
  absl::string_view text = target;
  std::uint32_t inode = 0;
  const bool socket = absl::ConsumePrefix(&text, "socket:[") && absl::ConsumeSuffix(&text, "]");
  return socket && absl::SimpleAtoi(text, &inode) ? inode : 0;
}

std::string NameOf(const std::string& proc, int id) {
  std::ifstream file(absl::StrCat(proc, "/", id, "/comm"));
  std::string name;
  std::getline(file, name);
  return absl::StrCat(name.empty() ? "?" : name, " (process ", id, ")");
}

}  // namespace

std::map<std::uint32_t, std::string> FindSocketOwners(const std::set<std::uint32_t>& inodes,
                                                      const std::string& proc) {
  std::map<std::uint32_t, std::string> owners;
  if (inodes.empty()) return owners;
  for (const int id : ProcessIds(proc)) {
    std::error_code error;  // processes end while they are looked at
    const std::string folder = absl::StrCat(proc, "/", id, "/fd");
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      std::error_code unread;
      const std::uint32_t inode = InodeOf(fs::read_symlink(it->path(), unread).string());
      if (inode != 0 && inodes.contains(inode)) owners.try_emplace(inode, NameOf(proc, id));
    }
    if (owners.size() == inodes.size()) break;
  }
  return owners;
}

}  // namespace sluice
