/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names of maps (at most 15 characters: the kernel cuts longer ones silently) and programs. */
#pragma once

#ifdef __cplusplus
namespace sluice::names
{
inline constexpr char kServices[] = "sl_services";	    // service_key -> service, hash
inline constexpr char kServiceStats[] = "sl_svc_stats";	    // id -> service_stats, per-CPU array
inline constexpr char kServiceNames[] = "sl_svc_names";	    // id -> service_name, array
inline constexpr char kSourceRanges[] = "sl_src_ranges";    // source_range_key -> source_range, LPM
inline constexpr char kSlots[] = "sl_slots";		    // n -> slot, array, mmap
inline constexpr char kBackends[] = "sl_backends";	    // id -> backend, array
inline constexpr char kBackendStats[] = "sl_be_stats";	    // id -> backend_stats, array
inline constexpr char kLoads[] = "sl_loads";		    // id -> backend_load, array, mmap
inline constexpr char kConnectionStats[] = "sl_conn_stats"; // connection_stats_key -> ..., hash
inline constexpr char kFilter[] = "sl_filter";		    // n -> filter_word, array, mmap
inline constexpr char kAffinity[] = "sl_affinity";	    // affinity_key -> affinity, LRU hash
inline constexpr char kFlows[] = "sl_flows";		    // flow -> flow_entry, hash
inline constexpr char kOpening[] = "sl_opening";	    // n -> opening_bucket, array
inline constexpr char kClients[] = "sl_clients";      // client_index() -> client_word, array, mmap
inline constexpr char kSnatPorts[] = "sl_snat_ports"; // snat_table() -> snat_ports, array, mmap
inline constexpr char kNodes[] = "sl_nodes";	      // index -> node, array
inline constexpr char kNodeIds[] = "sl_node_ids";     // addr -> index, hash
inline constexpr char kUplinks[] = "sl_uplinks";      // uplink_key -> uplink, hash
inline constexpr char kXdpWays[] = "sl_xdp_ways";     // ifindex -> uplink_way, hash
inline constexpr char kXdpPorts[] = "sl_xdp_ports";   // ifindex -> ifindex, devmap hash
inline constexpr char kFragments[] = "sl_frags";      // fragment_key -> fragment, LRU hash
inline constexpr char kDrops[] = "sl_drops";	      // drop_key -> drop_count, per-CPU hash
inline constexpr char kEvents[] = "sl_events";	      // drop_event, ring buffer
inline constexpr char kConfig[] = "sl_config";	      // 0 -> node_config, array
inline constexpr char kMeta[] = "sl_meta";	      // 0 -> meta, array
inline constexpr char kTraceHostProgram[] = "sl_trace_host"; // pinned, attached nowhere
inline constexpr char kWalkTcp[] = "sl_walk_tcp";	     // pinned; reading it walks sl_conns
inline constexpr char kWalkUdp[] = "sl_walk_udp";	     // the same of sl_sockets
inline constexpr char kWalkFiles[] = "sl_walk_files"; // in their place: of both, by open files
} // namespace sluice::names
#endif
