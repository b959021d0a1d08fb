// SPDX-License-Identifier: Apache-2.0
// TCP between two pods, by their own calls: connections with one request each (CRR), requests on
// one connection (RR), and a stream. Straight to the backend, through a service with the backend
// chosen at connect(), and through the same service with every packet rewritten: one after the
// other, in rounds. connections.sh sets the pods up and runs this in them.
//
// usage: sluice_connection_bench serve ADDRESS
//        sluice_connection_bench ask --straight ADDRESS --service ADDRESS --cgroup FOLDER
//          [--rounds N] [--milliseconds N] [--only TRAFFIC] [--json]
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "control/base/unique_fd.h"
#include "test/bench/spread.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kWriteBytes = 128 * 1024;
// Requests between two looks at the clock.
constexpr int kBatch = 16;

enum class Kind { kConnections, kRequests, kStream };
struct Traffic {
  Kind kind;
  std::uint16_t port;
  const char* name;
  const char* unit;
};
constexpr std::array<Traffic, 3> kTraffic = {{
    {Kind::kConnections, 9001, "CRR", "connections/s"},
    {Kind::kRequests, 9002, "RR", "requests/s"},
    {Kind::kStream, 9003, "stream", "Mbit/s"},
}};

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "sluice_connection_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

sockaddr_storage AddressOf(const std::string& text, std::uint16_t port, socklen_t& length) {
  sockaddr_storage address{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    length = sizeof(v4);
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    length = sizeof(v6);
  } else {
    errno = EINVAL;
    Fail(text);
  }
  return address;
}

void PinTo(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  ::sched_setaffinity(0, sizeof(set), &set);  // one of one is not pinned
}

void NoDelay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// One connection after the other, as the client asks them.
void ServeOne(const std::string& text, const Traffic& traffic) {
  socklen_t length = 0;
  const sockaddr_storage address = AddressOf(text, traffic.port, length);
  const UniqueFd listener(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(listener.get(), 1024) != 0) {
    Fail("listen");
  }
  std::vector<char> buffer(kWriteBytes);
  while (true) {
    const UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) continue;
    NoDelay(connection.get());
    while (true) {
      const ssize_t got = ::recv(connection.get(), buffer.data(), buffer.size(), 0);
      if (got <= 0) break;
      if (traffic.kind == Kind::kStream) continue;
      if (::send(connection.get(), buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) <= 0)
        break;
      // The server ends it: the ports of clients are free again at once.
      if (traffic.kind == Kind::kConnections) break;
    }
  }
}

int Serve(const std::string& address) {
  PinTo(0);
  std::vector<std::thread> threads;
  for (const Traffic& traffic : kTraffic) threads.emplace_back(ServeOne, address, traffic);
  std::puts("serving");
  std::fflush(stdout);
  for (std::thread& thread : threads) thread.join();
  return 0;
}

// Ports of the client for one way. The backend would refuse, for a minute, a port that came to it
// from the service's address before: the client's kernel numbers each destination's connections by
// itself.
struct PortRange {
  std::uint32_t least = 0;
  std::uint32_t most = 0;
};
constexpr int kIpLocalPortRange = 51;  // linux/in.h, Linux 6.3

UniqueFd Connect(const std::string& text, std::uint16_t port, const PortRange& ports) {
  socklen_t length = 0;
  const sockaddr_storage address = AddressOf(text, port, length);
  UniqueFd connection(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  NoDelay(connection.get());
  const std::uint32_t range = ports.least | ports.most << 16;
  if (::setsockopt(connection.get(), IPPROTO_IP, kIpLocalPortRange, &range, sizeof(range)) != 0) {
    Fail("IP_LOCAL_PORT_RANGE (Linux 6.3)");
  }
  if (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    Fail("connect to " + text);
  }
  return connection;
}

void Exchange(int fd) {
  char byte = 'x';
  if (::send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(fd, &byte, 1, 0) != 1) Fail("request");
}

// What was done in a second.
double Rate(const std::string& address, const PortRange& ports, const Traffic& traffic,
            std::chrono::milliseconds time) {
  static const std::vector<char> bytes(kWriteBytes, 'x');
  const bool each = traffic.kind == Kind::kConnections;
  UniqueFd connection;
  if (!each) connection = Connect(address, traffic.port, ports);
  double done = 0;
  const Clock::time_point begin = Clock::now();
  const Clock::time_point end = begin + time;
  Clock::time_point now = begin;
  while (now < end) {
    for (int i = 0; i < kBatch; ++i) {
      if (traffic.kind == Kind::kStream) {
        const ssize_t sent = ::send(connection.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) Fail("send");
        done += static_cast<double>(sent) * 8 / 1e6;
        continue;
      }
      if (each) connection = Connect(address, traffic.port, ports);
      Exchange(connection.get());
      if (char byte = 0; each && ::recv(connection.get(), &byte, 1, 0) != 0) Fail("end");
      done += 1;
    }
    now = Clock::now();
  }
  return done / std::chrono::duration<double>(now - begin).count();
}

// The cgroup v2 that this process is in.
std::string OwnCgroup(const std::string& beside) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::")) continue;
    // The hierarchy is mounted where the given folder is in it.
    const std::string root = beside.substr(0, beside.rfind('/'));
    return root + line.substr(3);
  }
  Fail("no cgroup v2");
}

