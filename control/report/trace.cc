// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"
#include "control/report/map_reader.h"
#include "maps/names.h"
#include "maps/trace.h"

namespace sluice::report {
namespace {

constexpr std::uint32_t kMaxCount = 100'000;
// A program may grow the packet (an ICMP error with the packet inside it).
constexpr std::size_t kMaxFrame = 2048;

constexpr std::array<std::pair<std::string_view, TraceHook>, 3> kHookNames = {
    {{"pod", TraceHook::kPod}, {"net", TraceHook::kNet}, {"host", TraceHook::kHost}}};

const char* ProgramName(TraceHook hook) {
  if (hook == TraceHook::kHost) return names::kTraceHostProgram;
  return hook == TraceHook::kPod ? "sl_from_pod" : "sl_from_net";
}

absl::StatusOr<MacAddress> ReadMac(const std::string& interface) {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "open a socket");
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) {
    return ErrnoStatus(errno, absl::StrCat("read the address of interface ", interface));
  }
  MacAddress mac{};
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

absl::StatusOr<TraceInterface> OpenInterface(const std::string& name) {
  TraceInterface interface;
  interface.name = name;
  interface.ifindex = if_nametoindex(name.c_str());
  if (interface.ifindex == 0) {
    return absl::NotFoundError(
        absl::StrCat("there is no interface \"", name, "\" in this network namespace"));
  }
  ASSIGN_OR_RETURN(interface.mac, ReadMac(name));
  return interface;
}

struct RunResult {
  __sk_buff context{};
  std::vector<std::byte> frame;
};

absl::StatusOr<RunResult> RunOnce(int program_fd, std::vector<std::byte> frame,
                                  std::uint32_t ifindex) {
  __sk_buff context{};
  context.cb[0] = abi::SL_TRACE_CB0;
  context.cb[1] = abi::SL_TRACE_CB1;
  context.ifindex = ifindex;
  context.ingress_ifindex = ifindex;
  RunResult result;
  result.frame.resize(kMaxFrame);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<__u32>(frame.size());
  options.data_out = result.frame.data();
  options.data_size_out = static_cast<__u32>(result.frame.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  options.ctx_out = &result.context;
  options.ctx_size_out = sizeof(result.context);
  options.repeat = 1;
  if (const int error = bpf_prog_test_run_opts(program_fd, &options); error != 0) {
    const absl::Status status = ErrnoStatus(-error, "run the program on a packet");
    if (status.code() == absl::StatusCode::kPermissionDenied) return status;
    return absl::FailedPreconditionError(status.message());
  }
  result.frame.resize(options.data_size_out);
  return result;
}

absl::StatusOr<TraceAnswer> Interpret(const RunResult& result, const PacketEnds& sent,
                                      const Table<std::uint32_t, abi::service_name>& names) {
  const std::uint32_t service_id = result.context.cb[abi::SL_TRACE_SERVICE_ID];
  const std::uint32_t outcome = result.context.cb[abi::SL_TRACE_REASON];
  const std::uint32_t kind = result.context.cb[abi::SL_TRACE_FRONTEND];
  const std::uint32_t verdict = outcome >> 16;
  const std::uint32_t reason = outcome & 0xffff;
  TraceAnswer answer;
  answer.sent = sent;
  answer.verdict = VerdictName(verdict);
  answer.source = FormatEndpoint(sent.source, sent.source_port);
  if (kind != 0) answer.frontend_kind = FrontendKindName(kind);
  if (reason != abi::SL_REASON_NONE) answer.reason = ReasonName(reason);
  if (service_id != 0) {
    ASSIGN_OR_RETURN(answer.service, ReadServiceLabel(names, service_id));
  }
  if (verdict == abi::SL_VERDICT_FORWARD) {
    ASSIGN_OR_RETURN(const PacketEnds rewritten, ReadPacketEnds(result.frame));
    answer.backend = FormatEndpoint(rewritten.destination, rewritten.destination_port);
    answer.source = FormatEndpoint(rewritten.source, rewritten.source_port);
  }
  return answer;
}

}  // namespace

absl::StatusOr<TraceRequest> ParseTraceArguments(const TraceArguments& arguments) {
  TraceRequest request;
  const auto hook = std::find_if(kHookNames.begin(), kHookNames.end(),
                                 [&](const auto& name) { return name.first == arguments.hook; });
  if (hook == kHookNames.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--hook \"", arguments.hook, "\": expected pod, net or host"));
  }
  request.hook = hook->second;
  const std::uint32_t protocol = ProtocolNumber(arguments.protocol).value_or(0);
  if (protocol == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--protocol \"", arguments.protocol, "\": expected tcp, udp or sctp"));
  }
  request.protocol = protocol;
  absl::StatusOr<EndpointText> source = ParseEndpoint(arguments.source);
  RETURN_IF_ERROR(Annotate(source.status(), "--src"));
  absl::StatusOr<EndpointText> destination = ParseEndpoint(arguments.destination);
  RETURN_IF_ERROR(Annotate(destination.status(), "--dst"));
  request.source = *source;
  request.destination = *destination;
  if (!request.destination.port.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--dst \"", arguments.destination, "\": needs a port (ADDRESS:PORT or [ADDRESS]:PORT)"));
  }
  if (request.source.address.is_v4() != request.destination.address.is_v4()) {
    return absl::InvalidArgumentError(absl::StrCat("--src ", arguments.source, " and --dst ",
                                                   arguments.destination,
                                                   ": one is IPv4, the other IPv6"));
  }
  if (arguments.count < 1 || arguments.count > kMaxCount) {
    return absl::InvalidArgumentError(
        absl::StrCat("--count ", arguments.count, ": expected 1 to ", kMaxCount));
  }
  request.count = arguments.count;
  return request;
}

