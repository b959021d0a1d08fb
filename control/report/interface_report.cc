// SPDX-License-Identifier: Apache-2.0
#include "control/report/interface_report.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "control/base/errno_status.h"
#include "control/datapath/attachment.h"
#include "control/datapath/hooks.h"
#include "control/datapath/tcx_link.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

// The interface in the name of a link's pin, see LinkPinName().
std::string InterfaceOf(const std::string& pin_name, const Hook& hook) {
  const std::size_t hook_part = 1 + hook.name.size();  // "_" and the hook
  return absl::StrReplaceAll(pin_name.substr(0, pin_name.size() - hook_part),
                             {{"%2e", "."}, {"%25", "%"}});
}

// An interface's name may itself hold a '_', so the hook is looked for at the end.
const Hook* HookOf(const std::string& pin_name) {
  for (const Hook& hook : kHooks) {
    const std::string suffix = "_" + std::string(hook.name);
    if (pin_name.size() > suffix.size() && pin_name.ends_with(suffix)) return &hook;
  }
  return nullptr;
}

void AddLink(const std::string& path, const std::string& interface, const Hook& hook,
             std::map<std::string, InterfaceReport>& interfaces) {
  InterfaceReport& report = interfaces[interface];
  report.name = interface;
  report.role = std::string(RoleName(hook.role));
  report.attach = std::string(AttachModeName(AttachMode::kTcx));
  report.hooks.push_back(std::string(hook.name));
  const absl::StatusOr<TcxLink> link = TcxLink::OpenPinned(path);
  const absl::StatusOr<int> ifindex = link.ok() ? link->Ifindex() : link.status();
  if (!ifindex.ok()) {
    report.error = std::string(ifindex.status().message());
  } else if (*ifindex == 0) {
    report.error = "the interface is gone";
  } else {
    report.ifindex = static_cast<std::uint32_t>(*ifindex);
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
    const std::string pin_name = entries->path().filename().string();
    if (const Hook* hook = HookOf(pin_name); hook != nullptr) {
      AddLink(path, InterfaceOf(pin_name, *hook), *hook, interfaces);
    }
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("list ", folder));
  std::vector<InterfaceReport> reports;
  for (auto& [name, report] : interfaces) {
    std::sort(report.hooks.begin(), report.hooks.end());  // a folder has no order
    reports.push_back(std::move(report));
  }
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