void Join(const std::string& cgroup) {
  std::ofstream file(cgroup + "/cgroup.procs");
  file << ::getpid() << std::flush;
  if (!file) Fail("join " + cgroup);
}

struct Options {
  std::string straight;
  std::string service;
  std::string cgroup;
  int rounds = 200;
  int milliseconds = 50;
  std::string only;  // one kind of traffic; empty: all
  bool json = false;
};

struct Way {
  const char* name;
  const std::string* address;
  const std::string* cgroup;
  PortRange ports;
};

int Ask(const Options& options) {
  PinTo(1);
  const std::string outside = OwnCgroup(options.cgroup);
  const std::array<Way, 3> ways = {
      {{"straight", &options.straight, &outside, {1024, 22000}},
       {"at connect()", &options.service, &options.cgroup, {22001, 43000}},
       {"by packet", &options.service, &outside, {43001, 65000}}}};
  const std::chrono::milliseconds time(options.milliseconds);
  for (const Traffic& traffic : kTraffic) {
    if (!options.only.empty() && options.only != traffic.name) continue;
    std::array<std::vector<double>, ways.size()> rates;
    std::array<std::vector<double>, ways.size()> ratios;
    for (int round = -1; round < options.rounds; ++round) {
      std::array<double, ways.size()> rate{};
      for (std::size_t i = 0; i < ways.size(); ++i) {
        // Another one is first each time: none always follows the same.
        const std::size_t way = (i + static_cast<std::size_t>(round + 1)) % ways.size();
        Join(*ways[way].cgroup);
        rate[way] = Rate(*ways[way].address, ways[way].ports, traffic, time);
      }
      if (round < 0) continue;  // caches and neighbours
      for (std::size_t way = 0; way < ways.size(); ++way) {
        rates[way].push_back(rate[way]);
        ratios[way].push_back(rate[way] / rate[0]);
      }
    }
    for (std::size_t way = 0; way < ways.size(); ++way) {
      const Spread rate = SpreadOf(rates[way]);
      std::sort(ratios[way].begin(), ratios[way].end());
      const auto at = [&](std::size_t part) {
        return ratios[way][(ratios[way].size() - 1) * part / 4];
      };
      if (options.json) {
        std::cout << nlohmann::json{{"traffic", traffic.name},
                                    {"way", ways[way].name},
                                    {"address", *ways[way].address},
                                    {"median", rate.median},
                                    {"unit", traffic.unit},
                                    {"ratio", at(2)},
                                    {"ratioQuartiles", {at(1), at(3)}},
                                    {"rounds", options.rounds}}
                  << std::endl;
      } else {
        std::cout << absl::StrFormat("%-7s %-13s %10.0f %-14s %.3f of straight (%.3f to %.3f)\n",
                                     traffic.name, ways[way].name, rate.median, traffic.unit, at(2),
                                     at(1), at(3))
                  << std::flush;
      }
    }
  }
  Join(outside);
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using sluice::bench::Options;
  CLI::App app("TCP between pods: straight, through sockets, through packets");
  app.require_subcommand(1);
  std::string address;
  CLI::App* serve = app.add_subcommand("serve", "The backend");
  serve->add_option("address", address)->required();
  Options options;
  CLI::App* ask = app.add_subcommand("ask", "The client");
  ask->add_option("--straight", options.straight, "The backend's address")->required();
  ask->add_option("--service", options.service, "The service's address")->required();
  ask->add_option("--cgroup", options.cgroup, "Where backends are chosen at connect()")->required();
  ask->add_option("--rounds", options.rounds)->capture_default_str();
  ask->add_option("--milliseconds", options.milliseconds, "Of each way in a round")
      ->capture_default_str();
  ask->add_option("--only", options.only, "CRR, RR or stream");
  ask->add_flag("--json", options.json);
  CLI11_PARSE(app, argc, argv);
  return *serve ? sluice::bench::Serve(address) : sluice::bench::Ask(options);
}
