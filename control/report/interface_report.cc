// SPDX-License-Identifier: Apache-2.0
#include "control/report/interface_report.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/errno_status.h"
#include "control/base/names.h"
#include "control/base/unique_fd.h"
#include "control/report/output.h"
#include "maps/reason.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

struct LinkName {
  std::string interface;
  std::uint32_t hook = 0;  // enum sl_hook
};

// An interface's name may itself hold a '_', so the hook is looked for at the end.
std::optional<LinkName> SplitLinkName(const std::string& name) {
  for (const std::uint32_t hook :
       {abi::SL_HOOK_FROM_POD, abi::SL_HOOK_TO_POD, abi::SL_HOOK_FROM_NET, abi::SL_HOOK_TO_NET}) {
    const std::string suffix = absl::StrCat("_", std::string(HookName(hook)));
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      return LinkName{name.substr(0, name.size() - suffix.size()), hook};
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::uint32_t> ReadLinkInterface(const std::string& path) {
  const UniqueFd link(bpf_obj_get(path.c_str()));
  if (!link.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  bpf_link_info link_details{};
  __u32 size = sizeof(link_details);
  if (const int error = bpf_obj_get_info_by_fd(link.get(), &link_details, &size); error != 0) {
    return ErrnoStatus(-error, absl::StrCat("ask for the link ", path));
  }
  // Debian 12's UAPI header has no tcx member yet; it begins with the index, as xdp's does.
  return link_details.xdp.ifindex;
}

void AddLink(const std::string& path, const LinkName& link,
             std::map<std::string, InterfaceReport>& interfaces) {
  InterfaceReport& report = interfaces[link.interface];
  report.name = link.interface;
  const bool of_pod = link.hook == abi::SL_HOOK_FROM_POD || link.hook == abi::SL_HOOK_TO_POD;
  report.role = of_pod ? "pod" : "uplink";
  report.attach = "tcx";
  report.hooks.push_back(std::string(HookName(link.hook)));
  const absl::StatusOr<std::uint32_t> ifindex = ReadLinkInterface(path);
  if (!ifindex.ok()) {
    report.error = std::string(ifindex.status().message());
  } else if (*ifindex == 0) {
    report.error = "the interface is gone";
  } else {
    report.ifindex = *ifindex;
  }
}

}  // namespace

absl::StatusOr<std::vector<InterfaceReport>> ReadPinnedLinks(const std::string& pins) {
  const std::string folder = absl::StrCat(pins, "/links");
  std::error_code error;
  std::map<std::string, InterfaceReport> interfaces;
  std::filesystem::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) return std::vector<InterfaceReport>();
  for (; !error && entries != std::filesystem::end(entries); entries.increment(error)) {
    const std::string path = entries->path().string();
    if (const auto link = SplitLinkName(entries->path().filename().string()); link.has_value()) {
      AddLink(path, *link, interfaces);
    }
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("list ", folder));
  std::vector<InterfaceReport> reports;
  for (auto& [name, report] : interfaces) reports.push_back(std::move(report));
  return reports;
}

Json InterfacesToJson(const std::vector<InterfaceReport>& interfaces, bool agent_runs) {
  Json array = Json::array();
  for (const InterfaceReport& interface : interfaces) {
    array.push_back({{"name", interface.name},
                     {"ifindex", interface.ifindex},
                     {"role", interface.role},
                     {"hooks", interface.hooks},
                     {"attach", interface.attach},
                     {"error", interface.error}});
  }
  return {{"agent", agent_runs ? "running" : "not running"}, {"interfaces", std::move(array)}};
}

std::string InterfacesToTable(const std::vector<InterfaceReport>& interfaces) {
  TextTable table({{"NAME"}, {"INDEX", Align::kRight}, {"ROLE"}, {"ATTACH"}, {"HOOKS"}, {"ERROR"}});
  for (const InterfaceReport& interface : interfaces) {
    table.AddRow({interface.name, interface.ifindex == 0 ? "" : absl::StrCat(interface.ifindex),
                  interface.role, interface.attach, absl::StrJoin(interface.hooks, ","),
                  interface.error});
  }
  return table.Render();
}

}  // namespace sluice::report