absl::StatusOr<TraceInterface> ChooseTraceInterface(const std::string& name, TraceHook hook,
                                                    std::span<const InterfaceReport> attached) {
  if (!name.empty()) return OpenInterface(name);
  const std::string role = hook == TraceHook::kPod ? "pod" : "uplink";
  const auto of_role =
      std::find_if(attached.begin(), attached.end(),
                   [&](const InterfaceReport& interface) { return interface.role == role; });
  if (of_role != attached.end()) return OpenInterface(of_role->name);
  if (!attached.empty()) return OpenInterface(attached.front().name);
  return TraceInterface{};
}

absl::StatusOr<std::vector<TraceAnswer>> RunTrace(
    const std::string& pins, const TraceRequest& request, const TraceInterface& interface,
    const Table<std::uint32_t, abi::service_name>& service_names,
    const std::function<std::uint16_t()>& random_port) {
  const std::string path = absl::StrCat(pins, "/progs/", ProgramName(request.hook));
  const UniqueFd program(bpf_obj_get(path.c_str()));
  if (!program.valid()) {
    const absl::Status failed = ErrnoStatus(errno, absl::StrCat("open ", path));
    if (request.hook != TraceHook::kHost || !absl::IsNotFound(failed)) return failed;
    return absl::NotFoundError(
        "--hook host: the node's own processes have no services; sluiced --socket-lb host gives "
        "them some");
  }
  PacketEnds ends;
  ends.source = request.source.address;
  ends.destination = request.destination.address;
  ends.destination_port = *request.destination.port;
  ends.protocol = request.protocol;
  std::vector<TraceAnswer> answers;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    ends.source_port = request.source.port.has_value() ? *request.source.port : random_port();
    ASSIGN_OR_RETURN(
        const RunResult result,
        RunOnce(program.get(), BuildTracePacket(ends, interface.mac), interface.ifindex));
    ASSIGN_OR_RETURN(answers.emplace_back(), Interpret(result, ends, service_names));
  }
  return answers;
}

Json TraceToJson(const std::vector<TraceAnswer>& answers) {
  Json array = Json::array();
  for (const TraceAnswer& answer : answers) {
    array.push_back({{"verdict", answer.verdict},
                     {"service", answer.service},
                     {"frontendKind", answer.frontend_kind},
                     {"backend", answer.backend},
                     {"source", answer.source},
                     {"reason", answer.reason}});
  }
  return array;
}

}  // namespace sluice::report
