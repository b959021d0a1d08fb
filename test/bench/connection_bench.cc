// SPDX-License-Identifier: Apache-2.0
// Traffic between two network namespaces, by their own calls, by several ways in turn: run.sh sets
// clusters up side by side, one for each way that services can be done, and runs this in them.
//
// usage: sluice_connection_bench serve LETTER PORT     in a backend's namespace
//        sluice_connection_bench ask                   rounds; a plan on standard input
//        sluice_connection_bench follow                when a change is in force; likewise
//
// A plan is one JSON object. For ask: {traffic, rounds, milliseconds, ways: [way...]}; it prints a
// JSON line for each way and round. For follow: {way, until}; it prints "following" and, when the
// backend of that letter answers, {at: monotonic clock in ns, ports: how many it took}. A way:
// {name, netns, cgroup, address, tcpPort, udpPort, clientPorts: [least, most]}; cgroup may be
// missing: that of this process.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "control/base/unique_fd.h"
#include "test/bench/connection_traffic.h"

namespace sluice::bench {
namespace {

using nlohmann::json;

void PinTo(std::size_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  ::sched_setaffinity(0, sizeof(set), &set);  // one of one is not pinned
}

// The folder of the cgroup v2 that this process is in.
std::string OwnCgroup() {
  std::string root = "/sys/fs/cgroup";
  if (::access((root + "/unified/cgroup.procs").c_str(), F_OK) == 0) root += "/unified";
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) return root + line.substr(3);
  }
  return "";
}

// Where this process is, out of where it was: a namespace, and a cgroup.
class Place {
 public:
  explicit Place(const json& way, const std::string& own_cgroup)
      : cgroup_(way.value("cgroup", own_cgroup)) {
    const std::string path = way.at("netns");
    netns_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns_.valid()) Fail(path);
  }

  void Enter() const {
    if (::setns(netns_.get(), CLONE_NEWNET) != 0) Fail("setns");
    if (cgroup_.empty()) return;
    std::ofstream file(cgroup_ + "/cgroup.procs");
    file << ::getpid() << std::flush;
    if (!file) Fail("join " + cgroup_);
  }

 private:
  UniqueFd netns_;
  std::string cgroup_;
};

struct Way {
  std::string name;
  Place place;
  Target target;
};

Way WayOf(const json& text, const std::string& own_cgroup) {
  const json& ports = text.at("clientPorts");
  return {text.at("name"),
          Place(text, own_cgroup),
          {text.at("address"), text.at("tcpPort"), text.value("udpPort", std::uint16_t{0}),
           ports.at(0), ports.at(1)}};
}

const TrafficKind& KindOf(const std::string& name) {
  for (const TrafficKind& kind : kTrafficKinds) {
    if (name == kind.name) return kind;
  }
  errno = EINVAL;
  Fail("traffic " + name);
}

void Print(const Way& way, int round, const TrafficKind& kind, const Slice& slice) {
  json line = {{"way", way.name}, {"round", round}, {"rate", slice.rate}, {"unit", kind.unit}};
  if (slice.requests > 0) {
    line["requests"] = slice.requests;
    line["p50Us"] = slice.p50_us;
    line["p99Us"] = slice.p99_us;
    line["worstUs"] = slice.worst_us;
    line["busyUs"] = slice.busy_us;
  }
  std::cout << line << "\n";
}

int RunRounds(const json& plan) {
  const std::string own_cgroup = OwnCgroup();
  const TrafficKind& kind = KindOf(plan.at("traffic"));
  const std::chrono::milliseconds time(plan.at("milliseconds").get<int>());
  const int rounds = plan.at("rounds");
  std::vector<Way> ways;
  for (const json& text : plan.at("ways")) ways.push_back(WayOf(text, own_cgroup));
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      // Another one is first each time: none always follows the same.
      const Way& way = ways[(i + static_cast<std::size_t>(round + 1)) % ways.size()];
      way.place.Enter();
      const Slice slice = Ask(way.target, kind.traffic, time);
      if (round >= 0) Print(way, round, kind, slice);  // before: caches and neighbours
    }
  }
  return 0;
}

int Follow(const json& plan) {
  const Way way = WayOf(plan.at("way"), OwnCgroup());
  way.place.Enter();
  std::cout << "following" << std::endl;
  const int ports = AskUntil(way.target, plan.at("until").get<std::string>().at(0));
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::cout << json{{"at", std::chrono::nanoseconds(now).count()}, {"ports", ports}} << std::endl;
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  CLI::App app("Traffic between network namespaces, by several ways in turn");
  app.require_subcommand(1);
  char letter = 0;
  std::uint16_t port = 0;
  CLI::App* serve = app.add_subcommand("serve", "The backend");
  serve->add_option("letter", letter, "What it answers to who it is")->required();
  serve->add_option("port", port, "TCP and UDP")->required();
  CLI::App* ask = app.add_subcommand("ask", "The client");
  app.add_subcommand("follow", "When a change is in force");
  CLI11_PARSE(app, argc, argv);
  sluice::bench::PinTo(*serve ? 0 : 1);
  if (*serve) return sluice::bench::Serve(letter, port);
  const nlohmann::json plan = nlohmann::json::parse(std::cin);
  return *ask ? sluice::bench::RunRounds(plan) : sluice::bench::Follow(plan);
}
