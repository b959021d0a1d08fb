// SPDX-License-Identifier: Apache-2.0
// What sockets have told of the TCP connections that got their backend at connect(), for people and
// as JSON: of a service or of one backend.
#pragma once

#include <string>

#include "control/report/json.h"
#include "maps/connection.h"

namespace sluice::report {

// {established, open, failed, closed, reset, bytesIn, bytesOut, retransmissions,
//  connectMicroseconds {mean, p50, p90, p99}, roundTripMicroseconds {p50, p90, p99}}; times are
// null when none was established.
Json SocketsToJson(const abi::connection_stats& stats);

// Whether there was one: what never had any is left out of reports.
bool HasConnections(const abi::connection_stats& stats);

// Two lines; "" without HasConnections.
std::string SocketsToDetail(const abi::connection_stats& stats);

// "83us 120us 1.2ms": the connect times' p50, p90 and p99; "" when there was none.
std::string ConnectTimesText(const abi::connection_stats& stats);

}  // namespace sluice::report
