// SPDX-License-Identifier: Apache-2.0
// The two ends of sluice_connection_bench: a backend, and a client that asks it for a while and
// says how that went. Each ends the program, with the reason, when a call fails.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::bench {

// The first byte of a TCP connection tells the backend which of these it is.
enum class Traffic : char {
  kConnections = 'c',  // CRR: one request, then the backend ends the connection
  kRequests = 'r',     // RR: requests of one byte on one connection
  kStream = 's',       // as much as goes through
  kDatagrams = 'u',    // UDP RR: requests of one byte from one socket
  kWho = 'w',          // a datagram; the answer is the backend's letter
};

struct TrafficKind {
  Traffic traffic;
  const char* name;
  const char* unit;
};
inline constexpr TrafficKind kTrafficKinds[] = {
    {Traffic::kConnections, "CRR", "connections/s"},
    {Traffic::kRequests, "RR", "requests/s"},
    {Traffic::kStream, "stream", "Mbit/s"},
    {Traffic::kDatagrams, "UDP RR", "requests/s"},
};

// Where a client asks, and from which ports. A backend would refuse, for a minute, a port that came
// to it by another way of the same client before: the client's kernel numbers each destination's
// connections by itself.
struct Target {
  std::string address;
  std::uint16_t tcp_port = 0;
  std::uint16_t udp_port = 0;
  std::uint16_t least_client_port = 0;
  std::uint16_t most_client_port = 0;
};

// How a while of traffic went. Times of requests are 0 for a stream.
struct Slice {
  double rate = 0;  // of TrafficKind::unit
  std::size_t requests = 0;
  double p50_us = 0;
  double p99_us = 0;
  double worst_us = 0;
  double busy_us = 0;  // of all processors of the machine, whatever they did
};

[[noreturn]] void Fail(const std::string& what);

// Serves TCP and UDP of both families on all addresses of this network namespace, for ever: one
// connection after the other. Says "serving" when it can be asked.
int Serve(char letter, std::uint16_t port);

// Asks for that long.
Slice Ask(const Target& target, Traffic traffic, std::chrono::milliseconds time);

// Asks who answers, over UDP, until that is `letter`. Each time from the next of the client's
// ports: what keeps track of flows would go on with an old one. Returns how many of them it took.
int AskUntil(const Target& target, char letter);

}  // namespace sluice::bench
