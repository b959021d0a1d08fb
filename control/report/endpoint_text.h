// SPDX-License-Identifier: Apache-2.0
// How sluicectl writes and reads addresses with ports, and services: "192.0.2.1:80",
// "[2001:db8::1]:80", "default/web:http".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "control/desired/desired_state.h"
#include "control/model/ip_address.h"

namespace sluice::report {

// "192.0.2.1:80" or "[2001:db8::1]:80". `port` is in host order.
std::string FormatEndpoint(const IpAddress& address, std::uint16_t port);

struct EndpointText {
  IpAddress address;
  std::optional<std::uint16_t> port;

  friend bool operator==(const EndpointText&, const EndpointText&) = default;
};

// Reads "A", "A:P", "[A6]" or "[A6]:P" (an IPv6 address with a port needs the brackets).
// Errors: INVALID_ARGUMENT, naming the text.
absl::StatusOr<EndpointText> ParseEndpoint(std::string_view text);

// "namespace/name:port", or "namespace/name" for an unnamed port.
std::string ServiceLabel(const ServicePortName& name);

// Which services a person asked for: all ports of one Service, or one port.
struct ServiceFilter {
  std::string name_space;
  std::string name;
  std::optional<std::string> port_name;

  bool Matches(const ServicePortName& service) const;
};

// Reads "NS/NAME" or "NS/NAME:PORT". Errors: INVALID_ARGUMENT.
absl::StatusOr<ServiceFilter> ParseServiceFilter(std::string_view text);

}  // namespace sluice::report
