// SPDX-License-Identifier: Apache-2.0
// sluicectl: what a person or a script asks a node. Flags and wiring only; the commands are in
// control/report.

#include <cstdint>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/report/commands.h"

namespace sluice::report {
namespace {

constexpr char kFooter[] =
    "Exit codes:\n"
    "  0  done (status: healthy)\n"
    "  1  sync: not in the maps in time; status: degraded; service show: no such service\n"
    "  2  bad input; status: no agent runs\n"
    "  3  could not be done: no pinned maps, no permission, an error of the kernel's\n"
    "\n"
    "All but probe and sync work from the pinned maps alone when no agent runs, and says so on "
    "stderr.";

const std::map<std::string, OutputFormat> kFormats = {
    {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};

// Linux's ephemeral ports: what a client's packet would most likely have.
std::function<std::uint16_t()> RandomPorts() {
  std::mt19937 generator(std::random_device{}());
  std::uniform_int_distribution<std::uint16_t> ports(32768, 60999);
  return [generator, ports]() mutable { return ports(generator); };
}

// "10s", "1m30s", "500ms", or a number of seconds.
absl::Duration ToDuration(const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::ParseDuration(text, &duration)) return duration;
  return absl::SimpleAtod(text, &seconds) ? absl::Seconds(seconds) : absl::Seconds(-1);
}

std::string CheckDuration(const std::string& text) {
  return ToDuration(text) < absl::ZeroDuration() ? "not a duration such as 30s or 1m: " + text : "";
}

class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.footer(kFooter);
    app_.set_version_flag("--version", std::string("sluicectl ") + SLUICE_VERSION);
    app_.add_option("--state-dir", options_.state_dir, "the agent's state folder")
        ->capture_default_str();
    app_.add_option("--bpffs", options_.bpffs,
                    "the agent's folder of pins (default: as the state folder says, else "
                    "/sys/fs/bpf/sluice)");
    app_.add_option("-o,--output", format_, "output format: table, json or yaml")
        ->check(CLI::IsMember(kFormats))
        ->capture_default_str();
    AddReports();
    AddProbe();
    AddSync();
    AddService();
    AddConntrack();
    AddTrace();
  }

  int Run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      // The library has a number for each mistake; for callers they are all bad input.
      return app_.exit(error) == 0 ? kExitOk : kExitInput;
    }
    options_.format = kFormats.at(format_);
    return run_(Session(options_, std::cout, std::cerr));
  }

 private:
  using Command = std::function<int(const Session&)>;

  CLI::App* Add(CLI::App& parent, const char* name, const char* description, Command command) {
    CLI::App* added = parent.add_subcommand(name, description);
    added->callback([this, command = std::move(command)] { run_ = command; });
    return added;
  }

  void AddReports() {
    Add(app_, "status", "is the agent up, in sync and healthy",
        [this](const Session& session) { return RunStatus(session, clock_); });
    CLI::App* backend = app_.add_subcommand("backend", "endpoints")->require_subcommand(1);
    Add(*backend, "list", "all endpoints with their state and connections", &RunBackendList);
    Add(app_, "drops", "what was dropped or rejected, by reason and service", &RunDrops);
    Add(app_, "maps", "how full each map is", &RunMaps);
    Add(app_, "interfaces", "where the programs are attached", &RunInterfaces);
  }

  // Asks the agent itself. The port of /healthz may be another proxy's while one takes its place.
  void AddProbe() {
    CLI::App* probe =
        app_.add_subcommand("probe", "for probes of a container")->require_subcommand(1);
    Add(*probe, "live", "fails when only a restart may help",
        [](const Session& session) { return RunProbe(session, false); });
    Add(*probe, "ready", "fails until what the source says has been in the maps",
        [](const Session& session) { return RunProbe(session, true); });
  }

  void AddSync() {
    CLI::App* sync =
        Add(app_, "sync", "wait until what the source says now is in the maps",
            [this](const Session& session) { return RunSync(session, ToDuration(timeout_)); });
    sync->add_option("--timeout", timeout_, "how long to wait")
        ->capture_default_str()
        ->check(CheckDuration);
  }

  void AddService() {
    CLI::App* service = app_.add_subcommand("service", "services")->require_subcommand(1);
    Add(*service, "list", "all services with their frontends, backends and counters",
        &RunServiceList);
    CLI::App* show =
        Add(*service, "show", "all there is to know of one service",
            [this](const Session& session) { return RunServiceShow(session, service_name_); });
    show->add_option("service", service_name_, "NAMESPACE/NAME or NAMESPACE/NAME:PORT")->required();
  }

  void AddConntrack() {
    CLI::App* conntrack = app_.add_subcommand("conntrack", "flows that the datapath remembers")
                              ->require_subcommand(1);
    CLI::App* list =
        Add(*conntrack, "list", "flows, those being opened first",
            [this](const Session& session) { return RunConntrackList(session, flows_, clock_); });
    CLI::App* flush =
        Add(*conntrack, "flush", "forget established flows; prints how many",
            [this](const Session& session) { return RunConntrackFlush(session, flows_); });
    for (CLI::App* command : {list, flush}) {
      command->add_option("--service", flows_.service, "only flows of NAMESPACE/NAME[:PORT]");
      command->add_option("--backend", flows_.backend, "only flows to ADDRESS[:PORT]");
    }
  }

  void AddTrace() {
    CLI::App* trace = Add(app_, "trace", "ask the loaded program what it would do with a packet",
                          [this](const Session& session) {
                            return RunTraceCommand(session, trace_, clock_, RandomPorts());
                          });
    trace
        ->add_option("--hook", trace_.hook,
                     "where the packet comes from: pod, net, or host (a process of this node)")
        ->required();
    trace
        ->add_option(
            "--src", trace_.source,
            "client, ADDRESS[:PORT] or [ADDRESS]:PORT; without a port another for each try")
        ->required();
    trace->add_option("--dst", trace_.destination, "service, ADDRESS:PORT or [ADDRESS]:PORT")
        ->required();
    trace->add_option("--protocol", trace_.protocol, "tcp, udp or sctp")->capture_default_str();
    trace->add_option("--count", trace_.count, "number of tries")->capture_default_str();
    trace->add_option("--interface", trace_.interface,
                      "where the packet seems to arrive (default: one that the agent attached)");
  }

  CLI::App app_{"Asks sluice on this node: services, backends, flows, drops, maps.", "sluicectl"};
  SessionOptions options_{"/var/lib/sluice", "", OutputFormat::kTable};
  SystemClock clock_;
  std::string format_ = "table";
  std::string timeout_ = "30s";
  std::string service_name_;
  FlowArguments flows_;
  TraceArguments trace_{"", "", "", "tcp", 1, ""};
  Command run_;
};

}  // namespace
}  // namespace sluice::report

int main(int argc, char** argv) {
  try {
    return sluice::report::CommandLine().Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "sluicectl: " << error.what() << "\n";
    return sluice::report::kExitFailed;
  }
}
