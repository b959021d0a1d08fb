// SPDX-License-Identifier: Apache-2.0
#include "control/report/endpoint_text.h"

#include <cstddef>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"

namespace sluice::report {
namespace {

absl::StatusOr<std::uint16_t> ParsePort(const std::string& text) {
  std::uint32_t port = 0;
  // SimpleAtoi takes signs and blanks, which no port has.
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || !absl::SimpleAtoi(text, &port) || port == 0 ||
      port > std::numeric_limits<std::uint16_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a port (1 to 65535)"));
  }
  return static_cast<std::uint16_t>(port);
}

}  // namespace

std::string FormatEndpoint(const IpAddress& address, std::uint16_t port) {
  return address.WithPort(port);
}

absl::StatusOr<EndpointText> ParseEndpoint(std::string_view text) {
  const std::string copy(text);
  std::string address = copy;
  std::optional<std::string> port;
  if (copy.starts_with('[')) {
    const std::size_t close = copy.find(']');
    const bool ends = close != std::string::npos && close + 1 == copy.size();
    const bool port_follows =
        close != std::string::npos && close + 1 < copy.size() && copy[close + 1] == ':';
    if (!ends && !port_follows) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", copy, "\": expected [ADDRESS] or [ADDRESS]:PORT"));
    }
    address = copy.substr(1, close - 1);
    if (address.find(':') == std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", copy, "\": brackets are for IPv6 addresses"));
    }
    if (port_follows) port = copy.substr(close + 2);
  } else if (const std::size_t colon = copy.find(':');
             colon != std::string::npos && colon == copy.rfind(':')) {
    address = copy.substr(0, colon);
    port = copy.substr(colon + 1);
  }
  EndpointText endpoint;
  ASSIGN_OR_RETURN(endpoint.address, IpAddress::Parse(address));
  if (port.has_value()) {
    ASSIGN_OR_RETURN(endpoint.port, ParsePort(*port));
  }
  return endpoint;
}

std::string ServiceLabel(const ServicePortName& name) {
  return absl::StrCat(name.name_space, "/", name.name, name.port_name.empty() ? "" : ":",
                      name.port_name);
}

bool ServiceFilter::Matches(const ServicePortName& service) const {
  return service.name_space == name_space && service.name == name &&
         (!port_name.has_value() || service.port_name == *port_name);
}

absl::StatusOr<ServiceFilter> ParseServiceFilter(std::string_view text) {
  const std::string copy(text);
  const std::size_t slash = copy.find('/');
  const std::size_t colon = copy.find(':');
  ServiceFilter filter;
  if (slash != std::string::npos) {
    filter.name_space = copy.substr(0, slash);
    filter.name = copy.substr(slash + 1, colon == std::string::npos ? colon : colon - slash - 1);
  }
  if (filter.name_space.empty() || filter.name.empty() || (colon < slash) ||
      filter.name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", copy, "\" is not a service: expected NAMESPACE/NAME"));
  }
  if (colon != std::string::npos) filter.port_name = copy.substr(colon + 1);
  return filter;
}

}  // namespace sluice::report
