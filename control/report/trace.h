// SPDX-License-Identifier: Apache-2.0
// `sluicectl trace`: asks the loaded program what it would do with a packet (BPF_PROG_TEST_RUN and
// maps/trace.h). Nothing is sent, no flow is remembered, nothing is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/report/agent_snapshot.h"
#include "control/report/endpoint_text.h"
#include "control/report/interface_report.h"
#include "control/report/json.h"
#include "control/report/trace_packet.h"
#include "maps/service.h"
#include "maps/table.h"

namespace sluice::report {

// What a person typed, unread.
struct TraceArguments {
  std::string hook;
  std::string source;
  std::string destination;
  std::string protocol;
  std::uint32_t count = 1;
  std::string interface;  // empty: choose one
};

enum class TraceHook { kPod, kNet, kHost };

struct TraceRequest {
  TraceHook hook = TraceHook::kPod;
  EndpointText source;  // without a port: another port for each try
  EndpointText destination;
  std::uint32_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
  std::uint32_t count = 1;
};

// Errors: INVALID_ARGUMENT, naming what is wrong: an unknown hook or protocol, an address that does
// not parse, a destination without a port, addresses of two families, a count that is not 1 to
// 100000.
absl::StatusOr<TraceRequest> ParseTraceArguments(const TraceArguments& arguments);

// Where the packet seems to arrive.
struct TraceInterface {
  std::string name;  // empty: none is attached, the loopback interface stands in
  std::uint32_t ifindex = 0;
  MacAddress mac{};
};

// `name` if it is not empty, else the first of `attached` that has the role of the hook, else the
// first of all. Errors: NOT_FOUND when the interface named is not there.
absl::StatusOr<TraceInterface> ChooseTraceInterface(const std::string& name, TraceHook hook,
                                                    std::span<const InterfaceReport> attached);

struct TraceAnswer {
  std::string verdict;        // "forward", "drop", "reject", "none" (not a service's)
  std::string service;        // "namespace/name:port", empty: none
  std::string frontend_kind;  // empty: none
  std::string backend;        // "192.0.2.1:80"; empty unless forwarded
  std::string source;         // the client's end as the backend sees it
  std::string reason;         // of a drop or reject; else empty
  PacketEnds sent;            // the packet that was asked about
};

// Runs the program pinned in `<pins>/progs` request.count times. `random_port` gives a client's
// port where the request has none.
// Errors: NOT_FOUND when the program is not pinned (of the hook "host": sluiced runs without
// --socket-lb), PERMISSION_DENIED, FAILED_PRECONDITION when the
// kernel refuses to run it.
absl::StatusOr<std::vector<TraceAnswer>> RunTrace(
    const std::string& pins, const TraceRequest& request, const TraceInterface& interface,
    const Table<std::uint32_t, abi::service_name>& service_names,
    const std::function<std::uint16_t()>& random_port);

// Array of {verdict, service, frontendKind, backend, source, reason}: a contract.
Json TraceToJson(const std::vector<TraceAnswer>& answers);

}  // namespace sluice::report
