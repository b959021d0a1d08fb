// SPDX-License-Identifier: Apache-2.0
#include "control/report/pinned_state.h"

#include <arpa/inet.h>

#include <cstring>

#include "absl/strings/str_cat.h"

#include "control/base/connection_stats.h"
#include "control/model/ip_address.h"
#include "control/report/endpoint_text.h"

namespace sluice::report {
namespace {

template <std::size_t N>
std::string FixedText(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

}  // namespace

std::string ServiceLabelOf(const PinnedState& state, std::uint32_t service_id) {
  if (service_id == 0) return "";
  const auto found = state.names.find(service_id);
  return found == state.names.end() ? absl::StrCat("id ", service_id) : ServiceLabel(found->second);
}

bool BackendLives(const PinnedState& state, const abi::flow_entry& entry) {
  const auto found = state.backends.find(entry.backend_id);
  return found != state.backends.end() && found->second.generation == entry.backend_generation &&
         (found->second.flags & abi::SL_BACKEND_PRESENT) != 0;
}

bool IsOpen(const abi::flow_entry& entry) {
  return (entry.flags & abi::SL_FLOW_RESET) == 0 &&
         (entry.flags & abi::SL_FLOW_CLOSED) != abi::SL_FLOW_CLOSED;
}

std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> CountConnections(
    const PinnedState& state) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> counts;
  for (const auto& [key, entry] : state.flows) {
    const bool forward = (entry.flags & abi::SL_FLOW_FORWARD) != 0;
    if (forward && IsOpen(entry) && BackendLives(state, entry)) {
      ++counts[{entry.service_id, entry.backend_id}];
    }
  }
  for (const auto& [key, stats] : state.connection_stats) {
    const auto backend = state.backends.find(key.backend_id);
    if (backend == state.backends.end() || !(backend->second.flags & abi::SL_BACKEND_PRESENT)) {
      continue;
    }
    const std::uint64_t open = OpenConnections(stats);
    if (open != 0) counts[{backend->second.service_id, key.backend_id}] += open;
  }
  return counts;
}

abi::flow PartnerKey(const FlowRow& row) {
  const auto& [key, entry] = row;
  abi::flow partner{};
  partner.source = entry.new_destination;
  partner.destination = entry.new_source;
  partner.source_port = entry.new_destination_port;
  partner.destination_port = entry.new_source_port;
  partner.protocol = key.protocol;
  return partner;
}

std::uint16_t PortOf(__be16 port) { return ntohs(port); }

std::string FormatAbiEndpoint(const abi::addr& address, __be16 port) {
  return FormatEndpoint(IpAddress::FromAbi(address), PortOf(port));
}

ServicePortName FromAbiName(const abi::service_name& name) {
  return {FixedText(name.name_space), FixedText(name.name), FixedText(name.port_name),
          name.protocol};
}

}  // namespace sluice::report
