// SPDX-License-Identifier: Apache-2.0
// The layout of every key and value as C++ sees it, to the byte: what pinned maps hold outlives the
// agent that wrote it, so a field that moves must raise SL_ABI_VERSION. Sizes and padding are
// checked where the structs are; this adds where each field is.
#include <gtest/gtest.h>

#include <cstddef>

#include "maps/backend.h"
#include "maps/config.h"
#include "maps/connection.h"
#include "maps/flow.h"
#include "maps/fragment.h"
#include "maps/names.h"
#include "maps/node.h"
#include "maps/reason.h"
#include "maps/service.h"

namespace sluice::abi {
namespace {

SL_ABI_OFFSET(service_key, address, 0);
SL_ABI_OFFSET(service_key, port, 16);
SL_ABI_OFFSET(service_key, protocol, 20);
SL_ABI_OFFSET(service, id, 0);
SL_ABI_OFFSET(service, flags, 4);
SL_ABI_OFFSET(service, kind, 6);
SL_ABI_OFFSET(service, slots, 8);
SL_ABI_OFFSET(service, affinity_s, 24);
SL_ABI_OFFSET(service_stats, packets_in, 0);
SL_ABI_OFFSET(service_stats, opened, 32);
SL_ABI_OFFSET(service_stats, failed, 56);
SL_ABI_OFFSET(service_name, name_space, 0);
SL_ABI_OFFSET(service_name, name, 64);
SL_ABI_OFFSET(service_name, port_name, 128);
SL_ABI_OFFSET(service_name, protocol, 192);
SL_ABI_OFFSET(source_range_key, prefix_len, 0);
SL_ABI_OFFSET(source_range_key, service_id, 4);
SL_ABI_OFFSET(source_range_key, address, 8);
SL_ABI_OFFSET(backend, address, 0);
SL_ABI_OFFSET(backend, port, 16);
SL_ABI_OFFSET(backend, flags, 18);
SL_ABI_OFFSET(backend, protocol, 19);
SL_ABI_OFFSET(backend, generation, 20);
SL_ABI_OFFSET(backend, node, 28);
SL_ABI_OFFSET(backend_stats, failed, 8);
SL_ABI_OFFSET(affinity_key, client, 8);
SL_ABI_OFFSET(affinity, backend_generation, 4);
SL_ABI_OFFSET(flow, destination, 16);
SL_ABI_OFFSET(flow, destination_port, 34);
SL_ABI_OFFSET(flow, protocol, 36);
SL_ABI_OFFSET(flow_entry, new_destination, 16);
SL_ABI_OFFSET(flow_entry, service_id, 36);
SL_ABI_OFFSET(flow_entry, backend_generation, 44);
SL_ABI_OFFSET(flow_entry, last_seen, 48);
SL_ABI_OFFSET(flow_entry, flags, 52);
SL_ABI_OFFSET(flow_entry, path, 53);
SL_ABI_OFFSET(opening_flow, entry, 40);
SL_ABI_OFFSET(opening_bucket, tag, 8);
SL_ABI_OFFSET(opening_bucket, last_seen, 24);
SL_ABI_OFFSET(fragment_key, id, 32);
SL_ABI_OFFSET(drop_key, service_id, 4);
SL_ABI_OFFSET(drop_event, flow, 8);
SL_ABI_OFFSET(drop_event, reason, 48);
SL_ABI_OFFSET(node_config, service_range, 32);
SL_ABI_OFFSET(node_config, snat_address, 96);
SL_ABI_OFFSET(node_config, snat_port_min, 352);
SL_ABI_OFFSET(node_config, tunnel_mss, 360);
SL_ABI_OFFSET(node_config, tunnel_kind, 364);
SL_ABI_OFFSET(node_config, snat_addresses, 365);
SL_ABI_OFFSET(node, flags, 32);
SL_ABI_OFFSET(meta, generation, 8);
SL_ABI_OFFSET(connection, started_ns, 48);
SL_ABI_OFFSET(connection, bytes_in, 56);
SL_ABI_OFFSET(connection, packets_in, 72);
SL_ABI_OFFSET(connection, phase, 84);
SL_ABI_OFFSET(connection_stats_key, backend_id, 4);
SL_ABI_OFFSET(connection_stats, connect_us, 56);
SL_ABI_OFFSET(connection_stats, connect_times, 64);
SL_ABI_OFFSET(connection_stats, rtt_times, 288);
SL_ABI_OFFSET(lost_socket, remote, 16);
SL_ABI_OFFSET(lost_socket, family, 36);
SL_ABI_OFFSET(lost_socket, cookie, 48);
SL_ABI_OFFSET(lost_socket, service_id, 64);

// The kernel cuts longer names off without a word.
template <std::size_t N>
constexpr bool FitsKernel(const char (&)[N]) {
  return N <= 16;
}
static_assert(FitsKernel(names::kServices) && FitsKernel(names::kServiceStats) &&
              FitsKernel(names::kServiceNames) && FitsKernel(names::kSourceRanges) &&
              FitsKernel(names::kSlots) && FitsKernel(names::kBackends) &&
              FitsKernel(names::kBackendStats) && FitsKernel(names::kConnectionStats) &&
              FitsKernel(names::kAffinity) && FitsKernel(names::kFlows) &&
              FitsKernel(names::kOpening) && FitsKernel(names::kFragments) &&
              FitsKernel(names::kNodes) && FitsKernel(names::kNodeIds) &&
              FitsKernel(names::kDrops) && FitsKernel(names::kEvents) &&
              FitsKernel(names::kConfig) && FitsKernel(names::kMeta));

TEST(AbiLayoutTest, BucketOfOpeningFlowsComparesWithinOneCacheLine) {
  constexpr std::size_t kCacheLine = 64;
  EXPECT_LE(offsetof(opening_bucket, last_seen) + sizeof(opening_bucket::last_seen), kCacheLine);
  EXPECT_EQ(sizeof(opening_bucket) % kCacheLine, 0u);
}

TEST(AbiLayoutTest, FlagsFitTheirFields) {
  EXPECT_LE(unsigned{SL_SERVICE_MASQUERADE}, 0xffffu);
  EXPECT_LE(unsigned{SL_BACKEND_LOCAL}, 0xffu);
  EXPECT_LE(unsigned{SL_FLOW_RESET}, 0xffu);
}

}  // namespace
}  // namespace sluice::abi
