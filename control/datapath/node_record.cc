// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

constexpr char kFileName[] = "node.json";

Json ToJson(const NodeChanges& changes) {
  Json clsact = Json::array();
  for (const auto& [ifindex, record] : changes.clsact) {
    clsact.push_back(
        {{"ifindex", ifindex}, {"name", record.name}, {"addedQdisc", record.added_qdisc}});
  }
  return {{"clsact", std::move(clsact)}, {"reservedPorts", changes.reserved_ports}};
}

absl::StatusOr<NodeChanges> FromText(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    NodeChanges changes;
    for (const Json& entry : json.at("clsact")) {
      changes.clsact[entry.at("ifindex").get<int>()] = {entry.at("name").get<std::string>(),
                                                        entry.at("addedQdisc").get<bool>()};
    }
    changes.reserved_ports = json.at("reservedPorts").get<std::string>();
    return changes;
  } catch (const Json::exception& e) {
    return absl::DataLossError(e.what());
  }
}

absl::Status WriteAll(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "write");
    done += static_cast<std::size_t>(count);
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "fsync");
}

// Puts a file with `text` in the place of `path` in one step.
absl::Status Replace(const std::string& path, const std::string& text) {
  const std::string fresh = absl::StrCat(path, ".new");
  const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, fresh);
  RETURN_IF_ERROR(Annotate(WriteAll(fd.get(), text), fresh));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteBpffsRecord(const std::string& state_dir, const std::string& bpffs) {
  return Replace(absl::StrCat(state_dir, "/bpffs"), absl::StrCat(bpffs, "\n"));
}

absl::StatusOr<NodeRecord> NodeRecord::Open(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("create folder ", state_dir));
  NodeRecord record(absl::StrCat(state_dir, "/", kFileName));
  std::ifstream file(record.path_);
  if (!file.is_open()) {
    if (errno == ENOENT) return record;
    return ErrnoStatus(errno, record.path_);
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  absl::StatusOr<NodeChanges> changes = FromText(text);
  if (!changes.ok()) {
    return Annotate(changes.status(), absl::StrCat(record.path_, " is not a record of sluiced"));
  }
  record.changes_ = *std::move(changes);
  return record;
}

absl::Status NodeRecord::Write(const NodeChanges& changes) {
  if (changes == changes_) return absl::OkStatus();
  RETURN_IF_ERROR(Replace(path_, ToJson(changes).dump(2)));
  changes_ = changes;
  return absl::OkStatus();
}

}  // namespace sluice
