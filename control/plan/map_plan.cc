// SPDX-License-Identifier: Apache-2.0
#include "control/plan/map_plan.h"

#include <arpa/inet.h>

#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/names.h"
#include "control/model/ip_address.h"
#include "control/plan/map_state.h"
#include "maps/names.h"

namespace sluice {
namespace {

std::string EndpointText(const abi::addr& address, std::uint16_t port_be, std::uint32_t protocol) {
  const IpAddress ip = IpAddress::FromAbi(address);
  const std::string text = ip.is_v4() ? ip.ToString() : absl::StrCat("[", ip.ToString(), "]");
  return absl::StrCat(text, ":", ntohs(port_be), "/",
                      protocol == 0 ? "any" : ProtocolName(protocol));
}

std::string Text(const abi::service_key& key) {
  return EndpointText(key.address, key.port, key.protocol);
}

std::string Text(const abi::slot_range& range) {
  return absl::StrCat(range.offset, "+", range.count);
}

std::string Text(const abi::service& row) {
  const std::string kind(FrontendKindName(row.kind));
  const std::string algorithm(AlgorithmName(row.algorithm));
  return absl::StrCat("id ", row.id, " ", kind, " flags 0x", absl::Hex(row.flags), " by ",
                      algorithm, " internal ", Text(row.slots[abi::SL_SCOPE_INTERNAL]),
                      " external ", Text(row.slots[abi::SL_SCOPE_EXTERNAL]), " affinity ",
                      row.affinity_s, "s");
}

std::string Text(const abi::backend& row) {
  return absl::StrCat(EndpointText(row.address, row.port, row.protocol), " flags 0x",
                      absl::Hex(row.flags), " generation ", row.generation, " service ",
                      row.service_id);
}

std::string Text(const abi::service_name& row) {
  const ServicePortName name = NameOf(row);
  return absl::StrCat(name.name_space, "/", name.name, ":", name.port_name, "/",
                      ProtocolName(name.protocol));
}

std::string Text(const abi::source_range_key& key) {
  return absl::StrCat("service ", key.service_id, " ", IpAddress::FromAbi(key.address).ToString(),
                      " bits ", key.prefix_len);
}

std::string Text(const SlotRun& run) {
  return absl::StrCat("from ", run.offset, ": ", absl::StrJoin(run.backend_ids, " "));
}

// One line for each row: "<verb> <map> <row>".
struct Printer {
  std::string out;

  void Line(const char* verb, const char* map, const std::string& row) {
    absl::StrAppend(&out, verb, " ", map, " ", row, "\n");
  }
  void Ids(const char* verb, const char* map, const std::vector<std::uint32_t>& ids) {
    for (std::uint32_t id : ids) Line(verb, map, absl::StrCat(id));
  }
  template <typename Rows>
  void Numbered(const char* verb, const char* map, const Rows& rows) {
    for (const auto& [id, row] : rows) Line(verb, map, absl::StrCat(id, " ", Text(row)));
  }
  template <typename Keys>
  void Plain(const char* verb, const char* map, const Keys& keys) {
    for (const auto& key : keys) Line(verb, map, Text(key));
  }

  void operator()(const ZeroServiceStats& s) { Ids("zero", names::kServiceStats, s.ids); }
  void operator()(const ZeroBackendStats& s) { Ids("zero", names::kBackendStats, s.ids); }
  void operator()(const ForgetAffinity& s) { Ids("forget", names::kAffinity, s.service_ids); }
  void operator()(const WriteNames& s) { Numbered("write", names::kServiceNames, s.rows); }
  void operator()(const ClearNames& s) { Ids("clear", names::kServiceNames, s.ids); }
  void operator()(const WriteBackends& s) { Numbered("write", names::kBackends, s.rows); }
  void operator()(const RetireBackends& s) { Numbered("retire", names::kBackends, s.rows); }
  void operator()(const WriteSourceRanges& s) { Plain("write", names::kSourceRanges, s.keys); }
  void operator()(const DeleteSourceRanges& s) { Plain("delete", names::kSourceRanges, s.keys); }
  void operator()(const WriteSlots& s) { Plain("write", names::kSlots, s.runs); }
  void operator()(const FreeSlots& s) { Plain("free", names::kSlots, s.ranges); }
  void operator()(const DeleteServices& s) { Plain("delete", names::kServices, s.keys); }
  void operator()(const WriteServices& s) {
    for (const auto& [key, row] : s.rows) {
      Line("write", names::kServices, absl::StrCat(Text(key), " ", Text(row)));
    }
  }
};

struct RowCounter {
  std::size_t operator()(const ZeroServiceStats& s) const { return s.ids.size(); }
  std::size_t operator()(const ZeroBackendStats& s) const { return s.ids.size(); }
  std::size_t operator()(const ForgetAffinity& s) const { return s.service_ids.size(); }
  std::size_t operator()(const WriteNames& s) const { return s.rows.size(); }
  std::size_t operator()(const ClearNames& s) const { return s.ids.size(); }
  std::size_t operator()(const WriteBackends& s) const { return s.rows.size(); }
  std::size_t operator()(const RetireBackends& s) const { return s.rows.size(); }
  std::size_t operator()(const WriteSourceRanges& s) const { return s.keys.size(); }
  std::size_t operator()(const DeleteSourceRanges& s) const { return s.keys.size(); }
  std::size_t operator()(const WriteSlots& s) const { return s.runs.size(); }
  std::size_t operator()(const FreeSlots& s) const { return s.ranges.size(); }
  std::size_t operator()(const WriteServices& s) const { return s.rows.size(); }
  std::size_t operator()(const DeleteServices& s) const { return s.keys.size(); }
};

}  // namespace

std::size_t RowCount(const MapStep& step) { return std::visit(RowCounter{}, step); }

bool IsBookkeeping(const MapStep& step) { return std::holds_alternative<FreeSlots>(step); }

std::string ToString(const MapPlan& plan) {
  Printer printer;
  for (const MapStep& step : plan.steps) std::visit([&](const auto& s) { printer(s); }, step);
  return std::move(printer.out);
}

}  // namespace sluice
