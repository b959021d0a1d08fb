// SPDX-License-Identifier: Apache-2.0
#include "control/source/allocation_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "control/source/file_reader.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMaxStoreBytes = std::size_t{256} << 20;

absl::Status Corrupt(std::string_view what) {
  return absl::DataLossError(absl::string_view(what.data(), what.size()));
}

absl::StatusOr<std::uint16_t> PortOf(const json& value) {
  if (!value.is_number_integer() || value < 1 || value > 65535) {
    return Corrupt("a port is not in 1..65535");
  }
  return value.get<std::uint16_t>();
}

absl::StatusOr<Allocation> AllocationOf(const json& value) {
  if (!value.is_object()) return Corrupt("an allocation is not an object");
  Allocation allocation;
  for (const auto& [field, slot] :
       {std::pair{"ipv4", &allocation.v4}, std::pair{"ipv6", &allocation.v6}}) {
    if (!value.contains(field)) continue;
    if (!value[field].is_string()) return Corrupt("an address is not a string");
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(value[field].get<std::string>());
    if (!address.ok()) return Corrupt("an address does not parse");
    if (address->is_v4() != (slot == &allocation.v4))
      return Corrupt("an address's family is wrong");
    *slot = *address;
  }
  if (value.contains("nodePorts")) {
    if (!value["nodePorts"].is_object()) return Corrupt("nodePorts is not an object");
    for (const auto& [name, port] : value["nodePorts"].items()) {
      ASSIGN_OR_RETURN(allocation.node_ports[name], PortOf(port));
    }
  }
  if (value.contains("healthCheckNodePort")) {
    ASSIGN_OR_RETURN(allocation.health_check_node_port, PortOf(value["healthCheckNodePort"]));
  }
  return allocation;
}

absl::StatusOr<Allocations> ParseAllocations(const std::string& text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object() || !root.contains("format") || !root.contains("services") ||
      !root["services"].is_object()) {
    return Corrupt("is not a table of allocations");
  }
  if (root["format"] != kFormat) return Corrupt("has a format of another version");
  Allocations allocations;
  for (const auto& [name, value] : root["services"].items()) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos) return Corrupt("a Service's name has no namespace");
    ASSIGN_OR_RETURN((allocations[{name.substr(0, slash), name.substr(slash + 1)}]),
                     AllocationOf(value));
  }
  return allocations;
}

json ToJson(const Allocation& allocation) {
  json value = json::object();
  if (allocation.v4) value["ipv4"] = allocation.v4->ToString();
  if (allocation.v6) value["ipv6"] = allocation.v6->ToString();
  if (!allocation.node_ports.empty()) value["nodePorts"] = allocation.node_ports;
  if (allocation.health_check_node_port != 0) {
    value["healthCheckNodePort"] = allocation.health_check_node_port;
  }
  return value;
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write " + path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

// Makes a rename in the folder of `path` survive a power failure.
absl::Status SyncFolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + folder);
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync " + folder);
  return absl::OkStatus();
}

}  // namespace

LoadedAllocations LoadAllocations(const std::string& path) {
  const absl::StatusOr<FileText> file = ReadFile(path, kMaxStoreBytes);
  if (absl::IsNotFound(file.status())) return {};
  if (!file.ok()) return {{}, file.status()};
  absl::StatusOr<Allocations> allocations = ParseAllocations(file->text);
  if (allocations.ok()) return {*std::move(allocations), absl::OkStatus()};
  const std::string aside = path + ".corrupt";
  const bool moved = std::rename(path.c_str(), aside.c_str()) == 0;
  return {{},
          absl::DataLossError(absl::StrCat(
              path, ": ", allocations.status().message(),
              "; cluster addresses and node ports that manifests do not give are chosen anew",
              moved ? absl::StrCat("; the file is kept as ", aside) : std::string()))};
}

absl::Status SaveAllocations(const std::string& path, const Allocations& allocations) {
  json services = json::object();
  for (const auto& [name, allocation] : allocations) {
    services[name.name_space + "/" + name.name] = ToJson(allocation);
  }
  const std::string text =
      json{{"format", kFormat}, {"services", std::move(services)}}.dump(1) + "\n";
  const std::string temporary = path + ".tmp";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + temporary);
  RETURN_IF_ERROR(WriteAll(fd.get(), text, temporary));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "fsync " + temporary);
  fd.Reset();
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "rename " + temporary + " to " + path);
  }
  return SyncFolderOf(path);
}

}  // namespace sluice
