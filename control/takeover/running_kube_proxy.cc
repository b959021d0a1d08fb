// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/running_kube_proxy.h"

#include <httplib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::array<std::string_view, 4> kModes = {"iptables", "ipvs", "nftables", "userspace"};

// Empty if it cannot be read: the process has ended meanwhile (ESRCH). Inserting a buffer catches
// what reading one throws.
std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(text).str();
}

bool IsPid(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

bool RunsKubeProxy(const std::string& folder) {
  const std::vector<std::string> words =
      absl::StrSplit(ReadFile(absl::StrCat(folder, "/cmdline")), '\0');
  const std::string program = std::filesystem::path(words.front()).filename().string();
  if (program == "kube-proxy") return true;
  if (program == "hyperkube" && words.size() > 1) {
    return words[1] == "kube-proxy" || words[1] == "proxy";
  }
  // The words may have been overwritten; the name in comm is the kernel's.
  return absl::StripAsciiWhitespace(ReadFile(absl::StrCat(folder, "/comm"))) == "kube-proxy";
}

}  // namespace

absl::Status CheckNoKubeProxyProcess(const std::string& proc) {
  std::error_code error;
  const auto own = std::filesystem::read_symlink(absl::StrCat(proc, "/self/ns/net"), error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("read ", proc, "/self/ns/net"));
  std::filesystem::directory_iterator folders(proc, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("read ", proc));
  for (; folders != std::filesystem::directory_iterator(); folders.increment(error)) {
    const std::string pid = folders->path().filename().string();
    if (!IsPid(pid) || !RunsKubeProxy(folders->path().string())) continue;
    const auto its = std::filesystem::read_symlink(folders->path() / "ns/net", error);
    if (error == std::errc::no_such_file_or_directory) continue;  // it has just ended
    if (error || its == own) {
      return absl::FailedPreconditionError(absl::StrCat(
          "kube-proxy runs in this network namespace (process ", pid,
          error ? ", as far as may be seen" : "", ") and would put its rules back: end it first"));
    }
  }
  return error ? ErrnoStatus(error.value(), absl::StrCat("read ", proc)) : absl::OkStatus();
}

absl::Status CheckNoKubeProxyAnswers(std::uint16_t port) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    httplib::Client client(host, port);
    client.set_connection_timeout(1);
    client.set_read_timeout(1);
    const httplib::Result answer = client.Get("/proxyMode");
    if (!answer || answer->status != 200) continue;
    const std::string mode(absl::StripAsciiWhitespace(answer->body));
    if (std::find(kModes.begin(), kModes.end(), mode) == kModes.end()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("a kube-proxy in mode ", mode, " answers on ", host, " port ", port,
                     " and would put its rules back: end it first"));
  }
  return absl::OkStatus();
}

}  // namespace sluice
